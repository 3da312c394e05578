// Rotary position embedding (transformers' LlamaRotaryEmbedding and modeling_rope_utils.py).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {

/// The reference's `rope_parameters` (formerly `rope_scaling` and `rope_theta`) with the sizes that
/// they are applied to. Keys that a rope_type does not use are ignored.
struct RotaryOptions {
  /// "default", "linear", "dynamic", "yarn", "longrope" or "llama3".
  std::string rope_type = "default";
  double rope_theta = 10000.0;
  /// Width of a head; even.
  Index head_dim = 0;
  Index max_position_embeddings = 2048;
  /// How far positions are stretched. linear, dynamic, llama3: required; yarn, longrope: default
  /// max_position_embeddings / original_max_position_embeddings.
  std::optional<double> factor;
  /// yarn, longrope, llama3: length of the pretraining. Default: max_position_embeddings.
  std::optional<Index> original_max_position_embeddings;
  /// yarn, longrope: what cos and sin are multiplied by. Default: from factor.
  std::optional<double> attention_factor;
  /// yarn.
  std::optional<double> beta_fast;       // default 32
  std::optional<double> beta_slow;       // default 1
  std::optional<double> mscale;          // with mscale_all_dim: attention_factor from both
  std::optional<double> mscale_all_dim;  //
  bool truncate = true;
  /// llama3; required there.
  std::optional<double> low_freq_factor;
  std::optional<double> high_freq_factor;
  /// longrope: one number per pair of columns; required there.
  std::vector<double> short_factor;
  std::vector<double> long_factor;
};

/// cos and sin of each row's angles, [rows, head_dim / 2]; computed once per forward pass.
struct RotaryAngles {
  Matrix cos, sin;
};

/// Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT RotaryEmbedding {
 public:
  RotaryEmbedding() = default;
  /// Throws ConfigError on an unknown rope_type, a missing key or an impossible value.
  explicit RotaryEmbedding(const RotaryOptions& options);

  /// The angles of the rows' positions. "longrope" takes the long factors for a sequence that
  /// reaches beyond original_max_position_embeddings (the reference: for the whole batch).
  /// "dynamic" is the unscaled embedding, as the reference's is up to max_position_embeddings.
  RotaryAngles operator()(const RowTable& rows) const;

  /// [head_dim / 2], float32.
  const std::vector<float>& inv_freq() const { return inv_freq_; }
  /// Of sequences beyond original_max_position_embeddings; empty unless longrope.
  const std::vector<float>& long_inv_freq() const { return long_inv_freq_; }
  float attention_scaling() const { return attention_scaling_; }

 private:
  std::vector<float> inv_freq_, long_inv_freq_;
  float attention_scaling_ = 1.0f;
  Index long_beyond_ = 0;
};

/// Rotates each head of x [rows, heads * head_dim] in place: column i and column i + head_dim / 2
/// of a head are a pair ("rotate_half"). Throws InputError if the shapes do not fit.
INSTRUCTBLIP_EXPORT void apply_rotary(MutableMatrixView x, const RotaryAngles& angles);

}  // namespace instructblip
