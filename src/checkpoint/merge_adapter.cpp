// The arithmetic of PeftAdapter: a changed tensor, in float32.
#include <algorithm>
#include <cstddef>
#include <memory>

#include "checkpoint/peft_adapter.h"
#include "core/eigen_arrays.h"
#include "instructblip/core/threads.h"

namespace instructblip {
namespace {

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowsMap = Eigen::Map<Rows>;
using ConstRowsMap = Eigen::Map<const Rows>;

// Rows are merged in blocks of this many, whatever the number of threads, so that the sums do not
// depend on it.
constexpr Index kBlock = 64;

template <class T>
void widen(const void* from, Index begin, Index count, float* to) {
  std::copy_n(static_cast<const T*>(from) + begin, count, to);
}

// Elements [begin, begin + count) of a contiguous floating-point tensor.
void read_floats(const TensorView& tensor, Index begin, Index count, float* to) {
  switch (tensor.dtype) {
    case DType::BFloat16: return widen<bfloat16>(tensor.data, begin, count, to);
    case DType::Float16: return widen<float16>(tensor.data, begin, count, to);
    default: return widen<float>(tensor.data, begin, count, to);
  }
}

Tensor floats_of(const TensorView& tensor) {
  Tensor values = Tensor::uninitialized(DType::Float32, tensor.shape);
  read_floats(tensor, 0, values.size(), values.data<float>());
  return values;
}

// A tensor as a matrix: its first dimension, and all others together.
Index columns_of(const Tensor& tensor) {
  return tensor.dim(0) == 0 ? 0 : tensor.size() / tensor.dim(0);
}
RowsMap matrix_of(Tensor& tensor) {
  return {tensor.data<float>(), tensor.dim(0), columns_of(tensor)};
}

void replace_rows(const AdapterChange& change, Tensor& merged) {
  const Tensor rows = floats_of(*change.rows);
  RowsMap table = matrix_of(merged);
  for (std::size_t i = 0; i < change.row_numbers.size(); ++i) {
    const float* row = rows.data<float>() + static_cast<Index>(i) * table.cols();
    std::copy_n(row, table.cols(), table.row(change.row_numbers[i]).data());
  }
}

// merged = stored + scale * B A, and of DoRA the rows' norms.
void add_product(const AdapterChange& change, Tensor& merged) {
  const Tensor a = floats_of(*change.a), b = floats_of(*change.b);
  const ConstRowsMap a_rows(a.data<float>(), a.dim(0), columns_of(a));
  const ConstRowsMap b_rows(b.data<float>(), b.dim(0), columns_of(b));
  const Tensor norms = change.magnitude ? floats_of(*change.magnitude) : Tensor();
  RowsMap out = matrix_of(merged);
  const bool scales_rows = change.magnitude && !change.is_embedding;
  const Index blocks = (out.rows() + kBlock - 1) / kBlock;
  parallel_for(blocks, 1, [&](Index first, Index last) {
    for (Index block = first; block < last; ++block) {
      const Index begin = block * kBlock, count = std::min(kBlock, out.rows() - begin);
      auto rows = out.middleRows(begin, count);
      const Rows product =
          change.is_embedding
              ? Rows(a_rows.middleCols(begin, count).transpose() * b_rows.transpose())
              : Rows(b_rows.middleRows(begin, count) * a_rows);
      rows += change.scale * product;
      for (Index r = 0; scales_rows && r < count; ++r) {
        rows.row(r) *= norms.data<float>()[begin + r] / rows.row(r).norm();
      }
    }
  });
  if (!change.magnitude || scales_rows) return;
  const Eigen::Map<const Eigen::RowVectorXf> magnitude(norms.data<float>(), norms.size());
  const Eigen::RowVectorXf factors = magnitude.cwiseQuotient(out.colwise().norm());
  out *= factors.asDiagonal();
}

}  // namespace

SharedTensor PeftAdapter::apply(const AdapterChange& change,
                                const std::function<SharedTensor()>& stored) {
  const SharedTensor source = change.replaced ? *change.replaced : stored();
  // Reading the weight of a model reports a type that is not floating-point.
  if (!is_floating_point(source.dtype)) return source;
  if (!change.rows && !change.a && !change.bias) return source;
  auto merged = std::make_shared<Tensor>(floats_of(source));
  if (change.rows) replace_rows(change, *merged);
  if (change.a) add_product(change, *merged);
  if (change.bias) {
    const Tensor bias = floats_of(*change.bias);
    for (Index i = 0; i < bias.size(); ++i) {
      merged->data<float>()[i] += change.scale * bias.data<float>()[i];
    }
  }
  const TensorView view = merged->view();
  return SharedTensor(view, std::move(merged));
}

}  // namespace instructblip
