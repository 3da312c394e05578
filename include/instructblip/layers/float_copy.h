// Vectors of weights (biases, norms) in the type that the kernels read them in.
#pragma once

#include "instructblip/core/tensor.h"

namespace instructblip {

/// A float32 copy. A tensor without data (missing, reported when loading ends) gives zeros of its
/// shape.
inline Tensor float_copy(const SharedTensor& tensor) {
  if (tensor.data == nullptr) return Tensor(DType::Float32, tensor.shape);
  return Tensor::copy_of(tensor).to(DType::Float32);
}

}  // namespace instructblip
