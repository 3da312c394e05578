// Optional and not part of the umbrella header: the library's tensors as Eigen matrices, for
// programs that use Eigen. The maps are unaligned on purpose: Eigen's alignment depends on the
// compiler flags of the program.
#pragma once

#include <Eigen/Core>

#include "instructblip/core/error.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

using EigenMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using EigenMap = Eigen::Map<const EigenMatrix, Eigen::Unaligned>;
using EigenStridedMap = Eigen::Map<const EigenMatrix, Eigen::Unaligned, Eigen::OuterStride<>>;

/// A contiguous float32 tensor [..., cols] as a matrix [product of the leading dimensions, cols].
/// The map reads the tensor's memory and must not outlive it. Throws InputError on another type or
/// other strides.
inline EigenMap as_eigen(const TensorView& tensor) {
  if (tensor.dtype != DType::Float32 || tensor.rank() == 0 || !tensor.is_contiguous()) {
    throw InputError(
        "as_eigen: expected a contiguous float32 tensor of at least one dimension, found " +
        std::string(name_of(tensor.dtype)) + " " + to_string(tensor.shape));
  }
  const Index cols = tensor.dim(-1);
  return {static_cast<const float*>(tensor.data), cols == 0 ? 0 : tensor.size() / cols, cols};
}

/// Activations [rows, cols] as a matrix, under the same conditions.
inline EigenStridedMap as_eigen(const MatrixView& rows) {
  if (rows.dtype != DType::Float32) {
    throw InputError("as_eigen: expected float32 activations, found " +
                     std::string(name_of(rows.dtype)));
  }
  return {static_cast<const float*>(rows.data), rows.rows, rows.cols,
          Eigen::OuterStride<>(rows.stride)};
}

}  // namespace instructblip
