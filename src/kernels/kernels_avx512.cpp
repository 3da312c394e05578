// The level "avx512": CPUs with the AVX-512 instructions of a server since 2017 (F, BW, DQ, VL).
#include <immintrin.h>

#include "kernels/avx512_kernels.h"

namespace instructblip {
namespace {

struct Level : Avx512Kernels<Level, 1> {
  static constexpr Index kTransposedRows = 192;

  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes sum;
    _mm512_store_ps(sum.data(), _mm512_fmadd_ps(_mm512_load_ps(a.data()), _mm512_load_ps(b.data()),
                                                _mm512_load_ps(c.data())));
    return sum;
  }
  static float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

  // The ends of rows in masked vectors: GCC calls memcpy for the portable loops.
  template <class Vector = Lanes>
  static Vector load_last(const float* p, Index count, float fill = 0.0f) {
    Vector values;
    _mm512_store_ps(values.data(),
                    _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first_lanes(count), p));
    return values;
  }
  static void store_last(const Lanes& values, Index count, float* p) {
    _mm512_mask_storeu_ps(p, first_lanes(count), _mm512_load_ps(values.data()));
  }
  static Lanes times_power_of_two(const Lanes& x, const Lanes& shifted) {
    const Lanes n = shifted - kWhole;
    Lanes product;
    _mm512_store_ps(product.data(),
                    _mm512_scalef_ps(_mm512_load_ps(x.data()), _mm512_load_ps(n.data())));
    return product;
  }
  static float greatest(const Lanes& x) { return _mm512_reduce_max_ps(_mm512_load_ps(x.data())); }

  using Avx512Kernels::load_weights;
  template <int>
  [[gnu::always_inline]] static __m512 load_weights(const std::uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static Lanes load_bf16(const std::uint16_t* p) {
    Lanes values;
    _mm512_store_ps(values.data(), load_weights<0>(p));
    return values;
  }
  // Those of another level (dispatch.cpp).
  static constexpr IntegerKernels integers() { return {}; }

  using Book = __m512;
  static Book book_of(const float* values) { return _mm512_loadu_ps(values); }
  template <int half>
  static void look_up(const Book& book, const std::uint8_t* codes, float scale,
                      Lanes (&values)[2]) {
    const auto* const from = reinterpret_cast<const __m128i*>(codes);
    const __m128i first = _mm_loadu_si128(from), second = _mm_loadu_si128(from + 1);
    for (int i = 0; i < 2; ++i) {
      const __m128i bytes =
          i == 0 ? _mm_unpacklo_epi32(first, second) : _mm_unpackhi_epi32(first, second);
      // The permutation reads the lowest 4 bits of an element.
      const __m512i code = _mm512_srli_epi32(_mm512_cvtepu8_epi32(bytes), 4 * half);
      _mm512_store_ps(values[i].data(),
                      _mm512_mul_ps(_mm512_permutexvar_ps(code, book), _mm512_set1_ps(scale)));
    }
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
