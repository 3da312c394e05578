// How matmul and embedding_rows read a weight. A format is one file that defines such an object,
// with the vector functions it needs from a level (kernel_table.h); PreparedMatrix::prepare chooses
// it.
#pragma once

#include <memory>
#include <span>

#include "kernels/kernel_table.h"
#include "kernels/prepared_matrix_impl.h"

namespace instructblip {

// Outputs [o, o + outs) and inputs [k, k + depth) of a weight.
struct WeightBlock {
  const PreparedMatrix::Impl& weight;
  Index o, outs, k, depth;
};

struct WeightFormat {
  DType dtype;
  Index bits;  // of a stored element
  // Up to this many rows of x, `dots` on the stored weights is faster than widening a block of them
  // to float32 once for all rows.
  Index direct_rows;

  // Where element k of row o is stored.
  const char* (*address)(const PreparedMatrix::Impl& weight, Index o, Index k);
  // VectorProducts::dots with a block of at most kMaxDirectOutputs outputs in place of product.w.
  void (*dots)(const KernelTable& table, const WeightBlock& block, const DotProduct& product);
  // Elements [k, k + count) of row o in float32.
  void (*widen_row)(const KernelTable& table, const PreparedMatrix::Impl& weight, Index o, Index k,
                    Index count, float* to);
  // A copy of a floating-point tensor in this format.
  std::shared_ptr<const Tensor> (*convert)(const SharedTensor& source);
};

constexpr Index kMaxDirectOutputs = 48;

extern const WeightFormat kFloat32Format;
extern const WeightFormat kBFloat16Format;
extern const WeightFormat kCodebookFormat;  // without `convert`

// Matrices with the same codebook, stacked along the output.
CodebookWeight codebook_weight(std::span<const QuantizedMatrix> sources, Index outs);

// Elements [begin, begin + count) of a floating-point tensor, in float32.
void widen_elements(const SharedTensor& source, Index begin, Index count, float* to);

}  // namespace instructblip
