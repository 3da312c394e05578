#include "instructblip/layers/rotary.h"

#include <algorithm>
#include <cmath>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/core/threads.h"

namespace instructblip {
namespace {

constexpr double kPi = 3.14159265358979323846;

// base ** (2 i / dim). Exponents and powers are rounded to float32, as in the reference.
std::vector<float> wave_lengths(double base, Index dim) {
  std::vector<float> lengths;
  for (Index i = 0; i < dim; i += 2) {
    lengths.push_back(
        std::pow(static_cast<float>(base), static_cast<float>(i) / static_cast<float>(dim)));
  }
  return lengths;
}

std::vector<float> inverse(std::vector<float> values) {
  for (float& value : values) value = 1.0f / value;
  return values;
}

std::vector<float> linear_frequencies(const RopeParameters& rope, Index head_dim) {
  std::vector<float> frequencies = inverse(wave_lengths(rope.rope_theta, head_dim));
  for (float& value : frequencies) value /= static_cast<float>(*rope.factor);
  return frequencies;
}

std::vector<float> llama3_frequencies(const RopeParameters& rope, Index head_dim,
                                      double original_length) {
  const auto factor = static_cast<float>(*rope.factor);
  const double low = *rope.low_freq_factor, high = *rope.high_freq_factor;
  std::vector<float> frequencies = inverse(wave_lengths(rope.rope_theta, head_dim));
  for (float& value : frequencies) {
    const float wave = static_cast<float>(2 * kPi) / value;
    if (wave > static_cast<float>(original_length / low)) {
      value /= factor;
    } else if (!(wave < static_cast<float>(original_length / high))) {
      const float smooth = (static_cast<float>(original_length) / wave - static_cast<float>(low)) /
                           static_cast<float>(high - low);
      value = (1 - smooth) * value / factor + smooth * value;
    }
  }
  return frequencies;
}

std::vector<float> yarn_frequencies(const RopeParameters& rope, Index head_dim,
                                    double original_length) {
  const auto dim = static_cast<double>(head_dim);
  const auto correction = [&](double rotations) {
    return dim * std::log(original_length / (rotations * 2 * kPi)) /
           (2 * std::log(rope.rope_theta));
  };
  // 0 means the default, as in the reference.
  const auto rotations = [](const std::optional<double>& value, double unset) {
    return value.value_or(0) == 0 ? unset : *value;
  };
  double low = correction(rotations(rope.beta_fast, 32));
  double high = correction(rotations(rope.beta_slow, 1));
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(*rope.factor);
  std::vector<float> frequencies = wave_lengths(rope.rope_theta, head_dim);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float kept = 1 - ramp;
    const float wave = frequencies[i];
    frequencies[i] = 1.0f / (factor * wave) * (1 - kept) + 1.0f / wave * kept;
  }
  return frequencies;
}

double yarn_scaling(const RopeParameters& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  const double factor = *rope.factor;
  const auto scaling = [&](double mscale) {
    return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
  };
  const double mscale = rope.mscale.value_or(0), all = rope.mscale_all_dim.value_or(0);
  return mscale != 0 && all != 0 ? scaling(mscale) / scaling(all) : scaling(1);
}

std::vector<float> longrope_frequencies(const RopeParameters& rope, Index head_dim,
                                        const std::vector<double>& factors) {
  std::vector<float> frequencies = wave_lengths(rope.rope_theta, head_dim);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = 1.0f / (static_cast<float>(factors[i]) * frequencies[i]);
  }
  return frequencies;
}

// The base grows with the amount by which `length` exceeds `original_length`.
std::vector<float> dynamic_frequencies(const RopeParameters& rope, Index head_dim, Index length,
                                       Index original_length) {
  const auto factor = static_cast<float>(*rope.factor);
  const float stretch = factor * static_cast<float>(length) / static_cast<float>(original_length) -
                        static_cast<float>(*rope.factor - 1);
  const auto dim = static_cast<double>(head_dim);
  const float growth = std::pow(stretch, static_cast<float>(dim / (dim - 2)));
  return inverse(wave_lengths(static_cast<float>(rope.rope_theta) * growth, head_dim));
}

double longrope_scaling(const RopeParameters& rope, double original_length,
                        Index max_position_embeddings) {
  if (rope.attention_factor) return *rope.attention_factor;
  const double factor =
      rope.factor.value_or(static_cast<double>(max_position_embeddings) / original_length);
  if (factor <= 1) return 1;
  return std::sqrt(1 + std::log(factor) / std::log(original_length));
}

}  // namespace

RotaryEmbedding::RotaryEmbedding(const RopeParameters& rope, Index head_dim,
                                 Index max_position_embeddings)
    : rope_(rope) {
  rope.check("RotaryEmbedding", head_dim, max_position_embeddings);
  const std::string& type = rope.rope_type;
  original_length_ =
      type == "dynamic" ? max_position_embeddings : rope.original_length(max_position_embeddings);
  const auto original_length = static_cast<double>(original_length_);
  if (type == "linear") {
    inv_freq_ = linear_frequencies(rope, head_dim);
  } else if (type == "llama3") {
    inv_freq_ = llama3_frequencies(rope, head_dim, original_length);
  } else if (type == "yarn") {
    inv_freq_ = yarn_frequencies(rope, head_dim, original_length);
    attention_scaling_ = static_cast<float>(yarn_scaling(rope));
  } else if (type == "longrope") {
    inv_freq_ = longrope_frequencies(rope, head_dim, rope.short_factor);
    long_inv_freq_ = longrope_frequencies(rope, head_dim, rope.long_factor);
    attention_scaling_ =
        static_cast<float>(longrope_scaling(rope, original_length, max_position_embeddings));
  } else {  // default, dynamic
    inv_freq_ = inverse(wave_lengths(rope.rope_theta, head_dim));
  }
}

std::vector<float> RotaryEmbedding::frequencies_of(Index length) const {
  if (length > original_length_) {
    if (rope_.rope_type == "longrope") return long_inv_freq_;
    if (rope_.rope_type == "dynamic") {
      const Index head_dim = 2 * static_cast<Index>(inv_freq_.size());
      return dynamic_frequencies(rope_, head_dim, length, original_length_);
    }
  }
  return inv_freq_;
}

RotaryAngles RotaryEmbedding::operator()(const RowTable& rows) const {
  const auto half = static_cast<Index>(inv_freq_.size());
  RotaryAngles angles{Matrix(rows.rows(), half), Matrix(rows.rows(), half)};
  for (Index s = 0; s < rows.sequences(); ++s) {
    Index longest = 0;
    for (Index r = rows.begin(s); r < rows.begin(s + 1); ++r) {
      longest = std::max(longest, at(rows.positions, r) + 1);
    }
    const std::vector<float> frequencies = frequencies_of(longest);
    for (Index r = rows.begin(s); r < rows.begin(s + 1); ++r) {
      const auto position = static_cast<float>(at(rows.positions, r));
      for (Index i = 0; i < half; ++i) {
        const float angle = position * at(frequencies, i);
        angles.cos.row(r)[i] = std::cos(angle) * attention_scaling_;
        angles.sin.row(r)[i] = std::sin(angle) * attention_scaling_;
      }
    }
  }
  return angles;
}

void apply_rotary(MutableMatrixView x, const RotaryAngles& angles) {
  const Index half = angles.cos.cols();
  if (x.rows != angles.cos.rows() || half == 0 || x.cols % (2 * half) != 0 ||
      x.dtype != DType::Float32) {
    throw InputError("apply_rotary: x is " + std::string(name_of(x.dtype)) + " [" +
                     std::to_string(x.rows) + ", " + std::to_string(x.cols) +
                     "], expected float32 with " + std::to_string(angles.cos.rows()) +
                     " rows and a multiple of " + std::to_string(2 * half) + " columns");
  }
  constexpr Index kGrain = 1 << 14;
  parallel_for(x.rows, kGrain / x.cols + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const float* cos = angles.cos.row(r);
      const float* sin = angles.sin.row(r);
      for (Index head = 0; head < x.cols; head += 2 * half) {
        float* first = x.row(r) + head;
        float* second = first + half;
        for (Index i = 0; i < half; ++i) {
          const float a = first[i], b = second[i];
          first[i] = a * cos[i] - b * sin[i];
          second[i] = b * cos[i] + a * sin[i];
        }
      }
    }
  });
}

}  // namespace instructblip
