// The rows of a matrix as tiles of A (tile_kernels.h).
#pragma once

#include <algorithm>

#include "instructblip/core/index.h"
#include "instructblip/core/tensor.h"
#include "instructblip/core/threads.h"
#include "kernels/prepared_matrix_impl.h"
#include "kernels/tile_kernels.h"

namespace instructblip {

// A thread is not worth waking for fewer multiplications in tiles than this.
constexpr Index kTileGrain = 1 << 20;

inline std::uint16_t* elements(Matrix& m) { return static_cast<std::uint16_t*>(m.view().data); }
inline const std::uint16_t* elements(const Matrix& m) {
  return static_cast<const std::uint16_t*>(m.view().data);
}

// x as tiles of A, each [depth / kTileDepth, kTileSize, kTileDepth]: products read it front to
// back. The last tile is whole, too, and holds anything in the rows that x does not have.
class RowBlocks {
 public:
  RowBlocks(const TileKernels& tiles, MatrixView x, bool split)
      : depth_(round_up(x.cols, kTileDepth)),
        high_((x.rows + kTileSize - 1) / kTileSize, kTileSize * depth_, DType::BFloat16),
        low_(split ? Matrix(high_.rows(), high_.cols(), DType::BFloat16) : Matrix()) {
    parallel_for(x.rows, kTileGrain / std::max<Index>(1, x.cols) / 16 + 1,
                 [&](Index begin, Index end) {
                   for (Index r = begin; r < end; ++r) {
                     tiles.split(x.row(r), x.cols, kStep, elements(high_) + offset(r, 0),
                                 split ? elements(low_) + offset(r, 0) : nullptr);
                   }
                 });
  }

  // From kTileDepth elements of a row to the next ones.
  static constexpr Index kStep = kTileSize * kTileDepth;

  Index depth() const { return depth_; }
  // The bytes of one input of a row.
  Index input_bytes() const { return low_.empty() ? 2 : 4; }
  const std::uint16_t* high(Index row, Index k) const { return elements(high_) + offset(row, k); }
  const std::uint16_t* low(Index row, Index k) const {
    return low_.empty() ? nullptr : elements(low_) + offset(row, k);
  }
  // From a tile to the next one.
  Index next() const { return kTileSize * depth_; }

 private:
  Index offset(Index row, Index k) const {
    return row / kTileSize * next() + k * kTileSize + row % kTileSize * kTileDepth;
  }

  Index depth_;
  Matrix high_, low_;
};

}  // namespace instructblip
