// Packed weights: panels of 16 outputs (kPanelOutputs), each [in_features, 16] in float32, or
// [in_features / 2, 16, 2] in bfloat16 with in_features rounded up to a whole tile (kTileDepth).
// The number of panels is even; what is missing is zero. A product reads a panel front to back; in
// bfloat16 a panel is a sequence of tiles of B (tile_kernels.h).
#pragma once

#include <memory>

#include "kernels/kernel_table.h"
#include "kernels/prepared_matrix_impl.h"

namespace instructblip {

// Outputs of a product: two panels.
constexpr Index kPanelPair = 2 * kPanelOutputs;

// Elements from one panel to the next.
Index panel_stride(const PreparedMatrix::Impl& weight);

// The rows of `weight`, which are float32 or bfloat16, in panels of the same type.
std::shared_ptr<const Tensor> pack_panels(const PreparedMatrix::Impl& weight);

}  // namespace instructblip
