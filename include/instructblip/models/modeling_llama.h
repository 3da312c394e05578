// LLaMA (Vicuna), the language model of instructblip-vicuna-7b and -13b.
// "LLaMA: Open and Efficient Foundation Language Models", https://arxiv.org/abs/2302.13971.
// Mirrors transformers' models/llama/modeling_llama.py.
//
// Layers take ragged rows [rows, hidden_size]: the positions of all sequences, one after the other.
#pragma once

#include <cmath>
#include <string_view>
#include <vector>

#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/rotary.h"
#include "instructblip/layers/state_recorder.h"
#include "instructblip/models/language_model_base.h"

namespace instructblip {

/// The feed-forward block: down_proj(act(gate_proj(x)) * up_proj(x)).
class LlamaMLP {
 public:
  LlamaMLP(const Weights& weights, const LlamaConfig& config)
      : gate_proj_(weights["gate_proj"], config.hidden_size, config.intermediate_size,
                   config.mlp_bias),
        up_proj_(weights["up_proj"], config.hidden_size, config.intermediate_size, config.mlp_bias),
        down_proj_(weights["down_proj"], config.intermediate_size, config.hidden_size,
                   config.mlp_bias),
        act_fn_(activation_from_name(config.hidden_act)) {}

  /// Adds the result for hidden_states [rows, hidden_size] to residual.
  void operator()(MatrixView hidden_states, MutableMatrixView residual) const {
    const Matrix up = up_proj_(hidden_states);
    const Matrix gated = gate_proj_(hidden_states, {.activation = act_fn_, .gate = up});
    down_proj_(gated, residual, {.residual = residual});
  }

 private:
  Linear gate_proj_, up_proj_, down_proj_;
  Activation act_fn_;
};

/// Self-attention with rotary positions; several query heads may share one key-value head.
class LlamaAttention {
 public:
  LlamaAttention(const Weights& weights, const LlamaConfig& config, Index layer_idx)
      : shape_{.num_heads = config.num_attention_heads,
               .num_key_value_heads = config.resolved_num_key_value_heads(),
               .head_dim = config.resolved_head_dim(),
               .scale = 1.0f / std::sqrt(static_cast<float>(config.resolved_head_dim()))},
        layer_idx_(layer_idx),
        qkv_proj_({{weights["q_proj"], shape_.num_heads * shape_.head_dim},
                   {weights["k_proj"], shape_.num_key_value_heads * shape_.head_dim},
                   {weights["v_proj"], shape_.num_key_value_heads * shape_.head_dim}},
                  config.hidden_size, config.attention_bias),
        o_proj_(weights["o_proj"], shape_.num_heads * shape_.head_dim, config.hidden_size,
                config.attention_bias) {}

  /// Adds o_proj(attention) for hidden_states [rows, hidden_size] to residual. Each row attends to
  /// the cache and to the rows of its sequence up to its own.
  void operator()(MatrixView hidden_states, const RotaryAngles& position_embeddings, KvCache& cache,
                  const RowTable& rows, MutableMatrixView residual, StateRecorder& states) const {
    const Index query_width = shape_.num_heads * shape_.head_dim;
    const Index key_width = shape_.num_key_value_heads * shape_.head_dim;
    Matrix qkv = qkv_proj_(hidden_states);
    const MutableMatrixView query_states = qkv.view().middle_cols(0, query_width);
    const MutableMatrixView key_states = qkv.view().middle_cols(query_width, key_width);
    const MutableMatrixView value_states =
        qkv.view().middle_cols(query_width + key_width, key_width);
    apply_rotary(query_states, position_embeddings);
    apply_rotary(key_states, position_embeddings);
    cache.write(layer_idx_, key_states, value_states, rows);

    std::vector<AttentionSequence> sequences = cached_attention(cache, layer_idx_, rows);
    states.add_attentions(sequences, shape_.num_heads);
    o_proj_(attend(query_states, shape_, sequences), residual, {.residual = residual});
  }

 private:
  AttentionShape shape_;
  Index layer_idx_;
  Linear qkv_proj_;  // q_proj, k_proj, v_proj stacked
  Linear o_proj_;
};

/// A decoder layer, with norms before attention and feed-forward.
class LlamaDecoderLayer {
 public:
  LlamaDecoderLayer(const Weights& weights, const LlamaConfig& config, Index layer_idx)
      : self_attn_(weights["self_attn"], config, layer_idx),
        mlp_(weights["mlp"], config),
        input_layernorm_(weights["input_layernorm"], config.hidden_size, config.rms_norm_eps),
        post_attention_layernorm_(weights["post_attention_layernorm"], config.hidden_size,
                                  config.rms_norm_eps) {}

  /// Updates hidden_states [rows, hidden_size] in place.
  void operator()(MutableMatrixView hidden_states, const RotaryAngles& position_embeddings,
                  KvCache& cache, const RowTable& rows, StateRecorder& states) const {
    self_attn_(input_layernorm_(hidden_states), position_embeddings, cache, rows, hidden_states,
               states);
    mlp_(post_attention_layernorm_(hidden_states), hidden_states);
  }

 private:
  LlamaAttention self_attn_;
  LlamaMLP mlp_;
  RMSNorm input_layernorm_, post_attention_layernorm_;
};

/// The model without its head. Immutable; safe to call from several threads.
class LlamaModel : public DecoderOnlyModel<LlamaModel, LlamaConfig> {
 public:
  static constexpr std::string_view kName = "LlamaModel";
  static constexpr std::string_view kProbe = "norm.weight";
  static constexpr bool kTiedUnlessStored = false;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  LlamaModel(const Weights& weights, const LlamaConfig& config)
      : DecoderOnlyModel(config, config.hidden_size),
        embed_tokens_(embedding_scope(weights), config.vocab_size, config.hidden_size),
        rotary_emb_(config.rope_parameters, config.resolved_head_dim(),
                    config.max_position_embeddings),
        norm_(weights["norm"], config.hidden_size, config.rms_norm_eps) {
    const Weights layers = weights["layers"].quantized(weights.recipe().language_model);
    for (Index i = 0; i < config.num_hidden_layers; ++i) {
      layers_.emplace_back(layers[i], config, i);
    }
  }

  /// inputs_embeds [rows, hidden_size] -> last hidden state [rows, hidden_size], after the final
  /// norm.
  Matrix operator()(MatrixView inputs_embeds, const RowTable& rows, KvCache& cache,
                    StateRecorder& states) const {
    cache.extend(rows);
    Matrix hidden_states = Matrix::copy_of(inputs_embeds);
    const RotaryAngles position_embeddings = rotary_emb_(rows);
    for (const LlamaDecoderLayer& decoder_layer : layers_) {
      states.add_hidden_states(hidden_states);
      decoder_layer(hidden_states, position_embeddings, cache, rows, states);
    }
    norm_(hidden_states, hidden_states);
    states.add_hidden_states(hidden_states);
    return hidden_states;
  }

  KvCache new_cache(Index sequences) const {
    return {config_.num_hidden_layers,
            config_.resolved_num_key_value_heads() * config_.resolved_head_dim(), sequences};
  }
  const Embedding& get_input_embeddings() const { return embed_tokens_; }
  static Weights embedding_scope(const Weights& weights) { return weights["embed_tokens"]; }
  float output_scale() const { return 1.0f; }

 private:
  Embedding embed_tokens_;
  RotaryEmbedding rotary_emb_;
  std::vector<LlamaDecoderLayer> layers_;
  RMSNorm norm_;
};

/// The model with its head.
using LlamaForCausalLM = LanguageModelWithHead<LlamaModel>;

}  // namespace instructblip
