// Linear: torch.nn.Linear over ragged rows.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/error.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/kernels/prepared_matrix.h"
#include "instructblip/layers/float_copy.h"
#include "instructblip/layers/prepare.h"
#include "instructblip/layers/quantized_form.h"

namespace instructblip {

/// y = x W^T + b. Immutable; copies share the weight. Safe to call from several threads.
class Linear {
 public:
  /// One of several matrices that are stacked along the output: its scope and its number of
  /// outputs.
  struct Part {
    Weights weights;
    Index out_features = 0;
  };

  Linear() = default;

  /// Reads `weight` [out_features, in_features] of this scope and, if `bias` is set, `bias`
  /// [out_features]. A missing or misshapen tensor is recorded in `weights` and reported by
  /// `finish`; without its weight the layer is empty. The weight may be quantised in the scope
  /// already (quantized_form.h).
  Linear(const Weights& weights, Index in_features, Index out_features, bool bias = true)
      : Linear({{weights, out_features}}, in_features, bias) {}

  /// Several layers with the same input as one product: {{w["q_proj"], a}, {w["k_proj"], b}} gives
  /// [rows, a + b], whose parts are view().middle_cols(0, a) and view().middle_cols(a, b). Weights
  /// are not copied. Weights that are quantised in the checkpoint must all be so in the same way;
  /// otherwise the difference is recorded for `finish`.
  Linear(std::initializer_list<Part> parts, Index in_features, bool bias = true);

  /// A layer without a bias over a matrix that is loaded elsewhere (an output head tied to the
  /// embedding). `name` is for error messages.
  Linear(PreparedMatrix weight, std::string name)
      : name_(std::move(name)), weight_(std::move(weight)) {}

  Index in_features() const { return weight_.in_features(); }
  Index out_features() const { return weight_.out_features(); }
  bool empty() const { return weight_.empty(); }
  const PreparedMatrix& weight() const { return weight_; }
  /// [out_features], or nullptr.
  const float* bias() const { return bias_ ? bias_->data<float>() : nullptr; }

  /// x [rows, in_features] -> [rows, out_features]. The layer sets `epilogue.bias` itself. Throws
  /// InputError if x has a different width, or the layer is empty.
  Matrix operator()(MatrixView x, const Epilogue& epilogue = {}) const {
    Matrix y(x.rows, out_features());
    (*this)(x, y, epilogue);
    return y;
  }

  /// Writes the result to y [rows, out_features]. y must not overlap x or the gate; the residual
  /// may be y.
  void operator()(MatrixView x, MutableMatrixView y, Epilogue epilogue = {}) const;

 private:
  std::string name_;
  PreparedMatrix weight_;
  std::shared_ptr<const Tensor> bias_;
};

inline Linear::Linear(std::initializer_list<Part> parts, Index in_features, bool bias) {
  std::vector<SharedTensor> sources;
  std::vector<QuantizedMatrix> quantized;
  std::vector<float> biases;
  Index out_features = 0;
  for (const Part& part : parts) {
    name_ += (name_.empty() ? "" : " + ") + part.weights.name();
    out_features += part.out_features;
  }
  if (parts.size() > 0) {
    weight_ = kept_matrix(parts.begin()->weights, name_, out_features, in_features);
  }
  const bool is_kept = !weight_.empty();
  for (const Part& part : parts) {
    if (is_kept) {
      part.weights["weight"].skip({part.out_features, in_features});
    } else if (auto matrix = quantized_matrix(part.weights, part.out_features, in_features)) {
      quantized.push_back(*std::move(matrix));
    } else {
      sources.push_back(part.weights["weight"].get({part.out_features, in_features}));
    }
    const std::optional<Quantization>& own = part.weights.quantization();
    if (quantized.empty() && own && can_quantize(in_features, *own)) {
      part.weights["weight"].note_quantized(*own);
    }
    if (!bias) continue;
    const Tensor values = float_copy(part.weights["bias"].get({part.out_features}));
    biases.insert(biases.end(), values.span<float>().begin(), values.span<float>().end());
  }
  if (!quantized.empty()) {
    if (are_quantized_alike(quantized, parts.size(), parts.begin()->weights, name_)) {
      weight_ = PreparedMatrix::prepare(quantized);
    }
  } else if (!sources.empty()) {
    weight_ = PreparedMatrix::prepare(sources, prepare_policy(parts.begin()->weights));
    keep_matrix(parts.begin()->weights, name_, weight_);
  }
  if (bias) {
    const auto count = static_cast<Index>(biases.size());
    bias_ = std::make_shared<const Tensor>(biases, Shape{count});
  }
}

inline void Linear::operator()(MatrixView x, MutableMatrixView y, Epilogue epilogue) const {
  if (empty())
    throw InputError("linear layer " + name_ + " is empty: the checkpoint has no weight for it");
  if (x.cols != in_features()) {
    throw InputError("linear layer " + name_ + ": the input has " + std::to_string(x.cols) +
                     " columns, expected " + std::to_string(in_features()));
  }
  epilogue.bias = bias();
  matmul(x, weight_, y, epilogue);
}

}  // namespace instructblip
