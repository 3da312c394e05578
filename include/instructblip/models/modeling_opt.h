// OPT, the language model of BLIP-2 style checkpoints (InstructBLIP's default text_config).
// "OPT: Open Pre-trained Transformer Language Models", https://arxiv.org/abs/2205.01068.
// Mirrors transformers' models/opt/modeling_opt.py.
//
// Differs from LLaMA (modeling_llama.h) in:
// - learned positions, with a table of max_position_embeddings + 2 rows;
// - LayerNorm before (most sizes) or after (opt-350m) attention and feed-forward;
// - embeddings that may be narrower than the hidden states (opt-350m), with a projection each way;
// - a plain feed-forward; biases nearly everywhere.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/core/export.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/models/causal_lm_inputs.h"
#include "instructblip/models/decoder_support.h"
#include "instructblip/models/load_options.h"
#include "instructblip/models/modeling_outputs.h"

namespace instructblip {

/// A table of positions whose first two rows belong to no position.
class INSTRUCTBLIP_EXPORT OPTLearnedPositionalEmbedding {
 public:
  OPTLearnedPositionalEmbedding(const Weights& weights, const OPTConfig& config);

  /// hidden_states [rows, hidden_size] += the rows' positions. Throws InputError on a position
  /// beyond the table.
  void add_to(MutableMatrixView hidden_states, const RowTable& rows) const;

 private:
  static constexpr Index offset = 2;
  Index max_position_embeddings_;
  Embedding table_;
};

/// Self-attention; every query head has a key head of its own.
class INSTRUCTBLIP_EXPORT OPTAttention {
 public:
  OPTAttention(const Weights& weights, const OPTConfig& config, Index layer_idx);

  /// residual += out_proj(attention over the cache and, causally, hidden_states [rows,
  /// hidden_size]). Probabilities are appended to `attentions` if it is given.
  void operator()(MatrixView hidden_states, KvCache& cache, const RowTable& rows,
                  MutableMatrixView residual, std::vector<std::vector<Tensor>>* attentions) const;

 private:
  AttentionShape shape_;
  Index layer_idx_;
  Linear qkv_proj_;  // q_proj, k_proj, v_proj stacked
  Linear out_proj_;
};

/// Norms stand before attention and feed-forward, or after them (do_layer_norm_before).
class INSTRUCTBLIP_EXPORT OPTDecoderLayer {
 public:
  OPTDecoderLayer(const Weights& weights, const OPTConfig& config, Index layer_idx);

  /// hidden_states [rows, hidden_size], in place.
  void operator()(MutableMatrixView hidden_states, KvCache& cache, const RowTable& rows,
                  std::vector<std::vector<Tensor>>* attentions) const;

 private:
  bool do_layer_norm_before_;
  OPTAttention self_attn_;
  LayerNorm self_attn_layer_norm_;
  Linear fc1_, fc2_;
  LayerNorm final_layer_norm_;
  Activation activation_fn_;
};

/// Embeddings, positions, layers and the projections around them.
class INSTRUCTBLIP_EXPORT OPTDecoder {
 public:
  OPTDecoder(const Weights& weights, const OPTConfig& config);

  /// inputs_embeds [rows, word_embed_proj_dim] follow what `cache` holds of their sequences -> last
  /// hidden state [rows, word_embed_proj_dim]. Captured values are appended to `states`.
  Matrix operator()(MatrixView inputs_embeds, const RowTable& rows, KvCache& cache,
                    const ForwardCapture& capture, CapturedStates& states) const;

  const Embedding& embed_tokens() const { return embed_tokens_; }

 private:
  Index word_embed_proj_dim_;
  Embedding embed_tokens_;
  OPTLearnedPositionalEmbedding embed_positions_;
  std::optional<Linear> project_in_, project_out_;
  std::vector<OPTDecoderLayer> layers_;
  std::optional<LayerNorm> final_layer_norm_;
};

/// The model without its head. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT OPTModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`.
  OPTModel(const Weights& weights, const OPTConfig& config);
  /// From its own folder, from an OPTForCausalLM's or from a whole InstructBLIP checkpoint's.
  /// Throws ConfigError or CheckpointError.
  static OPTModel from_pretrained(const std::filesystem::path& path,
                                  const LoadOptions& options = {});

  /// A padded batch, as the reference's forward. Positions count the kept columns alone. Throws
  /// InputError on ids outside the vocabulary, positions beyond the table, and shapes that do not
  /// fit.
  BaseModelOutputWithPast forward(const CausalLMInputs& inputs) const;

  /// An empty cache of this model's sizes.
  KvCache new_cache(Index sequences) const;
  const OPTConfig& config() const { return config_; }
  const OPTDecoder& decoder() const { return decoder_; }

 private:
  OPTConfig config_;
  OPTDecoder decoder_;
};

/// The model with its head. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT OPTForCausalLM : public LanguageModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`. Without a head (a
  /// checkpoint of the bare model) there are no logits.
  OPTForCausalLM(const Weights& weights, const OPTConfig& config, bool with_head = true);
  /// From its own folder or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static OPTForCausalLM from_pretrained(const std::filesystem::path& path,
                                        const LoadOptions& options = {});

  /// A padded batch, as the reference's forward. Throws InputError on ids outside the vocabulary,
  /// positions beyond the table, and shapes that do not fit.
  CausalLMOutputWithPast forward(const CausalLMInputs& inputs) const;

  const OPTConfig& config() const { return model_.config(); }
  const OPTModel& model() const { return model_; }

  const LanguageModelTraits& traits() const override { return traits_; }
  Matrix embed_tokens(std::span<const std::int64_t> ids) const override;
  std::unique_ptr<DecoderState> start(MatrixView prompt, const RowTable& rows,
                                      const ForwardCapture& capture = {}) const override;
  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor logits = LogitsFor::LastRow,
                      const ForwardCapture& capture = {}) const override;

 private:
  OPTModel model_;
  Linear lm_head_;
  LanguageModelTraits traits_;
};

}  // namespace instructblip
