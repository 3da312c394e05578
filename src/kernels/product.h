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

// The bytes of sums that stay in the second-level cache while the inputs pass by.
constexpr Index kSumsBytes = 1 << 19;

// The outputs of the pairs of panels [begin, end). multiply(pair, k, sums) adds the products of the
// inputs [k, k + block) of a pair for all rows of x, or sets the sums if k is 0.
template <class Multiply>
void for_panels(const Product& product, Index begin, Index end, Index depth, Index block,
                const Multiply& multiply) {
  const Index pair_bytes = product.x.rows * kPanelPair * static_cast<Index>(sizeof(float));
  const Index chunk = std::min(std::max<Index>(1, kSumsBytes / pair_bytes), end - begin);
  Matrix sums(product.x.rows, chunk * kPanelPair);
  for (Index first = begin; first < end; first += chunk) {
    const Index last = std::min(first + chunk, end);
    for (Index k = 0; k < depth; k += block) {
      for (Index pair = first; pair < last; ++pair) {
        multiply(pair, k, sums.view().middle_cols((pair - first) * kPanelPair, kPanelPair));
      }
    }
    const Index o = first * kPanelPair, outs = std::min(last * kPanelPair, product.y.cols) - o;
    for (Index r = 0; r < sums.rows(); ++r) product.finish(r, o, outs, sums.row(r));
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
