// The level "avx512_bf16": CPUs that multiply bfloat16 in vectors (AVX512-BF16: AMD since Zen 4,
// Intel's Cooper Lake). The instruction rounds as bfloat16 does, so only products with bfloat16
// activations use it; everything else is the level avx512's (dispatch.cpp).
#include <immintrin.h>

#include <algorithm>

#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

// An element is a pair of bfloat16 numbers, and a product the sum of both products.
struct Level : VectorKernels<Level, 16> {
  // As on the level avx512.
  static constexpr int kTileOutputs = 6;
  static constexpr int kPanelRows = 14;

  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    const auto pairs = [](const Lanes& lanes) __attribute__((always_inline)) {
      return reinterpret_cast<__m512bh>(_mm512_load_ps(lanes.data()));
    };
    Lanes sum;
    _mm512_store_ps(sum.data(), _mm512_dpbf16_ps(_mm512_load_ps(c.data()), pairs(a), pairs(b)));
    return sum;
  }
};

void round(const float* x, std::ptrdiff_t count, std::ptrdiff_t pairs, float* to) {
  for (std::ptrdiff_t i = 0; i < pairs; i += 8, x += 16, count -= 16, to += 8) {
    const auto mask = [](std::ptrdiff_t n) {
      return (1u << std::clamp<std::ptrdiff_t>(n, 0, 16)) - 1;
    };
    const __m512 values = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask(count)), x);
    const __m256 rounded = reinterpret_cast<__m256>(_mm512_cvtneps_pbh(values));
    _mm256_mask_storeu_ps(to, static_cast<__mmask8>(mask(std::min<std::ptrdiff_t>(pairs - i, 8))),
                          rounded);
  }
}

}  // namespace

const PairKernels& avx512_bf16_pairs() {
  static constexpr PairKernels pairs{
      .dots = Level::dots<float>, .panels = Level::panels<float>, .round = round};
  return pairs;
}

}  // namespace instructblip
