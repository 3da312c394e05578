// The level "avx512_bf16": CPUs that multiply bfloat16 in vectors (AVX512-BF16: AMD since Zen 4,
// Intel's Cooper Lake). Products with bfloat16 weights use it, with activations in bfloat16 or as
// the sum of two bfloat16 numbers, to 2^-17 of themselves; everything else is the level
// avx512_vnni's (dispatch.cpp).
#include <immintrin.h>

#include "kernels/avx512_kernels.h"
#include "kernels/avx512_split.h"

namespace instructblip {
namespace {

// An element is a pair of bfloat16 numbers, and a product the sum of both products.
template <int terms>
struct Level : Avx512Kernels<Level<terms>, terms> {
  using typename Avx512Kernels<Level, terms>::Lanes;

  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    const auto pairs = [](const Lanes& lanes) __attribute__((always_inline)) {
      return reinterpret_cast<__m512bh>(_mm512_load_ps(lanes.data()));
    };
    Lanes sum;
    _mm512_store_ps(sum.data(), _mm512_dpbf16_ps(_mm512_load_ps(c.data()), pairs(a), pairs(b)));
    return sum;
  }
  [[gnu::always_inline]] static void add_product(const __m512& a, const __m512& b, __m512& sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
};

// Two bytes of every pair, or four.
template <int terms>
void to_terms(const float* x, std::ptrdiff_t count, float* to) {
  auto* const high = reinterpret_cast<std::uint16_t*>(to);
  split(x, count, terms * kTileDepth, high, terms == 2 ? high + kTileDepth : nullptr);
}

template <int terms>
constexpr PairKernels kPairs{.products = Level<terms>::products(), .to_terms = to_terms<terms>};

}  // namespace

const PairKernels& avx512_bf16_pairs() { return kPairs<1>; }
const PairKernels& avx512_bf16_split_pairs() { return kPairs<2>; }

}  // namespace instructblip
