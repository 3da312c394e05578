// Kernels that take the elements of a row one after the other: activations and the other steps of
// an epilogue, softmax and norms. Written once for every level; as in vector_kernels.h, everything
// is a member of the level's struct.
#pragma once

#include <Eigen/Core>
#include <bit>
#include <cmath>

#include "kernels/kernel_table.h"

namespace instructblip {

template <class Level, class Lanes>
struct RowVectorKernels {
  using Index = std::ptrdiff_t;
  static constexpr Index kLanes = Lanes::SizeAtCompileTime;
  // The norms add in 16 lanes on every level.
  using WideLanes = Eigen::Array<float, 16, 1>;

  // Elementwise functions.

  template <class Function>
  static void for_each(float* x, Index count, const Function& function) {
    Index i = 0;
    for (; i + kLanes <= count; i += kLanes) Level::store(function(Level::load(x + i)), x + i);
    if (i == count) return;
    Level::store_last(function(Level::load_last(x + i, count - i)), count - i, x + i);
  }

  // One step of Horner's rule: p * x + c.
  static Lanes horner(const Lanes& p, const Lanes& x, float c) {
    return Level::multiply_add(p, x, Lanes::Constant(c));
  }

  static constexpr float kWhole = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number

  // x = n log(2) + r; exp(r) by its minimax polynomial (Cephes), times 2^n.
  static Lanes exp(const Lanes& argument) {
    const Lanes x = argument.min(89.0f).max(-104.0f);  // NaN stays
    const Lanes shifted = x * 1.44269504088896341f + kWhole;
    const Lanes n = shifted - kWhole;
    Lanes r = Level::multiply_add(n, Lanes::Constant(-0.693359375f), x);
    r = Level::multiply_add(n, Lanes::Constant(2.12194440e-4f), r);
    Lanes p = Lanes::Constant(1.9875691500e-4f);
    p = horner(p, r, 1.3981999507e-3f);
    p = horner(p, r, 8.3334519073e-3f);
    p = horner(p, r, 4.1665795894e-2f);
    p = horner(p, r, 1.6666665459e-1f);
    p = horner(p, r, 5.0000001201e-1f);
    p = Level::multiply_add(p * r, r, r + 1.0f);
    return Level::times_power_of_two(p, shifted);
  }
  // x * 2^n, where `shifted` is n + kWhole and n between -151 and 129. In two steps, so that the
  // result becomes infinity or a subnormal number by itself.
  static Lanes times_power_of_two(const Lanes& x, const Lanes& shifted) {
    Lanes first, second;  // 2^n = first * second
    for (Index lane = 0; lane < kLanes; ++lane) {
      const auto whole =
          std::bit_cast<std::int32_t>(shifted[lane]) - std::bit_cast<std::int32_t>(kWhole);
      const std::int32_t half = whole >> 1;
      first[lane] = std::bit_cast<float>((half + 127) << 23);
      second[lane] = std::bit_cast<float>((whole - half + 127) << 23);
    }
    return x * first * second;
  }
  // exp of a score minus the largest score of its row.
  static Lanes softmax_exp(const Lanes& x) { return Level::exp(x); }

  static Lanes sigmoid(const Lanes& x) { return 1.0f / (1.0f + Level::exp(-x)); }

  // A rational function of x^2 up to where erf rounds to +-1 in float32; the coefficients are
  // XLA's. The bounds of the result make it exactly +-1 there, so that gelu of a large negative
  // number is 0.
  static Lanes error_function(const Lanes& argument) {
    const Lanes x = argument.max(-3.832506856900711f).min(3.832506856900711f);
    const Lanes x2 = x * x;
    Lanes p = Lanes::Constant(0.00022905065861350646f);
    p = horner(p, x2, 0.0034082910107109506f);
    p = horner(p, x2, 0.050955695062380861f);
    p = horner(p, x2, 0.18520832239976145f);
    p = horner(p, x2, 1.128379143519084f);
    Lanes q = Lanes::Constant(-1.1791602954361697e-7f);
    q = horner(q, x2, 0.000023547966471313185f);
    q = horner(q, x2, 0.0010179625278914885f);
    q = horner(q, x2, 0.014070470171167667f);
    q = horner(q, x2, 0.11098505178285362f);
    q = horner(q, x2, 0.49746925110067538f);
    q = horner(q, x2, 1.0f);
    return (x * p / q).max(-1.0f).min(1.0f);
  }

  static Lanes gelu(const Lanes& v) {
    return 0.5f * v * (1.0f + error_function(v * 0.70710678118654752f));
  }

  // 1 + 0.044715 v^2.
  static Lanes gelu_tanh_factor(const Lanes& v) {
    return horner(v * v, Lanes::Constant(0.044715f), 1.0f);
  }
  // 0.5 (1 + tanh(u)) = sigmoid(2 u), without cancellation for negative u.
  static Lanes gelu_tanh(const Lanes& v) {
    return v * sigmoid(1.5957691216057308f * v * Level::gelu_tanh_factor(v));
  }

  static Lanes quick_gelu(const Lanes& v) { return v * sigmoid(1.702f * v); }
  static Lanes relu(const Lanes& v) { return (v < 0.0f).select(Lanes::Zero(), v); }
  static Lanes silu(const Lanes& v) { return v * sigmoid(v); }

  // Outputs of a row.

  static Lanes identity(const Lanes& v) { return v; }

  // Outputs [i, i + count) of the row; `read` loads a vector.
  template <Lanes (*function)(const Lanes&), class Read>
  static Lanes finished(const OutputRow& row, Index i, const Read& read) {
    Lanes v = read(row.sums + i);
    if (row.bias != nullptr) v += read(row.bias + i);
    v = function(v) * row.scale;
    if (row.gate != nullptr) v *= read(row.gate + i);
    if (row.residual != nullptr) v += read(row.residual + i);
    return v;
  }

  template <Lanes (*function)(const Lanes&)>
  static void finish_with(const OutputRow& row) {
    Index i = 0;
    for (; i + kLanes <= row.count; i += kLanes) {
      Level::store(finished<function>(row, i, [](const float* p) { return Level::load(p); }),
                   row.y + i);
    }
    const Index rest = row.count - i;
    if (rest == 0) return;
    Level::store_last(
        finished<function>(row, i, [rest](const float* p) { return Level::load_last(p, rest); }),
        rest, row.y + i);
  }

  static void finish(const OutputRow& row) {
    switch (row.activation) {
      case Activation::None: return finish_with<identity>(row);
      case Activation::Gelu: return finish_with<gelu>(row);
      case Activation::GeluTanh: return finish_with<gelu_tanh>(row);
      case Activation::QuickGelu: return finish_with<quick_gelu>(row);
      case Activation::Relu: return finish_with<relu>(row);
      case Activation::Silu: return finish_with<silu>(row);
    }
  }

  // Rows.

  // Combines `value` with the vectors of a row, one after the other; `fill` pads the last one.
  template <class Vector, class Combine>
  static Vector fold(const float* x, Index count, float fill, Vector value,
                     const Combine& combine) {
    constexpr Index kSize = Vector::SizeAtCompileTime;
    Index i = 0;
    for (; i + kSize <= count; i += kSize)
      value = combine(value, Level::template load<Vector>(x + i));
    if (i < count)
      value = combine(value, Level::template load_last<Vector>(x + i, count - i, fill));
    return value;
  }

  static float greatest(const Lanes& x) { return x.maxCoeff(); }

  static void softmax(float* x, Index count, float scale) {
    for_each(x, count, [scale](const Lanes& value) -> Lanes { return value * scale; });
    const float max = Level::greatest(
        fold<Lanes>(x, count, x[0], Lanes::Constant(x[0]),
                    [](const Lanes& a, const Lanes& b) -> Lanes { return a.max(b); }));
    for_each(x, count, [max](const Lanes& value) { return Level::softmax_exp(value - max); });
    const float sum =
        fold<Lanes>(x, count, 0.0f, Lanes::Zero(), [](const Lanes& a, const Lanes& b) -> Lanes {
          return a + b;
        }).sum();
    for_each(x, count,
             [factor = 1.0f / sum](const Lanes& value) -> Lanes { return value * factor; });
  }

  // The sum of term(x[i]); `fill` pads the last vector and must have the term 0.
  template <class Term>
  static float sum_of(const float* x, Index count, float fill, const Term& term) {
    const WideLanes sums = fold<WideLanes>(
        x, count, fill, WideLanes::Zero(),
        [&](const WideLanes& sum, const WideLanes& v) -> WideLanes { return sum + term(v); });
    // In this order on every level, whatever the size of its registers.
    return ((sums.template segment<4>(0) + sums.template segment<4>(4)) +
            (sums.template segment<4>(8) + sums.template segment<4>(12)))
        .eval()
        .sum();
  }

  static void layer_norm(const float* x, Index count, const float* weight, const float* bias,
                         float eps, float* y) {
    const auto n = static_cast<float>(count);
    const float mean = sum_of(x, count, 0.0f, [](const WideLanes& v) { return v; }) / n;
    const float variance =
        sum_of(x, count, mean,
               [mean](const WideLanes& v) -> WideLanes { return (v - mean).square(); }) /
        n;
    const float scale = 1.0f / std::sqrt(variance + eps);
    for (Index i = 0; i < count; ++i) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
  }

  static void rms_norm(const float* x, Index count, const float* weight, float eps, float* y) {
    const float mean =
        sum_of(x, count, 0.0f, [](const WideLanes& v) -> WideLanes { return v.square(); }) /
        static_cast<float>(count);
    const float scale = 1.0f / std::sqrt(mean + eps);
    for (Index i = 0; i < count; ++i) y[i] = x[i] * scale * weight[i];
  }
};

}  // namespace instructblip
