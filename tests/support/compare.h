// Comparisons of tensors. A failure shows where and by how much they differ.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <string>

#include "instructblip/core/tensor.h"
#include "instructblip/kernels/dispatch.h"

namespace instructblip::testing {

/// "[1, 0, 2]": the position of element `flat` of a row-major tensor.
inline std::string index_text(Index flat, const Shape& shape) {
  Shape index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0; flat /= shape[d]) index[d] = flat % shape[d];
  return to_string(index);
}

/// Whether the level in use multiplies bfloat16 weights with activations in bfloat16, of which a
/// float32 activation is the sum of two.
inline bool multiplies_bfloat16() {
  const std::string level = kernel_level();
  return level == "amx" || level == "avx512_bf16" || level == "neon_bf16";
}
/// The tolerance for models that are computed in bfloat16.
inline double bfloat16_tolerance() { return multiplies_bfloat16() ? 1e-4 : 1e-5; }

/// Fails unless the shapes are equal and every element of `found` differs from that of `expected`
/// by at most `relative` times the largest finite magnitude of `expected`. NaN equals NaN, an
/// infinity only itself.
inline void expect_close(const TensorView& found, const TensorView& expected,
                         double relative = 1e-5, const char* file = __builtin_FILE(),
                         int line = __builtin_LINE()) {
  if (found.shape != expected.shape) {
    ADD_FAILURE_AT(file, line) << "shape: found " << to_string(found.shape) << ", expected "
                               << to_string(expected.shape);
    return;
  }
  const Tensor left = Tensor::copy_of(found).to(DType::Float32);
  const Tensor right = Tensor::copy_of(expected).to(DType::Float32);
  double magnitude = 0;
  for (const float value : right.span<float>()) {
    if (std::isfinite(value)) magnitude = std::max(magnitude, std::fabs(double{value}));
  }
  const double tolerance = relative * magnitude;
  Index first = -1, worst = -1, wrong = 0;
  double worst_difference = -1;
  for (Index i = 0; i < right.size(); ++i) {
    const double a = left.data<float>()[i], b = right.data<float>()[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    double difference = std::fabs(a - b);
    if (!std::isfinite(difference)) difference = HUGE_VAL;
    if (difference <= tolerance) continue;
    ++wrong;
    if (first < 0) first = i;
    if (difference > worst_difference) {
      worst_difference = difference;
      worst = i;
    }
  }
  if (wrong == 0) return;
  const auto at = [&](Index i) {
    std::ostringstream text;
    text.precision(9);
    text << index_text(i, right.shape()) << " found " << left.data<float>()[i] << ", expected "
         << right.data<float>()[i];
    return text.str();
  };
  ADD_FAILURE_AT(file, line) << wrong << " of " << right.size() << " elements of shape "
                             << to_string(right.shape()) << " differ by more than " << tolerance
                             << " (" << relative << " of " << magnitude
                             << ")\n  first: " << at(first) << "\n  worst: " << at(worst)
                             << ", a difference of " << worst_difference << " ("
                             << worst_difference / magnitude << " of the largest magnitude)";
}

/// Fails unless type, shape and every element are equal.
inline void expect_equal(const TensorView& found, const TensorView& expected,
                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (found.shape != expected.shape || found.dtype != expected.dtype) {
    ADD_FAILURE_AT(file, line) << "found " << name_of(found.dtype) << " " << to_string(found.shape)
                               << ", expected " << name_of(expected.dtype) << " "
                               << to_string(expected.shape);
    return;
  }
  const Tensor left = Tensor::copy_of(found), right = Tensor::copy_of(expected);
  const auto width = static_cast<Index>(size_of(right.dtype()));
  const auto* a = static_cast<const unsigned char*>(left.raw());
  const auto* b = static_cast<const unsigned char*>(right.raw());
  Index first = -1, wrong = 0;
  for (Index i = 0; i < right.size(); ++i) {
    if (std::equal(a + i * width, a + (i + 1) * width, b + i * width)) continue;
    ++wrong;
    if (first < 0) first = i;
  }
  if (wrong == 0) return;
  const auto value = [&](const Tensor& tensor) {
    std::ostringstream text;
    text.precision(9);
    if (is_floating_point(tensor.dtype())) {
      text << tensor.to(DType::Float32).data<float>()[first];
    } else {
      text << tensor.to(DType::Int64).data<std::int64_t>()[first];
    }
    return text.str();
  };
  ADD_FAILURE_AT(file, line) << wrong << " of " << right.size() << " elements of shape "
                             << to_string(right.shape()) << " differ; first at "
                             << index_text(first, right.shape()) << ": found " << value(left)
                             << ", expected " << value(right);
}

}  // namespace instructblip::testing
