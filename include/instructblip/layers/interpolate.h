// interpolate_bicubic: torch.nn.functional.interpolate for tables of position embeddings.
#pragma once

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// Resizes a grid of vectors, table [h, w, width] -> [rows, cols, width], as
/// interpolate(mode="bicubic", align_corners=False) does: cubic convolution with a = -0.75, no
/// antialiasing, positions outside the grid read its border. Throws InputError unless the table is
/// contiguous, float32 and of that rank, and all sizes of the two grids are at least 1.
INSTRUCTBLIP_EXPORT Tensor interpolate_bicubic(const TensorView& table, Index rows, Index cols);

}  // namespace instructblip
