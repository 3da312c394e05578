#include "instructblip/layers/padded_batch.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "instructblip/core/error.h"

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

PaddedBatch::PaddedBatch(Index batch_size, Index sequence_length, const TensorView& attention_mask,
                         std::string_view argument)
    : batch(batch_size), length(sequence_length) {
  Tensor mask;
  if (attention_mask.data != nullptr) {
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
      const auto row = static_cast<std::size_t>(r);
      const Index position = ids.data<std::int64_t>()[(shared ? 0 : b * length) + columns[row]];
      if (position < 0) {
        throw InputError("position_ids[" + std::to_string(b) + "][" + std::to_string(columns[row]) +
                         "] is " + std::to_string(position) + ", expected 0 or more");
      }
      rows.positions[row] = position;
    }
  }
}

void PaddedBatch::use_compact_positions() {
  for (Index b = 0; b < batch; ++b) {
    for (Index i = 0; i < rows.count(b); ++i) {
      rows.positions[static_cast<std::size_t>(rows.begin(b) + i)] = i;
    }
  }
}

std::vector<std::int64_t> PaddedBatch::gather_ids(const TensorView& ids) const {
  const Tensor all = detail::as_ids(ids, {batch, length}, "ids");
  std::vector<std::int64_t> kept;
  kept.reserve(columns.size());
  for (Index b = 0; b < batch; ++b) {
    for (Index r = rows.begin(b); r < rows.begin(b + 1); ++r) {
      kept.push_back(all.data<std::int64_t>()[b * length + columns[static_cast<std::size_t>(r)]]);
    }
  }
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
  for (Index b = 0; b < batch; ++b) {
    for (Index r = rows.begin(b); r < rows.begin(b + 1); ++r) {
      const Index from = b * length + columns[static_cast<std::size_t>(r)];
      std::copy_n(all.data<float>() + from * width, width, kept.row(r));
    }
  }
  return kept;
}

Tensor PaddedBatch::scatter(MatrixView values) const {
  Tensor padded(DType::Float32, {batch, length, values.cols});
  for (Index b = 0; b < batch; ++b) {
    for (Index r = rows.begin(b); r < rows.begin(b + 1); ++r) {
      const Index to = b * length + columns[static_cast<std::size_t>(r)];
      std::copy_n(values.row(r), values.cols, padded.data<float>() + to * values.cols);
    }
  }
  return padded;
}

Tensor PaddedBatch::scatter_attentions(const std::vector<Tensor>& attentions,
                                       const PaddedBatch& keys) const {
  const Index heads = attentions.empty() ? 0 : attentions.front().dim(0);
  Tensor padded(DType::Float32, {batch, heads, length, keys.length});
  for (Index b = 0; b < batch; ++b) {
    const float* from = attentions[static_cast<std::size_t>(b)].data<float>();
    for (Index h = 0; h < heads; ++h) {
      for (Index i = 0; i < rows.count(b); ++i) {
        const Index column = columns[static_cast<std::size_t>(rows.begin(b) + i)];
        float* to = padded.data<float>() + ((b * heads + h) * length + column) * keys.length;
        for (Index j = 0; j < keys.rows.count(b); ++j) {
          to[keys.columns[static_cast<std::size_t>(keys.rows.begin(b) + j)]] = *from++;
        }
      }
    }
  }
  return padded;
}

std::vector<Tensor> PaddedBatch::scatter(const std::vector<Tensor>& layers) const {
  std::vector<Tensor> padded;
  padded.reserve(layers.size());
  for (const Tensor& layer : layers) padded.push_back(scatter(Matrix::from(layer)));
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
