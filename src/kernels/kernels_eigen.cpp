// The plain level: small blocks of Eigen's fixed-size arrays, so that every element takes the same
// path wherever it stands. What is left over at an edge goes through a padded block, never through
// a scalar loop of other functions.
#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/kernel_table.h"

namespace instructblip {
namespace {

using Index = std::ptrdiff_t;
using Lanes = Eigen::Array<float, 4, 1>;
using WideLanes = Eigen::Array<float, 16, 1>;
constexpr Index kLanes = Lanes::SizeAtCompileTime;
constexpr Index kWide = WideLanes::SizeAtCompileTime;

template <class Block>
Eigen::Map<const Block> at(const float* p) {
  return Eigen::Map<const Block>(p);
}
template <class Block>
Eigen::Map<Block> at(float* p) {
  return Eigen::Map<Block>(p);
}

// Dot products.

template <int rows, int outs>
void add_products(const float* const* x, const float* const* w, Index begin, Index count,
                  Lanes (&sums)[rows][outs]) {
  for (Index k = 0; k < count; k += kLanes) {
    Lanes weight[outs];
    for (int o = 0; o < outs; ++o) weight[o] = at<Lanes>(w[o] + k);
    for (int r = 0; r < rows; ++r) {
      const Lanes value = at<Lanes>(x[r] + begin + k);
      for (int o = 0; o < outs; ++o) sums[r][o] += value * weight[o];
    }
  }
}

template <int rows, int outs>
void store_sums(const Lanes (&sums)[rows][outs], float* out, Index out_stride) {
  for (int r = 0; r < rows; ++r) {
    for (int o = 0; o < outs; ++o) out[r * out_stride + o] += sums[r][o].sum();
  }
}

template <int rows, int outs>
void dots_tile(const float* const* x, const float* const* w, Index k, float* out,
               Index out_stride) {
  Lanes sums[rows][outs];
  for (auto& row : sums) {
    for (Lanes& sum : row) sum.setZero();
  }
  add_products<rows, outs>(x, w, 0, k, sums);
  store_sums<rows, outs>(sums, out, out_stride);
}

template <int rows>
void dots_rows(const float* const* x, const float* const* w, Index outs, Index k, float* out,
               Index out_stride) {
  constexpr int kTileOutputs = rows == 1 ? 4 : 3;
  Index o = 0;
  for (; o + kTileOutputs <= outs; o += kTileOutputs) {
    dots_tile<rows, kTileOutputs>(x, w + o, k, out + o, out_stride);
  }
  for (; o < outs; ++o) dots_tile<rows, 1>(x, w + o, k, out + o, out_stride);
}

void dots(const float* const* x, Index rows, const float* const* w, Index outs, Index k, float* out,
          Index out_stride) {
  switch (rows) {
    case 1: return dots_rows<1>(x, w, outs, k, out, out_stride);
    case 2: return dots_rows<2>(x, w, outs, k, out, out_stride);
    case 3: return dots_rows<3>(x, w, outs, k, out, out_stride);
    default: return dots_rows<4>(x, w, outs, k, out, out_stride);
  }
}

void widen_bf16(const std::uint16_t* from, Index count, float* to) {
  for (Index i = 0; i < count; ++i) {
    to[i] = std::bit_cast<float>(static_cast<std::uint32_t>(from[i]) << 16);
  }
}

template <int rows, int outs>
void dots_bf16_tile(const float* const* x, const std::uint16_t* const* w, Index k, float* out,
                    Index out_stride) {
  constexpr Index kChunk = 128;
  float widened[outs][kChunk];
  const float* chunk[outs];
  for (int o = 0; o < outs; ++o) chunk[o] = widened[o];
  Lanes sums[rows][outs];
  for (auto& row : sums) {
    for (Lanes& sum : row) sum.setZero();
  }
  for (Index begin = 0; begin < k; begin += kChunk) {
    const Index count = std::min(kChunk, k - begin);
    for (int o = 0; o < outs; ++o) widen_bf16(w[o] + begin, count, widened[o]);
    add_products<rows, outs>(x, chunk, begin, count, sums);
  }
  store_sums<rows, outs>(sums, out, out_stride);
}

template <int rows>
void dots_bf16_rows(const float* const* x, const std::uint16_t* const* w, Index outs, Index k,
                    float* out, Index out_stride) {
  constexpr int kTileOutputs = rows == 1 ? 4 : 3;
  Index o = 0;
  for (; o + kTileOutputs <= outs; o += kTileOutputs) {
    dots_bf16_tile<rows, kTileOutputs>(x, w + o, k, out + o, out_stride);
  }
  for (; o < outs; ++o) dots_bf16_tile<rows, 1>(x, w + o, k, out + o, out_stride);
}

void dots_bf16(const float* const* x, Index rows, const std::uint16_t* const* w, Index outs,
               Index k, float* out, Index out_stride) {
  switch (rows) {
    case 1: return dots_bf16_rows<1>(x, w, outs, k, out, out_stride);
    case 2: return dots_bf16_rows<2>(x, w, outs, k, out, out_stride);
    case 3: return dots_bf16_rows<3>(x, w, outs, k, out, out_stride);
    default: return dots_bf16_rows<4>(x, w, outs, k, out, out_stride);
  }
}

// Attention.

template <int rows, int blocks>
void weighted_sum_tile(const float* p, Index p_stride, const float* const* v, Index keys, Index d,
                       float* out, Index out_stride) {
  Lanes sums[rows][blocks];
  for (int r = 0; r < rows; ++r) {
    for (int b = 0; b < blocks; ++b) sums[r][b] = at<Lanes>(out + r * out_stride + d + b * kLanes);
  }
  for (Index j = 0; j < keys; ++j) {
    Lanes value[blocks];
    for (int b = 0; b < blocks; ++b) value[b] = at<Lanes>(v[j] + d + b * kLanes);
    for (int r = 0; r < rows; ++r) {
      const float weight = p[r * p_stride + j];
      for (int b = 0; b < blocks; ++b) sums[r][b] += weight * value[b];
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int b = 0; b < blocks; ++b) at<Lanes>(out + r * out_stride + d + b * kLanes) = sums[r][b];
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
  for (; d + kLanes <= width; d += kLanes) {
    weighted_sum_tile<rows, 1>(p, p_stride, v, keys, d, out, out_stride);
  }
  for (; d < width; ++d) {
    for (int r = 0; r < rows; ++r) {
      float sum = out[r * out_stride + d];
      for (Index j = 0; j < keys; ++j) sum += p[r * p_stride + j] * v[j][d];
      out[r * out_stride + d] = sum;
    }
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

// Elementwise.

// Applies block -> block in place; the last few elements through a padded block.
template <class Function>
void for_blocks(float* x, Index count, const Function& function) {
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Lanes value = at<Lanes>(x + i);
    at<Lanes>(x + i) = function(value);
  }
  if (i == count) return;
  Lanes last = Lanes::Zero();
  std::copy(x + i, x + count, last.data());
  last = function(last);
  std::copy_n(last.data(), count - i, x + i);
}

void softmax(float* x, Index count) {
  float max = x[0];
  for (Index i = 1; i < count; ++i) max = std::max(max, x[i]);
  for_blocks(x, count, [max](const Lanes& value) -> Lanes {
    const Lanes shifted = value - max;
    // Eigen's exp stops at the smallest normal number instead of going to 0.
    return (shifted < -87.0f).select(Lanes::Zero(), shifted.exp());
  });
  Lanes sums = Lanes::Zero();
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) sums += at<Lanes>(x + i);
  for (Index lane = 0; i + lane < count; ++lane) sums[lane] += x[i + lane];
  const float sum = sums.sum();
  for (Index j = 0; j < count; ++j) x[j] /= sum;
}

Lanes sigmoid(const Lanes& x) { return 1.0f / (1.0f + (-x).exp()); }

// A rational function of x^2 up to where erf rounds to +-1 in float32; the coefficients are
// XLA's. The bounds of the result make it exactly +-1 there, so that gelu of a large negative
// number is 0.
Lanes error_function(const Lanes& argument) {
  const Lanes x = argument.max(-3.832506856900711f).min(3.832506856900711f);
  const Lanes x2 = x * x;
  Lanes p = 0.00022905065861350646f * x2 + 0.0034082910107109506f;
  p = p * x2 + 0.050955695062380861f;
  p = p * x2 + 0.18520832239976145f;
  p = p * x2 + 1.128379143519084f;
  Lanes q = -1.1791602954361697e-7f * x2 + 0.000023547966471313185f;
  q = q * x2 + 0.0010179625278914885f;
  q = q * x2 + 0.014070470171167667f;
  q = q * x2 + 0.11098505178285362f;
  q = q * x2 + 0.49746925110067538f;
  q = q * x2 + 1.0f;
  return (x * p / q).max(-1.0f).min(1.0f);
}

void gelu(float* x, Index count) {
  for_blocks(x, count, [](const Lanes& v) -> Lanes {
    return 0.5f * v * (1.0f + error_function(v * 0.70710678118654752f));
  });
}

// 0.5 (1 + tanh(u)) = sigmoid(2 u), without cancellation for negative u.
void gelu_tanh(float* x, Index count) {
  for_blocks(x, count, [](const Lanes& v) -> Lanes {
    return v * sigmoid(1.5957691216057308f * v * (1.0f + 0.044715f * v * v));
  });
}

void quick_gelu(float* x, Index count) {
  for_blocks(x, count, [](const Lanes& v) -> Lanes { return v * sigmoid(1.702f * v); });
}

void relu(float* x, Index count) {
  for (Index i = 0; i < count; ++i) x[i] = x[i] < 0.0f ? 0.0f : x[i];
}

void silu(float* x, Index count) {
  for_blocks(x, count, [](const Lanes& v) -> Lanes { return v * sigmoid(v); });
}

// Norms.

// Sum of term(x[i]); `fill` pads the last block and must have the term 0.
template <class Term>
float sum_of(const float* x, Index count, float fill, const Term& term) {
  WideLanes sums = WideLanes::Zero();
  Index i = 0;
  for (; i + kWide <= count; i += kWide) sums += term(WideLanes(at<WideLanes>(x + i)));
  if (i < count) {
    WideLanes last = WideLanes::Constant(fill);
    std::copy(x + i, x + count, last.data());
    sums += term(last);
  }
  return sums.sum();
}

void layer_norm(const float* x, Index count, const float* weight, const float* bias, float eps,
                float* y) {
  const auto n = static_cast<float>(count);
  const float mean = sum_of(x, count, 0.0f, [](const WideLanes& v) { return v; }) / n;
  const float variance =
      sum_of(x, count, mean,
             [mean](const WideLanes& v) -> WideLanes { return (v - mean).square(); }) /
      n;
  const float scale = 1.0f / std::sqrt(variance + eps);
  for (Index i = 0; i < count; ++i) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

void rms_norm(const float* x, Index count, const float* weight, float eps, float* y) {
  const float mean =
      sum_of(x, count, 0.0f, [](const WideLanes& v) -> WideLanes { return v.square(); }) /
      static_cast<float>(count);
  const float scale = 1.0f / std::sqrt(mean + eps);
  for (Index i = 0; i < count; ++i) y[i] = x[i] * scale * weight[i];
}

}  // namespace

const KernelTable& eigen_kernels() {
  static const KernelTable table{
      .name = "eigen",
      .lanes = kLanes,
      .dots = dots,
      .dots_bf16 = dots_bf16,
      .widen_bf16 = widen_bf16,
      .weighted_sum = weighted_sum,
      .softmax = softmax,
      .layer_norm = layer_norm,
      .rms_norm = rms_norm,
      .gelu = gelu,
      .gelu_tanh = gelu_tanh,
      .quick_gelu = quick_gelu,
      .relu = relu,
      .silu = silu,
  };
  return table;
}

}  // namespace instructblip
