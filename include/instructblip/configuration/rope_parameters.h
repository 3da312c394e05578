// How LLaMA's positions turn queries and keys. Mirrors transformers' modeling_rope_utils.py.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// How positions turn queries and keys. In a file: `rope_parameters`; or, in older ones,
/// `rope_theta` beside `rope_scaling`, whose type may be called `type` or `rope_type`.
struct INSTRUCTBLIP_EXPORT RopeParameters {
  /// "default", "linear", "dynamic", "yarn", "longrope" or "llama3".
  std::string rope_type = "default";
  /// Base of the wavelengths.
  double rope_theta = 10000.0;
  /// By how much positions are compressed. Needed by all but default and longrope.
  std::optional<double> factor;
  // llama3: wavelengths below original / high are kept, above original / low divided by factor.
  std::optional<double> low_freq_factor;
  std::optional<double> high_freq_factor;
  /// llama3, yarn, longrope: length of the pretraining.
  std::optional<Index> original_max_position_embeddings;
  /// yarn, longrope: what cosines and sines are multiplied by. Unset: follows from factor, in
  /// longrope without one from max_position_embeddings over the pretraining's length.
  std::optional<double> attention_factor;
  // yarn: rotations between which a wavelength goes from compressed to kept. Unset: 32 and 1.
  std::optional<double> beta_fast;
  std::optional<double> beta_slow;
  // yarn: with both, attention_factor follows from them and factor.
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  /// yarn: whether the ramp begins and ends at whole columns.
  bool truncate = true;
  // longrope: a factor for each pair of columns, within and beyond the pretraining's length.
  std::vector<double> short_factor;
  std::vector<double> long_factor;
  /// Further keys, as JSON text.
  std::map<std::string, std::string> other;

  /// The length of the pretraining: `max_position_embeddings` where it is not told apart.
  Index original_length(Index max_position_embeddings) const {
    return original_max_position_embeddings.value_or(max_position_embeddings);
  }
  /// Throws ConfigError, beginning with `where`, on an unknown rope_type, a missing key or an
  /// impossible value.
  void check(const std::string& where, Index head_dim, Index max_position_embeddings) const;
};

}  // namespace instructblip
