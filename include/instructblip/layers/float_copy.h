// Weight vectors (biases, norms) in float32, as the kernels read them.
#pragma once

#include "instructblip/core/tensor.h"

namespace instructblip {

/// A float32 copy. For a tensor without data (a missing one, which Weights::finish reports): zeros
/// of the same shape.
inline Tensor float_copy(const SharedTensor& tensor) {
  if (tensor.data == nullptr) return Tensor(DType::Float32, tensor.shape);
  return Tensor::copy_of(tensor).to(DType::Float32);
}

}  // namespace instructblip
