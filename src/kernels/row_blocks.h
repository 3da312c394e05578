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
    const Index blocks = (x.cols + kBlock - 1) / kBlock;
    parallel_for(high_.rows() * blocks, kTileGrain / (16 * kTileSize * kBlock) + 1,
                 [&](Index begin, Index end) {
                   for (Index i = begin; i < end; ++i) {
                     const Index row = i / blocks * kTileSize, k = i % blocks * kBlock;
                     const MatrixView part = x.middle_rows(row, std::min(kTileSize, x.rows - row))
                                                 .middle_cols(k, std::min(kBlock, x.cols - k));
                     tiles.split(part.row(0), part.stride, part.rows, part.cols,
                                 elements(high_) + offset(row, k),
                                 split ? elements(low_) + offset(row, k) : nullptr);
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
  // The inputs of a tile that a thread takes at a time, a multiple of kTileDepth.
  static constexpr Index kBlock = 512;

  Index offset(Index row, Index k) const {
    return row / kTileSize * next() + k * kTileSize + row % kTileSize * kTileDepth;
  }

  Index depth_;
  Matrix high_, low_;
};

}  // namespace instructblip
