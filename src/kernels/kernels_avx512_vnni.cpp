// The level "avx512_vnni": CPUs that add four products of bytes in one instruction. Everything else
// is the level avx512's (dispatch.cpp).
#include <immintrin.h>

#include "kernels/avx512_transpose.h"
#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

// A row of whole blocks has bytes: for each block 128 times 256 * high + low = x, the high ones
// first, and of either first the even inputs for weights of 4 bits or the first half for 8 bits.
struct Level : VectorKernels<Level, 16> {
  using Base = VectorKernels<Level, 16>;
  static constexpr Index kHalf = kIntegerBlock / 2;

  static void arrange(const std::int16_t* whole, Index count, bool whole_blocks, int bits,
                      std::int16_t* to) {
    if (!whole_blocks) return Base::arrange(whole, count, whole_blocks, bits, to);
    auto* const high = reinterpret_cast<std::int8_t*>(to);
    std::int8_t* const low = high + kIntegerBlock;
    const Index step = bits == 4 ? 2 : 1, second = bits == 4 ? 1 : kHalf;
    for (Index half = 0; half < 2; ++half) {
      for (Index i = 0; i < kHalf; ++i) {
        const std::int16_t x = whole[half * second + i * step];
        high[half * kHalf + i] = static_cast<std::int8_t>((x + 128) >> 8);
        low[half * kHalf + i] = static_cast<std::int8_t>(x);
      }
    }
  }

  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr int kOutputs = kIntegerSums / rows;
    if (p.block != kIntegerBlock || p.depth % kIntegerBlock != 0) {
      return Base::integer_sums<rows, bits>(p, begin, size, sums);
    }
    const auto load = [](const void* from) { return _mm512_loadu_si512(from); };
    __m512i total[kIntegerSums];
    unrolled<kOutputs>([&](auto o) __attribute__((always_inline)) {
      const std::uint8_t* const from = p.row(o, begin, size);
      __m512i first, second;  // unsigned
      if constexpr (bits == 8) {
        const __m512i sign = _mm512_set1_epi8(-128);
        first = _mm512_xor_si512(load(from), sign);
        second = _mm512_xor_si512(load(from + kHalf), sign);
      } else {
        const __m512i mask = _mm512_set1_epi8(15);
        first = _mm512_and_si512(load(from), mask);
        second = _mm512_and_si512(_mm512_srli_epi16(load(from), 4), mask);
      }
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        const auto* const x = reinterpret_cast<const std::int8_t*>(p.x[r].values + begin);
        __m512i high = _mm512_setzero_si512(), low = high;
        high = _mm512_dpbusd_epi32(high, first, load(x));
        low = _mm512_dpbusd_epi32(low, first, load(x + 2 * kHalf));
        high = _mm512_dpbusd_epi32(high, second, load(x + kHalf));
        low = _mm512_dpbusd_epi32(low, second, load(x + 3 * kHalf));
        total[r * kOutputs + o] = _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
      });
    });
    __m512i result = sums_of(total);
    if constexpr (bits == 8) {
      alignas(64) std::int32_t offsets[kIntegerSums];
      for (int i = 0; i < kIntegerSums; ++i) {
        offsets[i] = 128 * p.x[i / kOutputs].sums[begin / kIntegerBlock];
      }
      result = _mm512_sub_epi32(result, _mm512_load_si512(offsets));
    }
    _mm512_store_si512(sums, result);
  }
};

}  // namespace

const IntegerKernels& avx512_vnni_integers() {
  static constexpr IntegerKernels kernels = Level::integers();
  return kernels;
}

}  // namespace instructblip
