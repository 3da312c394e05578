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
  /// For heads of `head_dim` columns. Keys that the rope_type does not use are ignored. Throws
  /// ConfigError if the rope_type is unknown, or a key is missing or invalid.
  RotaryEmbedding(const RopeParameters& rope, Index head_dim, Index max_position_embeddings);

  /// The angles of the rows' positions. Two types use other frequencies for a sequence that is
  /// longer than in pretraining: "longrope" those of the long factors, "dynamic" those of a base
  /// that grows with the length. Each sequence is treated on its own (the reference chooses once
  /// per batch, by its longest sequence).
  RotaryAngles operator()(const RowTable& rows) const;

  /// The frequencies, [head_dim / 2].
  const std::vector<float>& inv_freq() const { return inv_freq_; }
  /// The frequencies for sequences longer than original_max_position_embeddings; empty unless the
  /// type is longrope.
  const std::vector<float>& long_inv_freq() const { return long_inv_freq_; }
  /// Factor on cos and sin (yarn, longrope); 1 for the other types.
  float attention_scaling() const { return attention_scaling_; }

 private:
  std::vector<float> frequencies_of(Index length) const;

  RopeParameters rope_;
  Index original_length_ = 0;
  std::vector<float> inv_freq_, long_inv_freq_;
  float attention_scaling_ = 1.0f;
};

/// Rotates each head of x [rows, heads * head_dim] in place; columns i and i + head_dim / 2 of a
/// head form a pair (the reference's rotate_half). Throws InputError if the shapes do not match.
INSTRUCTBLIP_EXPORT void apply_rotary(MutableMatrixView x, const RotaryAngles& angles);

}  // namespace instructblip
