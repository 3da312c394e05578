// LLaMA (Vicuna), the language model of instructblip-vicuna-7b and -13b.
// "LLaMA: Open and Efficient Foundation Language Models", https://arxiv.org/abs/2302.13971.
// Mirrors transformers' models/llama/modeling_llama.py.
//
// Layers take ragged rows, [rows, hidden_size]: the positions of all sequences one after the other.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/core/export.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/rotary.h"
#include "instructblip/models/causal_lm_inputs.h"
#include "instructblip/models/decoder_support.h"
#include "instructblip/models/load_options.h"
#include "instructblip/models/modeling_outputs.h"

namespace instructblip {

/// Self-attention with rotary positions; several query heads may share a key head.
class INSTRUCTBLIP_EXPORT LlamaAttention {
 public:
  LlamaAttention(const Weights& weights, const LlamaConfig& config, Index layer_idx);

  /// residual += o_proj(attention over the cache and, causally, hidden_states [rows, hidden_size]).
  /// Probabilities are appended to `attentions` if it is given.
  void operator()(MatrixView hidden_states, const RotaryAngles& position_embeddings, KvCache& cache,
                  const RowTable& rows, MutableMatrixView residual,
                  std::vector<std::vector<Tensor>>* attentions) const;

 private:
  AttentionShape shape_;
  Index layer_idx_;
  Linear qkv_proj_;  // q_proj, k_proj, v_proj stacked
  Linear o_proj_;
};

/// down_proj(act(gate_proj(x)) * up_proj(x)).
class INSTRUCTBLIP_EXPORT LlamaMLP {
 public:
  LlamaMLP(const Weights& weights, const LlamaConfig& config);

  /// residual += the result for hidden_states [rows, hidden_size].
  void operator()(MatrixView hidden_states, MutableMatrixView residual) const;

 private:
  Linear gate_proj_, up_proj_, down_proj_;
  Activation act_fn_;
};

/// Norms stand before attention and feed-forward.
class INSTRUCTBLIP_EXPORT LlamaDecoderLayer {
 public:
  LlamaDecoderLayer(const Weights& weights, const LlamaConfig& config, Index layer_idx);

  /// hidden_states [rows, hidden_size], in place.
  void operator()(MutableMatrixView hidden_states, const RotaryAngles& position_embeddings,
                  KvCache& cache, const RowTable& rows,
                  std::vector<std::vector<Tensor>>* attentions) const;

 private:
  RMSNorm input_layernorm_;
  LlamaAttention self_attn_;
  RMSNorm post_attention_layernorm_;
  LlamaMLP mlp_;
};

/// The model without its head. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT LlamaModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`.
  LlamaModel(const Weights& weights, const LlamaConfig& config);
  /// From its own folder, from a LlamaForCausalLM's or from a whole InstructBLIP checkpoint's.
  /// Throws ConfigError or CheckpointError.
  static LlamaModel from_pretrained(const std::filesystem::path& path,
                                    const LoadOptions& options = {});

  /// A padded batch, as the reference's forward. Positions are the columns, whatever the mask.
  /// Throws InputError on ids outside the vocabulary and on shapes that do not fit.
  BaseModelOutputWithPast forward(const CausalLMInputs& inputs) const;

  /// Ragged rows: inputs_embeds [rows, hidden_size] follow what `cache` holds of their sequences ->
  /// last hidden state [rows, hidden_size]. Captured values are appended to `states`.
  Matrix operator()(MatrixView inputs_embeds, const RowTable& rows, KvCache& cache,
                    const ForwardCapture& capture, CapturedStates& states) const;

  /// An empty cache of this model's sizes.
  KvCache new_cache(Index sequences) const;
  const LlamaConfig& config() const { return config_; }
  const Embedding& embed_tokens() const { return embed_tokens_; }

 private:
  LlamaConfig config_;
  Embedding embed_tokens_;
  RotaryEmbedding rotary_emb_;
  std::vector<LlamaDecoderLayer> layers_;
  RMSNorm norm_;
};

/// The model with its head. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT LlamaForCausalLM : public LanguageModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`. Without a head (a
  /// checkpoint of the bare model) there are no logits.
  LlamaForCausalLM(const Weights& weights, const LlamaConfig& config, bool with_head = true);
  /// From its own folder or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static LlamaForCausalLM from_pretrained(const std::filesystem::path& path,
                                          const LoadOptions& options = {});

  /// A padded batch, as the reference's forward. Throws InputError on ids outside the vocabulary
  /// and on shapes that do not fit.
  CausalLMOutputWithPast forward(const CausalLMInputs& inputs) const;

  const LlamaConfig& config() const { return model_.config(); }
  const LlamaModel& model() const { return model_; }

  const LanguageModelTraits& traits() const override { return traits_; }
  Matrix embed_tokens(std::span<const std::int64_t> ids) const override;
  std::unique_ptr<DecoderState> start(MatrixView prompt, const RowTable& rows,
                                      const ForwardCapture& capture = {}) const override;
  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor logits = LogitsFor::LastRow,
                      const ForwardCapture& capture = {}) const override;

 private:
  LlamaModel model_;
  Linear lm_head_;
  LanguageModelTraits traits_;
};

}  // namespace instructblip
