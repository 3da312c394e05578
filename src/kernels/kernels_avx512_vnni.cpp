// The level "avx512_vnni": CPUs that add four products of bytes in one instruction. Everything else
// is the level avx512's (dispatch.cpp).
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/avx512_registers.h"
#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

// Each block of x has its bytes: those of 256 * high + low = x, first all the high ones, which
// numbers of 8 bits do not have.
struct Level : VectorKernels<Level, 16> {
  // 12 x 2 sums, 2 to 4 vectors of weights and a value; with numbers of 16 bits, 6 x 2 x 2 sums.
  static constexpr int kIntegerRows = 12;
  static constexpr int kIntegerTiles = 2;

  // As whole numbers, magnitudes have the order of the elements, and behind infinity stands NaN.
  static float largest_magnitude(const float* x, Index count) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i largest = _mm512_setzero_si512();
    for (Index i = 0; i < count; i += 16) {
      const __mmask16 mask = first_lanes(std::min<Index>(count - i, 16));
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
      const __mmask16 mask = first_lanes(std::clamp<Index>(count - i, 0, 16));
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

  template <int rows, int bits, int tiles = 1>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    if (p.x_bits == 8) return sums_of<rows, bits, tiles, 1>(p, p.x, begin, size, sums);
    constexpr int kRows = tiles > 1 && rows > kIntegerRows / 2 ? rows / 2 : rows;
    for (int r = 0; r < rows; r += kRows) {
      sums_of<kRows, bits, tiles, 2>(p, p.x + r, begin, size, sums + r * tiles * kIntegerOutputs);
    }
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
  // The same for two tiles of outputs, with a single reading of x.
  [[gnu::always_inline]] static void add(__m512i& first, __m512i& second, __m512i first_codes,
                                         __m512i second_codes, const std::int8_t* x) {
    __m512i a = first, b = second, four;
    asm("vpbroadcastd %5, %2\n\tvpdpbusd %2, %3, %0\n\tvpdpbusd %2, %4, %1"
        : "+v"(a), "+v"(b), "=&v"(four)
        : "v"(first_codes), "v"(second_codes), "m"(*reinterpret_cast<const std::int32_t*>(x)));
    first = a, second = b;
  }

  // Several sums of the same outputs, so that an addition need not wait for the last one.
  template <int rows, int bits, int tiles, int bytes>
  static void sums_of(const IntegerProduct& p, const IntegerRow* x, Index begin, Index size,
                      std::int32_t* sums) {
    constexpr int kInputs = 32 / bits, kSums = rows * tiles;
    constexpr int kChains = kSums == 1 ? 4 : kSums == 2 ? 2 : 1;
    static_assert(tiles <= 2);
    __m512i total[kChains][tiles][rows][bytes];
    for (auto& chain : total) {
      for (auto& tile : chain) {
        for (auto& row : tile) {
          for (__m512i& sum : row) sum = _mm512_setzero_si512();
        }
      }
    }
    const std::uint8_t* w = p.codes(begin);
    const std::uint8_t* next = p.next + (w - p.w) / (4 * kIntegerOutputs) * p.next_step;
    for (Index k = 0; k < size; k += kChains * kInputs) {
      unrolled<kChains>([&](auto c) __attribute__((always_inline)) {
        const std::uint8_t* const from = w + c * 4 * kIntegerOutputs;
        _mm_prefetch(next, _MM_HINT_T1);
        if constexpr (rows == 1 && bits == 4) _mm_prefetch(from + kNearBytes, _MM_HINT_T0);
        const __m512i first = _mm512_loadu_si512(from);
        __m512i second = first;
        if constexpr (tiles > 1) {
          _mm_prefetch(next + p.next_tile, _MM_HINT_T1);
          second = _mm512_loadu_si512(from + p.next_tile);
        }
        next += p.next_step;
        const auto add_all = [&](__m512i codes, __m512i second_codes, Index i)
            __attribute__((always_inline)) {
          unrolled<rows * bytes>([&](auto j) __attribute__((always_inline)) {
            constexpr int r = j / bytes, b = j % bytes;
            const std::int8_t* const four = x[r].bytes(begin) + b * size + i;
            if constexpr (tiles == 1) {
              add(total[c][0][r][b], codes, four);
            } else {
              add(total[c][0][r][b], total[c][1][r][b], codes, second_codes, four);
            }
          });
        };
        const Index i = k + c * kInputs;
        if constexpr (bits == 8) {
          add_all(first, second, i);
        } else {
          const __m512i mask = _mm512_set1_epi8(15);
          add_all(_mm512_and_si512(first, mask), _mm512_and_si512(second, mask), i);
          add_all(_mm512_and_si512(_mm512_srli_epi16(first, 4), mask),
                  _mm512_and_si512(_mm512_srli_epi16(second, 4), mask), i + 4);
        }
      });
      w += kChains * 4 * kIntegerOutputs;
    }
    // Unrolled: GCC 12 otherwise stores all sums after every step.
    unrolled<kSums>([&](auto i) __attribute__((always_inline)) {
      constexpr int r = i / tiles, t = i % tiles;
      __m512i sum = _mm512_setzero_si512();
      unrolled<kChains>([&](auto c) __attribute__((always_inline)) {
        const auto& chain = total[c][t][r];
        sum = _mm512_add_epi32(sum, chain[bytes - 1]);
        if (bytes == 2) sum = _mm512_add_epi32(sum, _mm512_slli_epi32(chain[0], 8));
      });
      _mm512_store_si512(sums + i * kIntegerOutputs, sum);
    });
  }
};

}  // namespace

const IntegerKernels& avx512_vnni_integers() {
  static constexpr IntegerKernels kernels = Level::integers();
  return kernels;
}

}  // namespace instructblip
