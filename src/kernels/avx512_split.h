// Activations as sums of bfloat16 numbers, for the levels whose CPUs round to bfloat16
// (AVX512-BF16).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/avx512_registers.h"
#include "kernels/tile_kernels.h"

namespace instructblip {
namespace {

// Elements [i, i + 16) of a row, 0 from `count` on.
inline __m512 load_part(const float* x, std::ptrdiff_t i, std::ptrdiff_t count) {
  const std::ptrdiff_t rest = count - i;
  if (rest >= 16) return _mm512_loadu_ps(x + i);
  return _mm512_maskz_loadu_ps(first_lanes(rest <= 0 ? 0 : rest), x + i);
}

inline __m512 widen(__m256bh values) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(values)), 16));
}

// x - high, and 0 where x is not finite: the sum of both is x or as little finite as x.
inline __m256bh low_part(__m512 x, __m256bh high) {
  constexpr int kNotFinite = 0x01 | 0x08 | 0x10 | 0x80;  // NaN and infinity
  const __m512 wide = widen(high);
  const __mmask16 finite = static_cast<__mmask16>(~_mm512_fpclass_ps_mask(wide, kNotFinite));
  return _mm512_cvtneps_pbh(_mm512_maskz_sub_ps(finite, x, wide));
}

// Splits x into high + low, both rounded to bfloat16; `low` may be nullptr. Every kTileDepth
// elements of both are `step` elements behind the last ones and filled up with zeros.
inline void split(const float* x, std::ptrdiff_t count, std::ptrdiff_t step, std::uint16_t* high,
                  std::uint16_t* low) {
  for (std::ptrdiff_t k = 0; k < count; k += kTileDepth) {
    for (std::ptrdiff_t i = 0; i < kTileDepth; i += 16) {
      const __m512 values = load_part(x, k + i, count);
      const __m256bh high_part = _mm512_cvtneps_pbh(values);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + i),
                          reinterpret_cast<__m256i>(high_part));
      if (low == nullptr) continue;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + i),
                          reinterpret_cast<__m256i>(low_part(values, high_part)));
    }
    high += step;
    if (low != nullptr) low += step;
  }
}

}  // namespace
}  // namespace instructblip
