// Weights of 8 and 4 bits: whole numbers, or codes of 16 values, with a scale for each output or
// for each group of inputs.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "instructblip/core/export.h"
#include "instructblip/core/quantization.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// The values that codes of 4 bits stand for.
struct Codebook {
  std::string_view name;  // as in Quantization
  std::array<float, 16> values = {};

  bool operator==(const Codebook&) const = default;
};

/// A matrix [out_features, in_features] of 8 or 4 bits. The value of an element is
/// scale * (code - zero point), or scale * codebook[code], rounded to float32.
struct QuantizedMatrix {
  Index out_features = 0, in_features = 0;
  int bits = 8;
  Index group_size = 0;      // as in Quantization; with a codebook, any number
  int activation_bits = 16;  // as in Quantization
  /// 8 bits: Int8 [out_features, in_features], the zero point is 0. 4 bits: UInt8 [out_features,
  /// in_features / 2 (rounded up)], the low half of a byte first.
  SharedTensor codes;
  /// Float32 [out_features, groups].
  SharedTensor scales;
  /// UInt8 [out_features, groups]; without data, the zero points of 4 bits are 8.
  SharedTensor zero_points;
  /// 4 bits without zero points.
  std::optional<Codebook> codebook = {};

  Index groups() const { return group_size == 0 ? 1 : (in_features + group_size - 1) / group_size; }
};

/// Whether `quantize` takes a matrix with this number of inputs: any for 8 bits, multiples of 32
/// for 4 bits.
INSTRUCTBLIP_EXPORT bool can_quantize(Index in_features, const Quantization& quantization);

/// Rounds a floating-point matrix [out, in]. Each scale is the one with the least sum of squared
/// errors among those near the range of its elements; scales of 4 bits have 5
/// significant bits (4 with zero points), so that every value is a bfloat16 number, and those of 8
/// bits are bfloat16 numbers. The result is
/// the same on every CPU and with any number of threads. Throws InputError for other settings than
/// those that Quantization names, for a matrix that `can_quantize` refuses, and for elements that
/// are not finite.
INSTRUCTBLIP_EXPORT QuantizedMatrix quantize(const SharedTensor& source,
                                             const Quantization& quantization);

/// The values, Float32 [out_features, in_features].
INSTRUCTBLIP_EXPORT Tensor dequantize(const QuantizedMatrix& matrix);

}  // namespace instructblip
