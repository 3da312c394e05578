#include "instructblip/kernels/quantized_matrix.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/huge_pages.h"
#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "kernels/kernel_table.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

constexpr Index kQuantizedPerThread = 1 << 15;
// The codes as whole numbers, and the scales that are tried.
struct Scheme {
  float least, greatest;
  // Of scales. Products with codes of 4 bits, which have up to 3 or 4, are exact in bfloat16.
  int significant_bits;
  // The smallest scale, relative to the one with which the codes reach all elements.
  float smallest;
};

Scheme scheme_of(const Quantization& q) {
  if (q.bits == 8) return {-127.0f, 127.0f, 8, 0.94f};
  return q.symmetric ? Scheme{-8.0f, 7.0f, 5, 0.55f} : Scheme{0.0f, 15.0f, 4, 0.55f};
}

void check(const SharedTensor& source, const Quantization& q) {
  const auto fail = [](const std::string& what) { throw InputError("quantize: " + what); };
  if (q.bits != 8 && q.bits != 4) {
    fail("weights have 8 or 4 bits, not " + std::to_string(q.bits));
  }
  if (q.bits == 8 && (q.group_size != 0 || !q.symmetric)) {
    fail("weights of 8 bits have one scale per output and no zero points");
  }
  if (q.activation_bits != 16 && (q.activation_bits != 8 || q.bits != 8)) {
    fail("activations have 16 bits, or 8 if the weights have 8, not " +
         std::to_string(q.activation_bits));
  }
  if (!q.codebook.empty()) {
    fail("weights are rounded to whole numbers, not to the values of \"" + std::string(q.codebook) +
         "\"");
  }
  const bool power_of_two = std::has_single_bit(static_cast<std::size_t>(q.group_size));
  if (q.group_size != 0 && (q.group_size < 32 || q.group_size > 1024 || !power_of_two)) {
    fail("the group size is 32, 64, 128, 256, 512, 1024, or 0 for all inputs, not " +
         std::to_string(q.group_size));
  }
  if (source.rank() != 2 || !is_floating_point(source.dtype) || !source.is_contiguous() ||
      (source.data == nullptr && source.size() > 0)) {
    fail("expected a contiguous floating-point matrix [out_features, in_features], found shape " +
         to_string(source.shape) + " and type " + std::string(name_of(source.dtype)));
  }
  if (!can_quantize(source.dim(1), q)) {
    fail("weights of 4 bits have a multiple of 32 inputs, not " + std::to_string(source.dim(1)));
  }
}

// `value` with `bits` significant bits, rounded down.
float truncated(float value, int bits) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) >> (24 - bits) << (24 - bits));
}
// The next larger number with `bits` significant bits.
float next(float value, int bits) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) + (1u << (24 - bits)));
}

Rounding rounding_with(float scale, float zero, const Scheme& scheme) {
  return {scale, 1.0f / scale, zero, scheme.least, scheme.greatest};
}

// How to round `count` elements with the least sum of squared errors.
Rounding best_rounding(const float* x, Index count, const Quantization& q) {
  const auto [least, greatest] = std::minmax_element(x, x + count);
  const Scheme scheme = scheme_of(q);
  const float low = std::min(0.0f, *least), high = std::max(0.0f, *greatest);
  const float widest = q.symmetric ? std::max(high, -low) / scheme.greatest
                                   : (high - low) / (scheme.greatest - scheme.least);
  Rounding best = rounding_with(1.0f, 0.0f, scheme);
  if (!(widest >= std::numeric_limits<float>::min())) return best;  // zeros
  const int bits = scheme.significant_bits;
  const float largest = next(truncated(widest, bits), bits);
  float least_error = std::numeric_limits<float>::infinity();
  for (float scale = truncated(widest * scheme.smallest, bits); scale <= largest;
       scale = next(scale, bits)) {
    const float zero =
        q.symmetric ? 0.0f : std::clamp(std::nearbyint(-low / scale), 0.0f, scheme.greatest);
    const Rounding rounding = rounding_with(scale, zero, scheme);
    const float error = kernels().rounding_error(x, count, rounding);
    if (error < least_error) {
      least_error = error;
      best = rounding;
    }
  }
  return best;
}

std::shared_ptr<Tensor> make(DType dtype, Shape shape) {
  return std::make_shared<Tensor>(tensor_in_huge_pages(dtype, std::move(shape)));
}

}  // namespace

bool can_quantize(Index in_features, const Quantization& quantization) {
  return quantization.bits == 8 || in_features % 32 == 0;
}

QuantizedMatrix quantize(const SharedTensor& source, const Quantization& q) {
  check(source, q);
  QuantizedMatrix m;
  m.out_features = source.dim(0);
  m.in_features = source.dim(1);
  m.bits = q.bits;
  m.group_size = q.group_size;
  m.activation_bits = q.activation_bits;
  const bool has_zeros = !q.symmetric;
  const Index groups = m.groups(), group = q.group_size == 0 ? m.in_features : q.group_size;
  const auto codes = q.bits == 8 ? make(DType::Int8, {m.out_features, m.in_features})
                                 : make(DType::UInt8, {m.out_features, m.in_features / 2});
  const auto scales = make(DType::Float32, {m.out_features, groups});
  const auto zero_points = has_zeros ? make(DType::UInt8, {m.out_features, groups}) : nullptr;
  std::atomic<Index> not_finite = -1;
  const auto quantize_row = [&](Index o, float* x, std::int8_t* rounded) {
    widen_elements(source, o * m.in_features, m.in_features, x);
    if (!std::all_of(x, x + m.in_features, [](float v) { return std::isfinite(v); })) {
      not_finite = o;
      return;
    }
    for (Index g = 0, i = 0; g < groups; ++g, i += group) {
      const Index count = std::min(group, m.in_features - i);
      const Rounding rounding = best_rounding(x + i, count, q);
      kernels().round(x + i, count, rounding, rounded + i);
      scales->data<float>()[o * groups + g] = rounding.scale;
      if (has_zeros) {
        zero_points->data<std::uint8_t>()[o * groups + g] =
            static_cast<std::uint8_t>(rounding.zero);
      }
    }
    if (q.bits == 8) {
      std::copy_n(rounded, m.in_features, codes->data<std::int8_t>() + o * m.in_features);
      return;
    }
    const int offset = has_zeros ? 0 : 8;
    std::uint8_t* const to = codes->data<std::uint8_t>() + o * m.in_features / 2;
    for (Index i = 0; i < m.in_features; i += 2) {
      to[i / 2] = static_cast<std::uint8_t>((rounded[i] + offset) | (rounded[i + 1] + offset) << 4);
    }
  };
  parallel_for(m.out_features, kQuantizedPerThread / std::max<Index>(1, m.in_features) + 1,
               [&](Index begin, Index end) {
                 std::vector<float> x(to_size(m.in_features));
                 std::vector<std::int8_t> rounded(x.size());
                 for (Index o = begin; o < end; ++o) quantize_row(o, x.data(), rounded.data());
               });
  if (not_finite >= 0) {
    throw InputError("quantize: row " + std::to_string(not_finite) +
                     " has elements that are not finite");
  }
  m.codes = SharedTensor(codes->view(), codes);
  m.scales = SharedTensor(scales->view(), scales);
  if (has_zeros) m.zero_points = SharedTensor(zero_points->view(), zero_points);
  return m;
}

Tensor dequantize(const QuantizedMatrix& m) {
  Tensor values(DType::Float32, {m.out_features, m.in_features});
  const Index group = m.group_size == 0 ? m.in_features : m.group_size;
  const auto* const scales = static_cast<const float*>(m.scales.data);
  const auto* const zero_points = static_cast<const std::uint8_t*>(m.zero_points.data);
  const auto value = [&](Index o, Index i, Index g) -> float {
    if (m.bits == 8) {
      return static_cast<const std::int8_t*>(m.codes.data)[o * m.in_features + i];
    }
    const Index byte = o * ((m.in_features + 1) / 2) + i / 2;
    const int code = static_cast<const std::uint8_t*>(m.codes.data)[byte] >> (i % 2 * 4) & 15;
    if (m.codebook) return m.codebook->values[to_size(code)];
    return static_cast<float>(code - (zero_points != nullptr ? zero_points[g] : 8));
  };
  parallel_for(m.out_features, kQuantizedPerThread / std::max<Index>(1, m.in_features) + 1,
               [&](Index begin, Index end) {
                 for (Index o = begin; o < end; ++o) {
                   for (Index i = 0; i < m.in_features; ++i) {
                     const Index g = o * m.groups() + i / group;
                     values.data<float>()[o * m.in_features + i] = scales[g] * value(o, i, g);
                   }
                 }
               });
  return values;
}

}  // namespace instructblip
