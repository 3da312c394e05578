// Matrices as tiles (tile_kernels.h): what all of them share, and the rows of one as tiles of A.
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

// Numbers rounded to bfloat16, or as the sums of two bfloat16 numbers, not initialised.
class SplitNumbers {
 public:
  SplitNumbers(Index count, bool split)
      : high_(1, count, DType::BFloat16),
        low_(split ? Matrix(1, count, DType::BFloat16) : Matrix()) {}

  bool are_split() const { return !low_.empty(); }
  // The bytes of a number.
  Index bytes() const { return are_split() ? 4 : 2; }
  // Both parts from number i on; `low` is nullptr if there is only one.
  std::uint16_t* high(Index i) { return elements(high_) + i; }
  std::uint16_t* low(Index i) { return low_.empty() ? nullptr : elements(low_) + i; }
  const std::uint16_t* high(Index i) const { return elements(high_) + i; }
  const std::uint16_t* low(Index i) const { return low_.empty() ? nullptr : elements(low_) + i; }

 private:
  Matrix high_, low_;
};

// x as tiles of A, each [depth / kTileDepth, kTileSize, kTileDepth]: products read it front to
// back. The last tile is whole, too, and holds anything in the rows that x does not have.
class RowBlocks {
 public:
  RowBlocks(const TileKernels& tiles, MatrixView x, bool split)
      : depth_(round_up(x.cols, kTileDepth)),
        numbers_(round_up(x.rows, kTileSize) * depth_, split) {
    const Index count = (x.rows + kTileSize - 1) / kTileSize;
    const Index blocks = (x.cols + kBlock - 1) / kBlock;
    parallel_for(count * blocks, kTileGrain / (16 * kTileSize * kBlock) + 1,
                 [&](Index begin, Index end) {
                   for (Index i = begin; i < end; ++i) {
                     const Index row = i / blocks * kTileSize, k = i % blocks * kBlock;
                     const MatrixView part = x.middle_rows(row, std::min(kTileSize, x.rows - row))
                                                 .middle_cols(k, std::min(kBlock, x.cols - k));
                     tiles.split(part.row(0), part.stride, part.rows, part.cols,
                                 numbers_.high(offset(row, k)), numbers_.low(offset(row, k)));
                   }
                 });
  }

  // From kTileDepth elements of a row to the next ones.
  static constexpr Index kStep = kTileSize * kTileDepth;

  Index depth() const { return depth_; }
  bool is_split() const { return numbers_.are_split(); }
  // The bytes of one input of a row.
  Index input_bytes() const { return numbers_.bytes(); }
  const std::uint16_t* high(Index row, Index k) const { return numbers_.high(offset(row, k)); }
  const std::uint16_t* low(Index row, Index k) const { return numbers_.low(offset(row, k)); }
  // From a tile to the next one.
  Index next() const { return kTileSize * depth_; }

 private:
  // The inputs of a tile that a thread takes at a time, a multiple of kTileDepth.
  static constexpr Index kBlock = 512;

  Index offset(Index row, Index k) const {
    return row / kTileSize * next() + k * kTileSize + row % kTileSize * kTileDepth;
  }

  Index depth_;
  SplitNumbers numbers_;
};

}  // namespace instructblip
