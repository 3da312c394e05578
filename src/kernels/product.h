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
};

// The inputs from k on of a panel of a packed weight.
struct PanelBlock {
  Index panel, k;
};

// What one product with a block of a panel covers: rows [begin, end) of x.
struct BlockProduct {
  Index begin, end;
  PanelBlock block;
  PanelBlock next;         // the block that comes after this one
  MutableMatrixView sums;  // [end - begin, kPanelOutputs], set if block.k is 0, else added to
};

// The most rows that pass over a block of a panel: with 512 inputs, twice in bfloat16, they fill
// half of the second-level cache.
constexpr Index kBlockRows = 512;
// The bytes of sums that stay in the second-level cache while the inputs pass by.
constexpr Index kSumsBytes = 1 << 18;

// The outputs of the panels [begin, end). `work` has the depth of a panel, the depth of its blocks
// and the rows of a tile of x, and computes one BlockProduct after the other.
template <class Work>
void for_panels(const Product& product, Index begin, Index end, const Work& work) {
  const Index rows = product.x.rows, parts = (rows + kBlockRows - 1) / kBlockRows;
  const Index step = round_up((rows + parts - 1) / parts, work.tile_rows());
  const Index sums_bytes = step * kPanelOutputs * static_cast<Index>(sizeof(float));
  const Index chunk = std::min(std::max<Index>(1, kSumsBytes / sums_bytes), end - begin);
  Matrix sums(step, chunk * kPanelOutputs);
  for (Index first = begin; first < end; first += chunk) {
    const Index last = std::min(first + chunk, end);
    for (Index r = 0; r < rows; r += step) {
      const Index r_end = std::min(r + step, rows);
      for (Index k = 0; k < work.depth(); k += work.block_depth()) {
        for (Index panel = first; panel < last; ++panel) {
          const bool is_last = panel + 1 == last;
          const PanelBlock next{is_last ? first : panel + 1, is_last ? k + work.block_depth() : k};
          work.multiply(
              {.begin = r,
               .end = r_end,
               .block = {panel, k},
               .next = next.k < work.depth() ? next : PanelBlock{panel, k},
               .sums = sums.view().middle_cols((panel - first) * kPanelOutputs, kPanelOutputs)});
        }
      }
      const Index o = first * kPanelOutputs;
      const Index outs = std::min(last * kPanelOutputs, product.y.cols) - o;
      for (Index i = r; i < r_end; ++i) product.finish(i, o, outs, sums.row(i - r));
    }
  }
}

// Sums of products in vectors, for weights of every format.
void multiply_vectors(const Product& product);
// Sums of products in vectors, for packed weights.
void multiply_panels(const Product& product);
// The same in tiles, for bfloat16 weights on a level that has `table.tiles`.
void multiply_tiles(const Product& product);
void multiply_panels_in_tiles(const Product& product);

}  // namespace instructblip
