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
