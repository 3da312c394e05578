#include "kernels/kernels_avx2.h"

#include <immintrin.h>

namespace instructblip::avx2 {
namespace {

using Index = std::ptrdiff_t;

__m256 load(const float* p) { return _mm256_loadu_ps(p); }

__m256 load(const std::uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

// Dot products.

__m128 halves(__m256 a) {
  return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}

// The sums of four vectors, each in the order of sum_of: lanes i and i + 4, then 0 + 2 and 1 + 3.
__m128 sums_of(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m128 ha = halves(a), hb = halves(b), hc = halves(c), hd = halves(d);
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(ha, hb), _mm_unpackhi_ps(ha, hb));
  const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(hc, hd), _mm_unpackhi_ps(hc, hd));
  return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

float sum_of(__m256 a) { return _mm_cvtss_f32(sums_of(a, a, a, a)); }

template <int rows, int outs, class Weight>
void dots_tile(const float* const* x, const Weight* const* w, Index k, float* out,
               Index out_stride) {
  __m256 sums[rows][outs];
  for (int r = 0; r < rows; ++r) {
    for (int o = 0; o < outs; ++o) sums[r][o] = _mm256_setzero_ps();
  }
  for (Index i = 0; i < k; i += kLanes) {
    __m256 weight[outs];
    for (int o = 0; o < outs; ++o) weight[o] = load(w[o] + i);
    for (int r = 0; r < rows; ++r) {
      const __m256 value = load(x[r] + i);
      for (int o = 0; o < outs; ++o) sums[r][o] = _mm256_fmadd_ps(value, weight[o], sums[r][o]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    float* to = out + r * out_stride;
    if constexpr (outs == 1) {
      to[0] += sum_of(sums[r][0]);
    } else {
      alignas(16) float four[4];
      _mm_store_ps(four, sums_of(sums[r][0], sums[r][1], sums[r][2], sums[r][outs - 1]));
      for (int o = 0; o < outs; ++o) to[o] += four[o];
    }
  }
}

template <int rows, class Weight>
void dots_rows(const float* const* x, const Weight* const* w, Index outs, Index k, float* out,
               Index out_stride) {
  // 4 x 3 sums, 3 weights and a value fill the 16 registers.
  constexpr int kTileOutputs = rows == 1 ? 4 : 3;
  Index o = 0;
  for (; o + kTileOutputs <= outs; o += kTileOutputs) {
    dots_tile<rows, kTileOutputs>(x, w + o, k, out + o, out_stride);
  }
  for (; o < outs; ++o) dots_tile<rows, 1>(x, w + o, k, out + o, out_stride);
}

template <class Weight>
void dots_of(const float* const* x, Index rows, const Weight* const* w, Index outs, Index k,
             float* out, Index out_stride) {
  switch (rows) {
    case 1: return dots_rows<1>(x, w, outs, k, out, out_stride);
    case 2: return dots_rows<2>(x, w, outs, k, out, out_stride);
    case 3: return dots_rows<3>(x, w, outs, k, out, out_stride);
    default: return dots_rows<4>(x, w, outs, k, out, out_stride);
  }
}

// Attention.

template <int rows, int blocks>
void weighted_sum_tile(const float* p, Index p_stride, const float* const* v, Index keys, Index d,
                       float* out, Index out_stride) {
  __m256 sums[rows][blocks];
  for (int r = 0; r < rows; ++r) {
    for (int b = 0; b < blocks; ++b) sums[r][b] = load(out + r * out_stride + d + b * kLanes);
  }
  for (Index j = 0; j < keys; ++j) {
    __m256 value[blocks];
    for (int b = 0; b < blocks; ++b) value[b] = load(v[j] + d + b * kLanes);
    for (int r = 0; r < rows; ++r) {
      const __m256 weight = _mm256_broadcast_ss(p + r * p_stride + j);
      for (int b = 0; b < blocks; ++b) sums[r][b] = _mm256_fmadd_ps(weight, value[b], sums[r][b]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int b = 0; b < blocks; ++b) {
      _mm256_storeu_ps(out + r * out_stride + d + b * kLanes, sums[r][b]);
    }
  }
}

template <int rows>
void weighted_sum_rows(const float* p, Index p_stride, const float* const* v, Index keys,
                       Index width, float* out, Index out_stride) {
  constexpr int kBlocks = rows == 1 ? 8 : 3;
  Index d = 0;
  for (; d + kBlocks * kLanes <= width; d += kBlocks * kLanes) {
    weighted_sum_tile<rows, kBlocks>(p, p_stride, v, keys, d, out, out_stride);
  }
  for (; d + 2 * kLanes <= width; d += 2 * kLanes) {
    weighted_sum_tile<rows, 2>(p, p_stride, v, keys, d, out, out_stride);
  }
  for (; d + kLanes <= width; d += kLanes) {
    weighted_sum_tile<rows, 1>(p, p_stride, v, keys, d, out, out_stride);
  }
  for (; d < width; ++d) {
    for (int r = 0; r < rows; ++r) {
      __m128 sum = _mm_load_ss(out + r * out_stride + d);
      for (Index j = 0; j < keys; ++j) {
        sum = _mm_fmadd_ss(_mm_load_ss(p + r * p_stride + j), _mm_load_ss(v[j] + d), sum);
      }
      _mm_store_ss(out + r * out_stride + d, sum);
    }
  }
}

// Elementwise.

__m256 constant(float value) { return _mm256_set1_ps(value); }

// 2^n for whole n in [-126, 127].
__m256 power_of_two(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

// x = n log(2) + r; exp(r) by its Taylor-like minimax polynomial (Cephes), times 2^n in two steps
// so that the result runs into infinity and into the smallest numbers by itself. NaN stays: min and
// max return their second operand then.
__m256 exp(__m256 x) {
  x = _mm256_max_ps(constant(-104.0f), _mm256_min_ps(constant(89.0f), x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, constant(1.44269504088896341f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, constant(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, constant(-2.12194440e-4f), r);
  __m256 p = constant(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, constant(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, constant(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, constant(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, constant(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, constant(5.0000001201e-1f));
  p = _mm256_fmadd_ps(_mm256_mul_ps(p, r), r, _mm256_add_ps(r, constant(1.0f)));
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  p = _mm256_mul_ps(p, power_of_two(half));
  return _mm256_mul_ps(p, power_of_two(_mm256_sub_epi32(whole, half)));
}

__m256 sigmoid(__m256 x) {
  const __m256 e = exp(_mm256_sub_ps(_mm256_setzero_ps(), x));
  return _mm256_div_ps(constant(1.0f), _mm256_add_ps(constant(1.0f), e));
}

// As the plain level's.
__m256 error_function(__m256 x) {
  x = _mm256_max_ps(constant(-3.832506856900711f), _mm256_min_ps(constant(3.832506856900711f), x));
  const __m256 x2 = _mm256_mul_ps(x, x);
  __m256 p = constant(0.00022905065861350646f);
  p = _mm256_fmadd_ps(p, x2, constant(0.0034082910107109506f));
  p = _mm256_fmadd_ps(p, x2, constant(0.050955695062380861f));
  p = _mm256_fmadd_ps(p, x2, constant(0.18520832239976145f));
  p = _mm256_fmadd_ps(p, x2, constant(1.128379143519084f));
  __m256 q = constant(-1.1791602954361697e-7f);
  q = _mm256_fmadd_ps(q, x2, constant(0.000023547966471313185f));
  q = _mm256_fmadd_ps(q, x2, constant(0.0010179625278914885f));
  q = _mm256_fmadd_ps(q, x2, constant(0.014070470171167667f));
  q = _mm256_fmadd_ps(q, x2, constant(0.11098505178285362f));
  q = _mm256_fmadd_ps(q, x2, constant(0.49746925110067538f));
  q = _mm256_fmadd_ps(q, x2, constant(1.0f));
  const __m256 y = _mm256_div_ps(_mm256_mul_ps(x, p), q);
  return _mm256_max_ps(constant(-1.0f), _mm256_min_ps(constant(1.0f), y));
}

// Applies vector -> vector in place; the last few elements through a padded one.
template <class Function>
void for_vectors(float* x, Index count, const Function& function) {
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) _mm256_storeu_ps(x + i, function(load(x + i)));
  if (i == count) return;
  alignas(32) float last[kLanes] = {};
  for (Index lane = 0; i + lane < count; ++lane) last[lane] = x[i + lane];
  _mm256_store_ps(last, function(_mm256_load_ps(last)));
  for (Index lane = 0; i + lane < count; ++lane) x[i + lane] = last[lane];
}

}  // namespace

void dots(const float* const* x, Index rows, const float* const* w, Index outs, Index k, float* out,
          Index out_stride) {
  dots_of(x, rows, w, outs, k, out, out_stride);
}

void dots_bf16(const float* const* x, Index rows, const std::uint16_t* const* w, Index outs,
               Index k, float* out, Index out_stride) {
  dots_of(x, rows, w, outs, k, out, out_stride);
}

void widen_bf16(const std::uint16_t* from, Index count, float* to) {
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) _mm256_storeu_ps(to + i, load(from + i));
  for (; i < count; ++i) {
    const __m128i bits = _mm_cvtsi32_si128(static_cast<int>(static_cast<unsigned>(from[i]) << 16));
    _mm_store_ss(to + i, _mm_castsi128_ps(bits));
  }
}

void weighted_sum(const float* p, Index p_stride, Index rows, const float* const* v, Index keys,
                  Index d, float* out, Index out_stride) {
  switch (rows) {
    case 1: return weighted_sum_rows<1>(p, p_stride, v, keys, d, out, out_stride);
    case 2: return weighted_sum_rows<2>(p, p_stride, v, keys, d, out, out_stride);
    case 3: return weighted_sum_rows<3>(p, p_stride, v, keys, d, out, out_stride);
    default: return weighted_sum_rows<4>(p, p_stride, v, keys, d, out, out_stride);
  }
}

void softmax(float* x, Index count) {
  float max = x[0];
  for (Index i = 1; i < count; ++i) max = x[i] > max ? x[i] : max;
  for_vectors(x, count, [max](__m256 value) { return exp(_mm256_sub_ps(value, constant(max))); });
  __m256 sums = _mm256_setzero_ps();
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) sums = _mm256_add_ps(sums, load(x + i));
  alignas(32) float last[kLanes] = {};
  for (Index lane = 0; i + lane < count; ++lane) last[lane] = x[i + lane];
  const float sum = sum_of(_mm256_add_ps(sums, _mm256_load_ps(last)));
  for_vectors(x, count, [sum](__m256 value) { return _mm256_div_ps(value, constant(sum)); });
}

void gelu(float* x, Index count) {
  for_vectors(x, count, [](__m256 v) {
    const __m256 erf = error_function(_mm256_mul_ps(v, constant(0.70710678118654752f)));
    return _mm256_mul_ps(_mm256_mul_ps(constant(0.5f), v), _mm256_add_ps(constant(1.0f), erf));
  });
}

// 0.5 (1 + tanh(u)) = sigmoid(2 u).
void gelu_tanh(float* x, Index count) {
  for_vectors(x, count, [](__m256 v) {
    const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(v, v), constant(0.044715f), constant(1.0f));
    const __m256 u = _mm256_mul_ps(_mm256_mul_ps(constant(1.5957691216057308f), v), cubic);
    return _mm256_mul_ps(v, sigmoid(u));
  });
}

void quick_gelu(float* x, Index count) {
  for_vectors(x, count, [](__m256 v) {
    return _mm256_mul_ps(v, sigmoid(_mm256_mul_ps(constant(1.702f), v)));
  });
}

void silu(float* x, Index count) {
  for_vectors(x, count, [](__m256 v) { return _mm256_mul_ps(v, sigmoid(v)); });
}

}  // namespace instructblip::avx2
