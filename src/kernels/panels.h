// Packed weights: panels of 32 outputs (kPanelOutputs), each [in_features, 32] in float32, or
// [in_features / 2, 32, 2] in bfloat16 with in_features rounded up to a whole tile (kTileDepth).
// Outputs that are missing in the last panel are zero. A product reads a panel front to back. The
// halves of a panel in bfloat16 are tiles of B (tile_kernels.h).
#pragma once

#include <algorithm>
#include <memory>

#include "kernels/kernel_table.h"
#include "kernels/prepared_matrix_impl.h"

namespace instructblip {

inline Index panel_count(Index outs) { return (outs + kPanelOutputs - 1) / kPanelOutputs; }

// Elements from one panel to the next.
Index panel_stride(const PreparedMatrix::Impl& weight);

// Panel `panel` of a packed weight from input k on.
const void* panel_data(const PreparedMatrix::Impl& weight, Index panel, Index k);

// The rows of x as `panels` reads them: in tiles of VectorProducts::panel_rows rows, each [depth,
// row_tile_width]. With more inputs than `block`, all tiles of a block of inputs stand before those
// of the next block.
class RowTiles {
 public:
  RowTiles(const KernelTable& table, Index rows, Index depth, Index block);

  // Tiles in a block.
  Index count() const { return count_; }
  // The rows of tile i.
  Index rows(Index i) const {
    return std::min(table_.products.panel_rows, rows_ - i * table_.products.panel_rows);
  }
  // Tile i at input k, a multiple of `block`.
  const float* tile(Index i, Index k) const { return data_.row(0) + offset(i, k); }
  // Fills tile i with the rows from i * panel_rows on of x, in every block.
  void pack(MatrixView x, Index i);

 private:
  Index offset(Index i, Index k) const {
    return (k * count_ + i * std::min(block_, depth_ - k)) * table_.products.row_tile_width;
  }

  const KernelTable& table_;
  Index rows_, depth_, block_, count_;
  Matrix data_;
};

// The rows of `weight`, which are float32 or bfloat16, in panels of the same type.
std::shared_ptr<const Tensor> pack_panels(const PreparedMatrix::Impl& weight);

}  // namespace instructblip
