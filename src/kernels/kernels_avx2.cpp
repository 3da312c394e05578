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
};

}  // namespace

const KernelTable& avx2_kernels() {
  static constexpr KernelTable table = Level::table("avx2");
  return table;
}

}  // namespace instructblip
