// One call of matmul, divided into blocks in different ways (matmul_*.cpp).
#pragma once

#include <algorithm>

#include "instructblip/kernels/kernels.h"
#include "kernels/kernel_table.h"
#include "kernels/panels.h"
#include "kernels/weight_format.h"

namespace instructblip {

struct Product {
  const KernelTable& table;
  MatrixView x;
  const PreparedMatrix::Impl& weight;
  MutableMatrixView y;
  const Epilogue& epilogue;

  // Applies the epilogue to the sums of outputs [o, o + outs) of row r and stores them in y.
  void finish(Index r, Index o, Index outs, const float* sums) const {
    const auto part = [&](MatrixView m) { return m.empty() ? nullptr : m.row(r) + o; };
    table.finish({.sums = sums,
                  .count = outs,
                  .bias = epilogue.bias == nullptr ? nullptr : epilogue.bias + o,
                  .activation = epilogue.activation,
                  .scale = epilogue.scale,
                  .gate = part(epilogue.gate),
                  .residual = part(epilogue.residual),
                  .y = y.row(r) + o});
  }
  // The same for the rows from r on.
  void finish_rows(Index r, Index o, Index outs, MatrixView sums) const {
    // The rows of y lie too far apart for the CPU to fetch them on its own.
    constexpr Index kAhead = 4;
    for (Index i = 0; i < sums.rows; ++i) {
      const float* const ahead = y.row(r + std::min(i + kAhead, sums.rows - 1)) + o;
      for (Index j = 0; j < outs; j += 16) __builtin_prefetch(ahead + j, 1);
      finish(r + i, o, outs, sums.row(i));
    }
  }
  // The same for the outputs of the panels [first, last).
  void finish_panels(Index r, Index first, Index last, MatrixView sums) const {
    const Index o = first * kPanelOutputs;
    finish_rows(r, o, std::min(last * kPanelOutputs, y.cols) - o, sums);
  }
};

// The size of equal parts of `count`, at most `most` where that is possible.
inline Index part_size(Index count, Index most) {
  most = std::max<Index>(1, most);
  const Index parts = std::max<Index>(1, (count + most - 1) / most);
  return std::max<Index>(1, (count + parts - 1) / parts);
}
// The rows of x that pass over a packed weight together: equal parts of all rows in whole tiles, so
// few that their sums and a block of their inputs stay in the second-level cache.
inline Index rows_per_block(Index rows, Index tile_rows) {
  return round_up(part_size(rows, 512), tile_rows);
}
// The bytes of sums that stay in the second-level cache while the inputs pass by.
constexpr Index kSumsBytes = 1 << 18;

// k is summed in blocks of this many values of x: the lanes are added once per block, and the
// blocks are added in ascending order. Part of the order of sums, so the same for all shapes. The
// values of a tile of rows stay in the first-level cache.
constexpr Index kBlockK = 1024;
// Rows whose partial sums are in memory at the same time.
constexpr Index kBlockRows = 1024;
// Elements between rows: rows a large power of two apart would share few sets of the caches.
constexpr Index kRowGap = 16;

// Sums of products of integers, for quantised weights.
void multiply_integers(const Product& product);
// Sums of products in vectors, for weights of every format.
void multiply_vectors(const Product& product);
// The same with transposed blocks of the weight, for many rows.
void multiply_transposed(const Product& product);
// Sums of products in vectors, for packed weights.
void multiply_panels(const Product& product);
// The same in tiles, for bfloat16 weights on a level that has `table.tiles`.
void multiply_tiles(const Product& product);
void multiply_panels_in_tiles(const Product& product);

}  // namespace instructblip
