// The level "avx512": CPUs with the AVX-512 instructions of a server since 2017 (F, BW, DQ, VL).
#include <immintrin.h>

#include "kernels/avx512_transpose.h"
#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

struct Level : VectorKernels<Level, 16> {
  // 4 x 6 sums, 6 weights and a value fill 32 registers.
  static constexpr int kTileOutputs = 6;
  // 14 x 2 sums, 2 weights and a value.
  static constexpr int kPanelRows = 14;

  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes sum;
    _mm512_store_ps(sum.data(), _mm512_fmadd_ps(_mm512_load_ps(a.data()), _mm512_load_ps(b.data()),
                                                _mm512_load_ps(c.data())));
    return sum;
  }
  static float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static void transpose(const float* const* rows, float* to, Index stride) {
    __m512i block[16];
    for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(rows[i]);
    transpose_rows(block);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * stride, block[i]);
  }
  static Lanes load_bf16(const std::uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    Lanes values;
    _mm512_store_si512(values.data(), _mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    return values;
  }
  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr int kOutputs = kIntegerSums / rows;
    __m512i total[kIntegerSums];
    for (auto& sum : total) sum = _mm512_setzero_si512();
    const auto add = [](__m512i& sum, __m512i w, const std::int16_t* x) {
      sum = _mm512_add_epi32(sum, _mm512_madd_epi16(w, _mm512_loadu_si512(x)));
    };
    const std::int16_t* x[rows];
    for (int r = 0; r < rows; ++r) x[r] = p.x[r].values + begin;
    if constexpr (bits == 8) {
      for (Index i = 0; i < size; i += 32) {
        unrolled<kOutputs>([&](auto o) __attribute__((always_inline)) {
          const auto* from = reinterpret_cast<const __m256i*>(p.row(o, begin, size) + i);
          const __m512i w = _mm512_cvtepi8_epi16(_mm256_loadu_si256(from));
          unrolled<rows>([&](auto r) __attribute__((always_inline)) {
            add(total[r * kOutputs + o], w, x[r] + i);
          });
        });
      }
    } else {
      Index i = 0;
      for (; i + kIntegerUnit <= size; i += kIntegerUnit) {
        unrolled<kOutputs>([&](auto o) __attribute__((always_inline)) {
          const auto* from = reinterpret_cast<const __m256i*>(p.row(o, begin, size) + i / 2);
          const __m512i codes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(from));
          const __m512i even = _mm512_and_si512(codes, _mm512_set1_epi16(15));
          const __m512i odd = _mm512_srli_epi16(codes, 4);
          unrolled<rows>([&](auto r) __attribute__((always_inline)) {
            add(total[r * kOutputs + o], even, x[r] + i);
            add(total[r * kOutputs + o], odd, x[r] + i + kIntegerUnit / 2);
          });
        });
      }
      if (i < size) {  // 32 inputs: the even ones and the odd ones in one vector
        unrolled<kOutputs>([&](auto o) __attribute__((always_inline)) {
          const auto* from = reinterpret_cast<const __m128i*>(p.row(o, begin, size) + i / 2);
          const __m256i codes = _mm256_cvtepu8_epi16(_mm_loadu_si128(from));
          const __m512i both = _mm512_inserti64x4(
              _mm512_castsi256_si512(_mm256_and_si256(codes, _mm256_set1_epi16(15))),
              _mm256_srli_epi16(codes, 4), 1);
          unrolled<rows>([&](auto r) __attribute__((always_inline)) {
            add(total[r * kOutputs + o], both, x[r] + i);
          });
        });
      }
    }
    _mm512_store_si512(sums, sums_of(total));
  }
  static Lanes load_pairs(const std::uint16_t* p, int odd) {
    const __m512i pairs = _mm512_loadu_si512(p);
    Lanes values;
    _mm512_store_si512(values.data(), odd != 0 ? _mm512_and_si512(pairs, _mm512_set1_epi32(-65536))
                                               : _mm512_slli_epi32(pairs, 16));
    return values;
  }
};

}  // namespace

const KernelTable& avx512_kernels() {
  static constexpr KernelTable table = Level::table("avx512");
  return table;
}

}  // namespace instructblip
