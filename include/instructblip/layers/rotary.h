// Rotary position embedding (transformers' LlamaRotaryEmbedding and modeling_rope_utils.py).
#pragma once

#include <vector>

#include "instructblip/configuration/rope_parameters.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {

/// cos and sin of each row's angles, [rows, head_dim / 2]; computed once per forward pass.
struct RotaryAngles {
  Matrix cos, sin;
};

/// Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT RotaryEmbedding {
 public:
  RotaryEmbedding() = default;
  /// For heads of `head_dim` columns. Keys that a rope_type does not use are ignored. Throws
  /// ConfigError on an unknown rope_type, a missing key or an impossible value.
  RotaryEmbedding(const RopeParameters& rope, Index head_dim, Index max_position_embeddings);

  /// The angles of the rows' positions. A sequence that reaches beyond the pretraining's length
  /// takes other frequencies: "longrope" those of the long factors, "dynamic" those of a base that
  /// grows with the sequence (the reference: for the whole batch, by its longest).
  RotaryAngles operator()(const RowTable& rows) const;

  /// [head_dim / 2], float32.
  const std::vector<float>& inv_freq() const { return inv_freq_; }
  /// Of sequences beyond original_max_position_embeddings; empty unless longrope.
  const std::vector<float>& long_inv_freq() const { return long_inv_freq_; }
  float attention_scaling() const { return attention_scaling_; }

 private:
  std::vector<float> frequencies_of(Index length) const;

  RopeParameters rope_;
  Index original_length_ = 0;
  std::vector<float> inv_freq_, long_inv_freq_;
  float attention_scaling_ = 1.0f;
};

/// Rotates each head of x [rows, heads * head_dim] in place: column i and column i + head_dim / 2
/// of a head are a pair ("rotate_half"). Throws InputError if the shapes do not fit.
INSTRUCTBLIP_EXPORT void apply_rotary(MutableMatrixView x, const RotaryAngles& angles);

}  // namespace instructblip
