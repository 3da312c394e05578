// Functions of AVX-512 that several levels share.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace instructblip {
namespace {

// The first `count` of 16 lanes.
inline __mmask16 first_lanes(std::ptrdiff_t count) {
  return static_cast<__mmask16>((1u << count) - 1);
}

// Transposes 16 rows of 16 elements of 32 bits.
inline void transpose_rows(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// The sums of the elements of four vectors.
inline __m128 sum_elements(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  // In every 128 bits, a sum of each vector.
  const __m512 sums =
      _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps(sums, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// The sum of 16 vectors, `stride` elements apart, in the order in which sum_elements adds the
// elements of a vector.
inline __m512 sum_of_vectors(const float* p, std::ptrdiff_t stride) {
  const auto quarter = [&](int i) __attribute__((always_inline)) {
    const auto pair = [&](int j) __attribute__((always_inline)) {
      return _mm512_add_ps(_mm512_loadu_ps(p + j * stride), _mm512_loadu_ps(p + (j + 2) * stride));
    };
    return _mm512_add_ps(pair(i), pair(i + 1));
  };
  return _mm512_add_ps(_mm512_add_ps(quarter(0), quarter(8)),
                       _mm512_add_ps(quarter(4), quarter(12)));
}

}  // namespace
}  // namespace instructblip
