#include "instructblip/layers/padded_batch.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/eigen_arrays.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"

namespace instructblip {
namespace detail {

Tensor as_ids(const TensorView& view, const Shape& expected, std::string_view argument) {
  if (view.shape != expected) {
    throw InputError(std::string(argument) + " has the shape " + to_string(view.shape) +
                     ", expected " + to_string(expected));
  }
  if (is_floating_point(view.dtype)) {
    throw InputError(std::string(argument) + " is of type " + std::string(name_of(view.dtype)) +
                     ", expected an integer type (int64)");
  }
  return Tensor::copy_of(view).to(DType::Int64);
}

}  // namespace detail

namespace {

// Appends a copy of sequence `b` of another batch.
void append_sequence(PaddedBatch& batch, const PaddedBatch& from, Index b) {
  for (Index r = from.rows.begin(b); r < from.rows.begin(b + 1); ++r) {
    batch.columns.push_back(from.column(r));
    batch.rows.positions.push_back(from.rows.position(r));
  }
  batch.rows.offsets.push_back(static_cast<Index>(batch.columns.size()));
}

void check_values(const Shape& found, const Shape& expected) {
  if (found == expected) return;
  throw InputError("values of the rows of a padded batch have the shape " + to_string(found) +
                   ", expected " + to_string(expected));
}

using EigenIndices = Eigen::Array<Index, Eigen::Dynamic, 1>;

// The index of each row in [batch * length].
EigenIndices places(const PaddedBatch& batch) {
  EigenIndices result = EigenIndices::Map(batch.columns.data(), batch.rows.rows());
  for (Index b = 0; b < batch.batch; ++b) {
    result.segment(batch.rows.begin(b), batch.rows.count(b)) += b * batch.length;
  }
  return result;
}

EigenIndices columns_of(const PaddedBatch& batch, Index b) {
  return EigenIndices::Map(batch.columns.data() + batch.rows.begin(b), batch.rows.count(b));
}

auto every(Index count) { return Eigen::seqN(Index{0}, count); }

}  // namespace

PaddedBatch::PaddedBatch(Index batch_size, Index sequence_length, const TensorView& attention_mask,
                         std::string_view argument)
    : batch(batch_size), length(sequence_length) {
  Tensor mask;
  if (attention_mask.has_value()) {
    mask = detail::as_ids(attention_mask, {batch, length}, argument);
  }
  for (Index b = 0; b < batch; ++b) {
    for (Index column = 0; column < length; ++column) {
      const std::int64_t kept = mask.empty() ? 1 : mask.data<std::int64_t>()[b * length + column];
      if (kept != 0 && kept != 1) {
        throw InputError(std::string(argument) + "[" + std::to_string(b) + "][" +
                         std::to_string(column) + "] is " + std::to_string(kept) +
                         ", expected 0 or 1");
      }
      if (kept == 1) columns.push_back(column);
    }
    rows.offsets.push_back(static_cast<Index>(columns.size()));
  }
  rows.positions = columns;
}

void PaddedBatch::use_positions(const TensorView& position_ids) {
  const bool shared = position_ids.rank() == 2 && position_ids.dim(0) == 1;
  const Tensor ids =
      detail::as_ids(position_ids, {shared ? Index{1} : batch, length}, "position_ids");
  for (Index b = 0; b < batch; ++b) {
    for (Index r = rows.begin(b); r < rows.begin(b + 1); ++r) {
      const Index position = ids.data<std::int64_t>()[(shared ? 0 : b * length) + column(r)];
      if (position < 0) {
        throw InputError("position_ids[" + std::to_string(b) + "][" + std::to_string(column(r)) +
                         "] is " + std::to_string(position) + ", expected 0 or more");
      }
      at(rows.positions, r) = position;
    }
  }
}

void PaddedBatch::use_compact_positions() {
  for (Index b = 0; b < batch; ++b) {
    for (Index i = 0; i < rows.count(b); ++i) {
      at(rows.positions, rows.begin(b) + i) = i;
    }
  }
}

PaddedBatch PaddedBatch::repeated(Index copies) const {
  PaddedBatch result;
  result.batch = batch * copies;
  result.length = length;
  for (Index i = 0; i < result.batch; ++i) append_sequence(result, *this, i / copies);
  return result;
}

void PaddedBatch::append_column() {
  PaddedBatch longer;
  longer.batch = batch;
  longer.length = length + 1;
  for (Index b = 0; b < batch; ++b) {
    append_sequence(longer, *this, b);
    longer.columns.push_back(length);
    const Index last = rows.begin(b + 1) - 1;
    longer.rows.positions.push_back(rows.count(b) == 0 ? 0 : rows.position(last) + 1);
    ++longer.rows.offsets.back();
  }
  *this = std::move(longer);
}

std::vector<std::int64_t> PaddedBatch::gather_ids(const TensorView& ids) const {
  const Tensor all = detail::as_ids(ids, {batch, length}, "ids");
  std::vector<std::int64_t> kept;
  kept.reserve(columns.size());
  for (const Index place : places(*this)) kept.push_back(all.data<std::int64_t>()[place]);
  return kept;
}

Matrix PaddedBatch::gather(const TensorView& values) const {
  if (values.rank() != 3 || values.dim(0) != batch || values.dim(1) != length ||
      !is_floating_point(values.dtype)) {
    throw InputError("embeddings of type " + std::string(name_of(values.dtype)) + " and shape " +
                     to_string(values.shape) + ", expected floating-point [" +
                     std::to_string(batch) + ", " + std::to_string(length) + ", width]");
  }
  const Tensor all = Tensor::copy_of(values).to(DType::Float32);
  const Index width = values.dim(2);
  Matrix kept(rows.rows(), width);
  as_rows(MutableMatrixView(kept)) =
      as_rows(all.data<float>(), batch * length, width)(places(*this), every(width));
  return kept;
}

Tensor PaddedBatch::scatter(MatrixView values) const {
  check_values({values.rows, values.cols}, {rows.rows(), values.cols});
  Tensor padded(DType::Float32, {batch, length, values.cols});
  as_rows(padded.data<float>(), batch * length, values.cols)(places(*this), every(values.cols)) =
      as_rows(values);
  return padded;
}

Tensor PaddedBatch::scatter_attentions(const std::vector<Tensor>& attentions,
                                       const PaddedBatch& keys) const {
  const auto found = static_cast<Index>(attentions.size());
  if (found != batch) {
    throw InputError("attentions of " + std::to_string(found) + " sequences, expected " +
                     std::to_string(batch));
  }
  const Index heads = attentions.empty() ? 0 : attentions.front().dim(0);
  Tensor padded(DType::Float32, {batch, heads, length, keys.length});
  auto to = as_rows(padded.data<float>(), batch * heads * length, keys.length);
  for (Index b = 0; b < batch; ++b) {
    const Tensor& attention = at(attentions, b);
    const Index queries = rows.count(b);
    check_values(attention.shape(), {heads, queries, keys.rows.count(b)});
    const auto from = as_rows(attention.data<float>(), heads * queries, keys.rows.count(b));
    for (Index h = 0; h < heads; ++h) {
      to.middleRows((b * heads + h) * length, length)(columns_of(*this, b), columns_of(keys, b)) =
          from.middleRows(h * queries, queries);
    }
  }
  return padded;
}

std::vector<Tensor> PaddedBatch::scatter(const std::vector<Tensor>& layers) const {
  std::vector<Tensor> padded;
  padded.reserve(layers.size());
  for (const Tensor& layer : layers) {
    check_values(layer.shape(), {rows.rows(), layer.dim(-1)});
    const Index width = layer.dim(1);
    padded.push_back(scatter({layer.data<float>(), DType::Float32, rows.rows(), width, width}));
  }
  return padded;
}

std::vector<Tensor> PaddedBatch::scatter_attentions(const std::vector<std::vector<Tensor>>& layers,
                                                    const PaddedBatch& keys) const {
  std::vector<Tensor> padded;
  padded.reserve(layers.size());
  for (const std::vector<Tensor>& layer : layers) padded.push_back(scatter_attentions(layer, keys));
  return padded;
}

}  // namespace instructblip
