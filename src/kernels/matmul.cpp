// matmul and embedding_rows: checks, and the choice of how to multiply.
#include <algorithm>

#include "instructblip/core/threads.h"
#include "instructblip/kernels/kernels.h"
#include "kernels/checks.h"
#include "kernels/product.h"

namespace instructblip {
namespace {

// A thread is not worth waking to round fewer elements than this.
constexpr Index kRoundGrain = 1 << 15;

thread_local std::int64_t weight_bytes = 0;

void multiply(const Product& product) {
  if (product.weight.integers != nullptr) return multiply_integers(product);
  const bool packed = product.weight.panels != nullptr;
  if (product.table.tiles != nullptr && product.weight.tiles) {
    packed ? multiply_panels_in_tiles(product) : multiply_tiles(product);
  } else if (packed) {
    multiply_panels(product);
  } else if (product.x.rows >= product.table.products.transposed_rows) {
    multiply_transposed(product);
  } else {
    multiply_vectors(product);
  }
}

// nullptr if the weights are not to be read in pairs.
const PairKernels* pairs_for(const KernelTable& table, const PreparedMatrix::Impl& weight) {
  if (weight.pairs == nullptr) return nullptr;
  const PairKernels* const pairs =
      weight.activations == DType::Float32 ? table.split_pairs : table.pairs;
  if (weight.tiles && pairs != nullptr) return pairs;
  return weight.panels == nullptr ? table.exact_pairs : nullptr;
}

// The product of two float32 matrices, with pairs in place of elements.
void multiply_pairs(const Product& product, const PairKernels& pairs) {
  const PreparedMatrix::Impl& weight = *product.weight.pairs;
  KernelTable table = product.table;
  table.products = pairs.products;
  // Whole vectors of pairs; a packed weight may have more zeros behind them.
  const Index values = round_up(product.x.cols, 2 * table.lanes) / 2 * table.products.terms;
  Matrix rows(product.x.rows, values + kRowGap);
  const MutableMatrixView x = rows.view().middle_cols(0, values);
  parallel_for(x.rows, kRoundGrain / std::max<Index>(1, values) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      pairs.to_terms(product.x.row(r), product.x.cols, x.row(r));
    }
  });
  multiply({table, x, weight, product.y, product.epilogue});
}

}  // namespace

void matmul(MatrixView x, const PreparedMatrix& weight, MutableMatrixView y,
            const Epilogue& epilogue) {
  if (weight.empty()) throw InputError("matmul: the weight is empty (its tensor was missing)");
  const Index outs = weight.out_features();
  check_matrix("matmul: x", x, x.rows, weight.in_features());
  check_matrix("matmul: y", y, x.rows, outs);
  if (!epilogue.gate.empty()) check_matrix("matmul: gate", epilogue.gate, x.rows, outs);
  if (!epilogue.residual.empty()) check_matrix("matmul: residual", epilogue.residual, x.rows, outs);
  if (x.rows == 0 || outs == 0) return;
  weight_bytes += static_cast<std::int64_t>(weight.impl()->bytes);
  const Product product{kernels(), x, *weight.impl(), y, epilogue};
  const PairKernels* const pairs = pairs_for(product.table, product.weight);
  pairs != nullptr ? multiply_pairs(product, *pairs) : multiply(product);
}

std::int64_t multiplied_weight_bytes() { return weight_bytes; }

void embedding_rows(const PreparedMatrix& table, std::span<const std::int64_t> ids,
                    MutableMatrixView y) {
  if (table.empty())
    throw InputError("embedding_rows: the table is empty (its tensor was missing)");
  if (table.impl()->integers != nullptr) {
    throw InputError("embedding_rows: the table is quantised");
  }
  if (table.impl()->panels != nullptr) throw InputError("embedding_rows: the table is packed");
  check_matrix("embedding_rows: y", y, static_cast<Index>(ids.size()), table.in_features());
  for (std::size_t r = 0; r < ids.size(); ++r) {
    if (ids[r] < 0 || ids[r] >= table.out_features()) {
      throw InputError("embedding_rows: row " + std::to_string(r) + " asks for id " +
                       std::to_string(ids[r]) + ", the table has " +
                       std::to_string(table.out_features()) + " entries");
    }
  }
  const PreparedMatrix::Impl& impl = *table.impl();
  for (std::size_t r = 0; r < ids.size(); ++r) {
    impl.format->widen_row(kernels(), impl, ids[r], 0, impl.in_features,
                           y.row(static_cast<Index>(r)));
  }
}

}  // namespace instructblip
