// The vision tower, a ViT (EVA-CLIP g/14 in the published checkpoints).
// "InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning",
// https://arxiv.org/abs/2305.06500. Mirrors the first part of transformers'
// models/instructblip/modeling_instructblip.py; the original is LAVIS' models/eva_vit.py.
//
// How it differs from CLIP's vision tower: queries, keys and values come from one linear layer, the
// norm after the encoder is applied to all positions, and once more to the class position that is
// returned as pooler_output.
//
// Layers take ragged rows, [rows, hidden_size]: the 1 + patches positions of all images one after
// the other.
#pragma once

#include <filesystem>
#include <vector>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/export.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/row_table.h"
#include "instructblip/models/load_options.h"

namespace instructblip {

/// p: patches of an image. Lists are empty unless asked for.
struct BaseModelOutputWithPooling {
  Tensor last_hidden_state;  // [batch, 1 + p, hidden_size], after the final norm
  Tensor pooler_output;      // [batch, hidden_size], the class position
  /// layers + 1 of the shape of last_hidden_state; [0]: embeddings, the last: before the final
  /// norm.
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;  // of each layer [batch, heads, 1 + p, 1 + p]
};

/// What `InstructBlipVisionModel::forward` takes besides the pixels.
struct VisionForwardOptions {
  /// Interpolates the position table, so that pictures of another size than the trained one pass.
  bool interpolate_pos_encoding = false;
  bool output_hidden_states = false;
  bool output_attentions = false;
};

/// Patches of the picture and a class position, with their positions added.
class INSTRUCTBLIP_EXPORT InstructBlipVisionEmbeddings {
 public:
  InstructBlipVisionEmbeddings(const Weights& weights, const InstructBlipVisionConfig& config);

  /// pixel_values [batch, 3, height, width] -> [batch * (1 + patches), hidden_size]. What is left
  /// over on the right and at the bottom of a picture is not seen. Throws InputError if the patches
  /// are not as many as the position table has, unless it is interpolated.
  Matrix operator()(const TensorView& pixel_values, bool interpolate_pos_encoding) const;

  /// The position table [1 + patches, hidden_size] for pictures of this size in pixels: bicubic
  /// (A = -0.75, no antialiasing) over the patches; the class position stays.
  Tensor interpolate_pos_encoding(Index height, Index width) const;

 private:
  void check(const TensorView& pixel_values, bool interpolate) const;
  /// One image [3, height, width] -> its patches [patches, 3 * patch_size * patch_size].
  Matrix patches(const float* pixels, Index height, Index width) const;

  Index embed_dim_, patch_size_, image_size_;
  Index grid_;  // patches of a side of the trained picture
  Tensor class_embedding_;
  PreparedMatrix patch_embedding_;  // a convolution whose stride is its size: one product
  Tensor patch_bias_;
  Tensor position_embedding_;  // [1, 1 + grid * grid, hidden_size]
};

/// Multi-headed self-attention; every position sees every other of its image.
class INSTRUCTBLIP_EXPORT InstructBlipAttention {
 public:
  InstructBlipAttention(const Weights& weights, const InstructBlipVisionConfig& config);

  /// residual += projection(attention(hidden_states)), both [rows, hidden_size]. `attentions`, if
  /// given, becomes [batch, heads, positions, positions].
  void operator()(MatrixView hidden_states, const RowTable& rows, MutableMatrixView residual,
                  Tensor* attentions) const;

 private:
  Index embed_dim_;
  AttentionShape shape_;
  Linear qkv_;  // [rows, hidden_size] -> queries, keys, values side by side
  Linear projection_;
};

/// fc2(act(fc1(x))).
class INSTRUCTBLIP_EXPORT InstructBlipMLP {
 public:
  InstructBlipMLP(const Weights& weights, const InstructBlipVisionConfig& config);

  /// residual += the result for hidden_states [rows, hidden_size].
  void operator()(MatrixView hidden_states, MutableMatrixView residual) const;

 private:
  Activation activation_fn_;
  Linear fc1_, fc2_;
};

/// Norms stand before attention and feed-forward.
class INSTRUCTBLIP_EXPORT InstructBlipEncoderLayer {
 public:
  InstructBlipEncoderLayer(const Weights& weights, const InstructBlipVisionConfig& config);

  /// hidden_states [rows, hidden_size], in place.
  void operator()(MutableMatrixView hidden_states, const RowTable& rows, Tensor* attentions) const;

 private:
  InstructBlipAttention self_attn_;
  LayerNorm layer_norm1_;
  InstructBlipMLP mlp_;
  LayerNorm layer_norm2_;
};

/// The layers one after the other.
class INSTRUCTBLIP_EXPORT InstructBlipEncoder {
 public:
  InstructBlipEncoder(const Weights& weights, const InstructBlipVisionConfig& config);

  /// hidden_states [rows, hidden_size], in place; what `options` ask for goes to `output`.
  void operator()(Matrix& hidden_states, const RowTable& rows, const VisionForwardOptions& options,
                  BaseModelOutputWithPooling& output) const;

 private:
  std::vector<InstructBlipEncoderLayer> layers_;
};

/// The whole tower. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipVisionModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`. Throws ConfigError for a
  /// configuration that cannot be.
  InstructBlipVisionModel(const Weights& weights, const InstructBlipVisionConfig& config);
  /// From its own folder or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static InstructBlipVisionModel from_pretrained(const std::filesystem::path& path,
                                                 const LoadOptions& options = {});

  /// pixel_values: floating-point [batch, 3, height, width], normalised as BlipImageProcessor does
  /// it. An image gives the same bits alone and in any batch. Throws InputError on a shape that
  /// does not fit.
  BaseModelOutputWithPooling forward(const TensorView& pixel_values,
                                     const VisionForwardOptions& options = {}) const;

  const InstructBlipVisionConfig& config() const { return config_; }

 private:
  InstructBlipVisionConfig config_;
  InstructBlipVisionEmbeddings embeddings_;
  InstructBlipEncoder encoder_;
  LayerNorm post_layernorm_;
};

}  // namespace instructblip
