// The level "avx2": CPUs with AVX2 and FMA.
#include <immintrin.h>

#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

struct Level : VectorKernels<Level, 8> {
  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes sum;
    _mm256_store_ps(sum.data(), _mm256_fmadd_ps(_mm256_load_ps(a.data()), _mm256_load_ps(b.data()),
                                                _mm256_load_ps(c.data())));
    return sum;
  }
  static float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static void transpose(const float* const* rows, float* to, Index stride) {
    __m256 r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(rows[i]);
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
      r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_ps(to + i * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
      _mm256_storeu_ps(to + (i + 4) * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
  }
  // The sums of 4 vectors.
  static __m128i sums_of(const __m256i (&v)[4]) {
    const __m256i fours =
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
  }
  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr int kOutputs = kIntegerSums / rows;
    const auto add = [](__m256i& sum, __m256i w, const std::int16_t* x) {
      const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(w, values));
    };
    const auto load16 = [](const std::uint8_t* from) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    };
    // Four sums at a time: of four outputs, or of two outputs and two rows.
    constexpr int kRows = rows == 1 ? 1 : 2, kColumns = 4 / kRows;
    for (int r = 0; r < rows; r += kRows) {
      for (int o = 0; o < kOutputs; o += kColumns) {
        __m256i total[4];
        for (auto& sum : total) sum = _mm256_setzero_si256();
        for (Index i = 0; i < size; i += bits == 8 ? 16 : 32) {
          // Units of 64 codes have 32 even inputs first; the last 32 codes have 16.
          const Index unit = i & -kIntegerUnit;
          const Index half = size - unit < kIntegerUnit ? 16 : 32;
          const Index even = unit + (i - unit) / 2;
          unrolled<kColumns>([&](auto c) __attribute__((always_inline)) {
            const std::uint8_t* const w = p.row(o + c, begin, size);
            if constexpr (bits == 8) {
              const __m256i values = _mm256_cvtepi8_epi16(load16(w + i));
              unrolled<kRows>([&](auto d) __attribute__((always_inline)) {
                add(total[c * kRows + d], values, p.x[r + d].values + begin + i);
              });
            } else {
              const __m256i codes = _mm256_cvtepu8_epi16(load16(w + i / 2));
              unrolled<kRows>([&](auto d) __attribute__((always_inline)) {
                const std::int16_t* const x = p.x[r + d].values + begin + even;
                add(total[c * kRows + d], _mm256_and_si256(codes, _mm256_set1_epi16(15)), x);
                add(total[c * kRows + d], _mm256_srli_epi16(codes, 4), x + half);
              });
            }
          });
        }
        alignas(16) std::int32_t four[4];
        _mm_store_si128(reinterpret_cast<__m128i*>(four), sums_of(total));
        for (int i = 0; i < 4; ++i) sums[(r + i % kRows) * kOutputs + o + i / kRows] = four[i];
      }
    }
  }
  static Lanes load_pairs(const std::uint16_t* p, int odd) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    Lanes values;
    _mm256_store_si256(reinterpret_cast<__m256i*>(values.data()),
                       odd != 0 ? _mm256_and_si256(pairs, _mm256_set1_epi32(-65536))
                                : _mm256_slli_epi32(pairs, 16));
    return values;
  }
};

}  // namespace

const KernelTable& avx2_kernels() {
  static constexpr KernelTable table = Level::table("avx2");
  return table;
}

}  // namespace instructblip
