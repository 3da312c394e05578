// LayerNorm and RMSNorm over ragged rows.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/layers/float_copy.h"

namespace instructblip {
namespace detail {

inline void check_norm_input(const char* norm, MatrixView x, const Tensor* weight) {
  const Index size = weight == nullptr ? 0 : weight->size();
  if (x.cols != size) {
    throw InputError(std::string(norm) + ": the input has " + std::to_string(x.cols) +
                     " columns, expected " + std::to_string(size));
  }
}

}  // namespace detail

/// torch.nn.LayerNorm over the columns, in float32. Immutable; safe to call from several threads.
class LayerNorm {
 public:
  LayerNorm() = default;

  /// Reads `weight` and `bias` [size] of this scope. `eps` is rounded to float32.
  LayerNorm(const Weights& weights, Index size, double eps)
      : weight_(std::make_shared<const Tensor>(float_copy(weights["weight"].get({size})))),
        bias_(std::make_shared<const Tensor>(float_copy(weights["bias"].get({size})))),
        eps_(static_cast<float>(eps)) {}

  /// A norm without weight and bias (torch's elementwise_affine=False).
  LayerNorm(Index size, double eps)
      : weight_(
            std::make_shared<const Tensor>(std::vector<float>(to_size(size), 1.0f), Shape{size})),
        bias_(std::make_shared<const Tensor>(DType::Float32, Shape{size})),
        eps_(static_cast<float>(eps)) {}

  /// x [rows, size] -> [rows, size]. Throws InputError if x has a different width.
  Matrix operator()(MatrixView x) const {
    Matrix y(x.rows, x.cols);
    (*this)(x, y);
    return y;
  }
  /// Writes the result to y [rows, size], which may be x.
  void operator()(MatrixView x, MutableMatrixView y) const {
    detail::check_norm_input("LayerNorm", x, weight_.get());
    layer_norm(x, weight_->data<float>(), bias_->data<float>(), eps_, y);
  }

 private:
  std::shared_ptr<const Tensor> weight_, bias_;
  float eps_ = 0.0f;
};

/// Root mean square norm, which subtracts no mean and adds no bias (LlamaRMSNorm, T5LayerNorm), in
/// float32. Immutable; safe to call from several threads.
class RMSNorm {
 public:
  RMSNorm() = default;

  /// Reads `weight` [size] of this scope.
  RMSNorm(const Weights& weights, Index size, double eps)
      : weight_(std::make_shared<const Tensor>(float_copy(weights["weight"].get({size})))),
        eps_(static_cast<float>(eps)) {}

  /// x [rows, size] -> [rows, size]. Throws InputError if x has a different width.
  Matrix operator()(MatrixView x) const {
    Matrix y(x.rows, x.cols);
    (*this)(x, y);
    return y;
  }
  /// Writes the result to y [rows, size], which may be x.
  void operator()(MatrixView x, MutableMatrixView y) const {
    detail::check_norm_input("RMSNorm", x, weight_.get());
    rms_norm(x, weight_->data<float>(), eps_, y);
  }

 private:
  std::shared_ptr<const Tensor> weight_;
  float eps_ = 0.0f;
};

}  // namespace instructblip
