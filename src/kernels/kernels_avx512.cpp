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
