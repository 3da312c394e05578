// The operations on single rows.
#include <algorithm>

#include "instructblip/core/threads.h"
#include "instructblip/kernels/kernels.h"
#include "kernels/checks.h"
#include "kernels/kernel_table.h"

namespace instructblip {
namespace {

// A thread is not worth waking for fewer elements than this.
constexpr Index kRowGrain = 1 << 14;

template <class Body>
void for_rows(Index rows, Index cols, const Body& body) {
  parallel_for(rows, kRowGrain / std::max<Index>(1, cols) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) body(r);
  });
}

void check_vector(const char* what, const float* vector, Index cols) {
  if (vector == nullptr && cols > 0) {
    throw InputError(std::string(what) + " is missing, expected " + std::to_string(cols) +
                     " values");
  }
}

void check_row_indices(const char* what, std::span<const Index> rows, Index count) {
  for (const Index row : rows) {
    if (row >= 0 && row < count) continue;
    throw InputError(std::string(what) + ": row " + std::to_string(row) + " of a matrix of " +
                     std::to_string(count) + " rows");
  }
}

}  // namespace

void layer_norm(MatrixView x, const float* weight, const float* bias, float eps,
                MutableMatrixView y) {
  check_matrix("layer_norm: x", x, x.rows, x.cols);
  check_matrix("layer_norm: y", y, x.rows, x.cols);
  check_vector("layer_norm: weight", weight, x.cols);
  check_vector("layer_norm: bias", bias, x.cols);
  if (x.cols == 0) return;
  const KernelTable& table = kernels();
  for_rows(x.rows, x.cols,
           [&](Index r) { table.layer_norm(x.row(r), x.cols, weight, bias, eps, y.row(r)); });
}

void rms_norm(MatrixView x, const float* weight, float eps, MutableMatrixView y) {
  check_matrix("rms_norm: x", x, x.rows, x.cols);
  check_matrix("rms_norm: y", y, x.rows, x.cols);
  check_vector("rms_norm: weight", weight, x.cols);
  if (x.cols == 0) return;
  const KernelTable& table = kernels();
  for_rows(x.rows, x.cols,
           [&](Index r) { table.rms_norm(x.row(r), x.cols, weight, eps, y.row(r)); });
}

void add_rows(MatrixView x, MutableMatrixView y) {
  check_matrix("add_rows: x", x, x.rows, x.cols);
  check_matrix("add_rows: y", y, x.rows, x.cols);
  for_rows(x.rows, x.cols, [&](Index r) {
    const float* from = x.row(r);
    float* to = y.row(r);
    for (Index c = 0; c < x.cols; ++c) to[c] += from[c];
  });
}

void gather_rows(MatrixView x, std::span<const Index> rows, MutableMatrixView y) {
  const auto count = static_cast<Index>(rows.size());
  check_matrix("gather_rows: x", x, x.rows, x.cols);
  check_matrix("gather_rows: y", y, count, x.cols);
  check_row_indices("gather_rows", rows, x.rows);
  for_rows(count, x.cols, [&](Index r) {
    std::copy_n(x.row(rows[static_cast<std::size_t>(r)]), x.cols, y.row(r));
  });
}

void scatter_rows(MatrixView x, std::span<const Index> rows, MutableMatrixView y) {
  const auto count = static_cast<Index>(rows.size());
  check_matrix("scatter_rows: x", x, count, y.cols);
  check_matrix("scatter_rows: y", y, y.rows, y.cols);
  check_row_indices("scatter_rows", rows, y.rows);
  // In order, so that the last of equal rows wins with any number of threads.
  for (Index r = 0; r < count; ++r) {
    std::copy_n(x.row(r), x.cols, y.row(rows[static_cast<std::size_t>(r)]));
  }
}

}  // namespace instructblip
