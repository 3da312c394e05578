// The level "avx512_vnni": CPUs that add four products of bytes in one instruction. Everything else
// is the level avx512's (dispatch.cpp).
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

// Each block of x has its bytes: those of 256 * high + low = x, first all the high ones, which
// numbers of 8 bits do not have.
struct Level : VectorKernels<Level, 16> {
  // 12 x 2 sums, and 1 or 2 vectors of weights.
  static constexpr int kIntegerRows = 12;

  // As whole numbers, magnitudes have the order of the elements, and behind infinity stands NaN.
  static float largest_magnitude(const float* x, Index count) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i largest = _mm512_setzero_si512();
    for (Index i = 0; i < count; i += 16) {
      const auto mask = static_cast<__mmask16>((1u << std::min<Index>(count - i, 16)) - 1);
      const __m512i values = _mm512_maskz_loadu_epi32(mask, x + i);
      largest = _mm512_max_epi32(largest, _mm512_and_si512(values, magnitude));
    }
    const float result = std::bit_cast<float>(_mm512_reduce_max_epi32(largest));
    return std::isfinite(result) ? result : std::numeric_limits<float>::quiet_NaN();
  }

  static std::int32_t round_block(const float* x, Index count, Index width, int bits,
                                  const Rounding& rounding, std::int16_t* to) {
    auto* const first = reinterpret_cast<std::int8_t*>(to);
    const auto store = [](std::int8_t* bytes, __m512i values) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtepi32_epi8(values));
    };
    const __m512 inverse = _mm512_set1_ps(rounding.inverse);
    const __m512i least = _mm512_set1_epi32(static_cast<int>(rounding.least));
    const __m512i greatest = _mm512_set1_epi32(static_cast<int>(rounding.greatest));
    __m512i sum = _mm512_setzero_si512();
    for (Index i = 0; i < width; i += 16) {
      const Index rest = std::clamp<Index>(count - i, 0, 16);
      const auto mask = static_cast<__mmask16>((1u << rest) - 1);
      const __m512 scaled = _mm512_maskz_mul_ps(mask, _mm512_maskz_loadu_ps(mask, x + i), inverse);
      const __m512i value =
          _mm512_min_epi32(_mm512_max_epi32(_mm512_cvtps_epi32(scaled), least), greatest);
      sum = _mm512_add_epi32(sum, value);
      if (bits == 8) {
        store(first + i, value);
      } else {
        store(first + i, _mm512_srai_epi32(_mm512_add_epi32(value, _mm512_set1_epi32(128)), 8));
        store(first + width + i, value);
      }
    }
    return _mm512_reduce_add_epi32(sum);
  }

  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    p.x_bits == 16 ? sums_of<rows, bits, 2>(p, begin, size, sums)
                   : sums_of<rows, bits, 1>(p, begin, size, sums);
  }

  // sum += the products of four inputs, at x. The intrinsic function takes x in a register, and GCC
  // 12 then has none left for all sums.
  [[gnu::always_inline]] static void add(__m512i& sum, __m512i codes, const std::int8_t* x) {
    __m512i result = sum;  // in a register, which an element of an array would not be
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(result)
        : "v"(codes), "m"(*reinterpret_cast<const std::int32_t*>(x)));
    sum = result;
  }

  // Several sums of the same outputs, so that an addition need not wait for the last one.
  template <int rows, int bits, int bytes>
  static void sums_of(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr int kInputs = 32 / bits, kChains = rows == 1 ? 4 : rows == 2 ? 2 : 1;
    __m512i total[kChains][rows][bytes];
    for (auto& chain : total) {
      for (auto& row : chain) {
        for (__m512i& sum : row) sum = _mm512_setzero_si512();
      }
    }
    const std::uint8_t* w = p.codes(begin);
    const std::uint8_t* next = p.next + (w - p.w) / (4 * kIntegerOutputs) * p.next_step;
    for (Index k = 0; k < size; k += kChains * kInputs) {
      unrolled<kChains>([&](auto c) __attribute__((always_inline)) {
        const __m512i codes = _mm512_loadu_si512(w + c * 4 * kIntegerOutputs);
        // A single row has not enough work per byte of 4 bits to wait for the second-level cache.
        _mm_prefetch(next, rows == 1 && bits == 4 ? _MM_HINT_T0 : _MM_HINT_T1);
        next += p.next_step;
        const auto add_all = [&](__m512i four, Index i) __attribute__((always_inline)) {
          unrolled<rows * bytes>([&](auto j) __attribute__((always_inline)) {
            constexpr int r = j / bytes, b = j % bytes;
            add(total[c][r][b], four, bytes_of(p.x[r], begin) + b * size + i);
          });
        };
        const Index i = k + c * kInputs;
        if constexpr (bits == 8) {
          add_all(codes, i);
        } else {
          const __m512i mask = _mm512_set1_epi8(15);
          add_all(_mm512_and_si512(codes, mask), i);
          add_all(_mm512_and_si512(_mm512_srli_epi16(codes, 4), mask), i + 4);
        }
      });
      w += kChains * 4 * kIntegerOutputs;
    }
    for (int r = 0; r < rows; ++r) {
      __m512i sum = _mm512_setzero_si512();
      for (const auto& chain : total) {
        const __m512i low = chain[r][bytes - 1];
        sum = _mm512_add_epi32(sum, low);
        if (bytes == 2) sum = _mm512_add_epi32(sum, _mm512_slli_epi32(chain[r][0], 8));
      }
      _mm512_store_si512(sums + r * kIntegerOutputs, sum);
    }
  }

  static const std::int8_t* bytes_of(const IntegerRow& row, Index begin) {
    return reinterpret_cast<const std::int8_t*>(row.values + begin);
  }
};

}  // namespace

const IntegerKernels& avx512_vnni_integers() {
  static constexpr IntegerKernels kernels = Level::integers();
  return kernels;
}

}  // namespace instructblip
