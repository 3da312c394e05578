// Parameters of rotary position embeddings (RoPE). Mirrors transformers' modeling_rope_utils.py.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// How positions rotate queries and keys. Stored as `rope_parameters`, or in older files as
/// `rope_theta` next to `rope_scaling`, where the type may be called `type` or `rope_type`.
struct INSTRUCTBLIP_EXPORT RopeParameters {
  /// "default", "linear", "dynamic", "yarn", "longrope" or "llama3".
  std::string rope_type = "default";
  /// Base of the wavelengths.
  double rope_theta = 10000.0;
  /// Factor by which positions are compressed. Required by all types but default and longrope.
  std::optional<double> factor;
  // llama3: wavelengths below original / high are kept; those above original / low are scaled by
  // factor.
  std::optional<double> low_freq_factor;
  std::optional<double> high_freq_factor;
  /// llama3, yarn, longrope: maximum sequence length in pretraining.
  std::optional<Index> original_max_position_embeddings;
  /// yarn, longrope: multiplier of cosines and sines. Unset: derived from factor, or, for longrope
  /// without a factor, from max_position_embeddings / original length.
  std::optional<double> attention_factor;
  // yarn: numbers of rotations between which a wavelength changes from kept to compressed. Unset:
  // 32 and 1.
  std::optional<double> beta_fast;
  std::optional<double> beta_slow;
  // yarn: if both are set, attention_factor is derived from them and factor.
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  /// yarn: whether the ends of the ramp are rounded to whole columns.
  bool truncate = true;
  // longrope: one factor per pair of columns, for sequences within and beyond the original length.
  std::vector<double> short_factor;
  std::vector<double> long_factor;
  /// Unknown keys with their values as JSON text.
  std::map<std::string, std::string> other;

  /// Maximum sequence length in pretraining; `max_position_embeddings` if not given separately.
  Index original_length(Index max_position_embeddings) const {
    return original_max_position_embeddings.value_or(max_position_embeddings);
  }
  /// Throws ConfigError, starting with `where`, on an unknown rope_type, a missing key or an
  /// invalid value.
  void check(const std::string& where, Index head_dim, Index max_position_embeddings) const;
};

}  // namespace instructblip
