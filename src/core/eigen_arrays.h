// Spans and tensors as Eigen expressions, for the arithmetic outside the kernels. Only sources
// include this header. An expression over maps that combines coefficients has the same bits at any
// address. A sum does not, because its vectors follow the address: sum over an owned array.
#pragma once

// A namespace of its own, so that no function of Eigen is shared with a program that compiles Eigen
// for other CPU instructions.
#ifndef Eigen
#define Eigen instructblip_eigen
#endif
#include <Eigen/Core>
#include <cmath>
#include <span>
#include <type_traits>

#include "instructblip/core/dtype.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// The array type of a Map over elements of type T, which may be const.
template <class T, class Array>
using MappedArray = std::conditional_t<std::is_const_v<T>, const Array, Array>;

using EigenRows = Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A span or vector of float.
template <class Range>
auto as_array(Range&& values) {
  const std::span span(values);
  using Element = typename decltype(span)::element_type;
  return Eigen::Map<MappedArray<Element, Eigen::ArrayXf>>(span.data(),
                                                          static_cast<Index>(span.size()));
}

/// Contiguous values as [rows, cols].
template <class T>
auto as_rows(T* values, Index rows, Index cols) {
  return Eigen::Map<MappedArray<T, EigenRows>>(values, rows, cols);
}

/// Float32 activations.
inline auto as_rows(MatrixView view) {
  return Eigen::Map<const EigenRows, 0, Eigen::OuterStride<>>(static_cast<const float*>(view.data),
                                                              view.rows, view.cols,
                                                              Eigen::OuterStride<>(view.stride));
}

inline auto as_rows(MutableMatrixView view) {
  return Eigen::Map<EigenRows, 0, Eigen::OuterStride<>>(
      static_cast<float*>(view.data), view.rows, view.cols, Eigen::OuterStride<>(view.stride));
}

/// e^x as std::exp gives it: Eigen's own is 6e-39 at -inf instead of 0.
inline Eigen::ArrayXf exp_of(const Eigen::ArrayXf& x) {
  return x.unaryExpr([](float value) { return std::exp(value); });
}

}  // namespace instructblip
