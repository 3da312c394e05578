// What the products of elements and of pairs have in common on the levels with AVX-512.
#pragma once

#include "kernels/avx512_registers.h"
#include "kernels/fma_kernels.h"

namespace instructblip {
namespace {

template <class Level, int terms>
struct Avx512Kernels : FmaKernels<Level, 16, terms> {
  using typename FmaKernels<Level, 16, terms>::Lanes;
  // 6 x 4 sums, 4 weights and a value, or 8 x 3 sums.
  static constexpr int kDotRows = 6;
  static constexpr int kDotOutputs = 4;
  static constexpr int kSingleTileRows = 8;
  // 14 x 2 sums, 2 weights and a value.
  static constexpr int kPanelRows = 14;

  static void sum_lanes(const Lanes& a, const Lanes& b, const Lanes& c, const Lanes& d,
                        float* sums) {
    _mm_store_ps(sums, sum_elements(_mm512_load_ps(a.data()), _mm512_load_ps(b.data()),
                                    _mm512_load_ps(c.data()), _mm512_load_ps(d.data())));
  }
  static Lanes sum_of_lanes(const float* lanes, std::ptrdiff_t stride) {
    Lanes sum;
    _mm512_store_ps(sum.data(), sum_of_vectors(lanes, stride));
    return sum;
  }
  static void transpose(const float* const* rows, float* to, std::ptrdiff_t stride) {
    __m512i block[16];
    for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(rows[i]);
    transpose_rows(block);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * stride, block[i]);
  }
};

}  // namespace
}  // namespace instructblip
