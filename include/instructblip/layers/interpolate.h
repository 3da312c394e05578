// interpolate_bicubic: torch.nn.functional.interpolate for tables of position embeddings.
#pragma once

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// Resizes a grid of vectors, table [h, w, width] -> [rows, cols, width], as
/// interpolate(mode="bicubic", align_corners=False) does: cubic convolution with a = -0.75, no
/// antialiasing; positions outside the grid read its border. Throws InputError unless the table is
/// contiguous float32 of rank 3, and both grids have at least one row and one column.
INSTRUCTBLIP_EXPORT Tensor interpolate_bicubic(const TensorView& table, Index rows, Index cols);

}  // namespace instructblip
