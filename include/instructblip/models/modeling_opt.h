// OPT, the language model of BLIP-2 style checkpoints (InstructBLIP's default text_config).
// "OPT: Open Pre-trained Transformer Language Models", https://arxiv.org/abs/2205.01068.
// Mirrors transformers' models/opt/modeling_opt.py.
//
// It differs from LLaMA (modeling_llama.h) in:
// - learned positions, in a table of max_position_embeddings + 2 rows;
// - LayerNorm before (most sizes) or after (opt-350m) attention and feed-forward;
// - embeddings that may be narrower than the hidden states (opt-350m), with projections in both
//   directions;
// - a feed-forward block without a gate, and biases nearly everywhere.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/core/error.h"
#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/state_recorder.h"
#include "instructblip/models/language_model_base.h"

namespace instructblip {
namespace detail {

inline LayerNorm opt_layer_norm(const Weights& weights, const OPTConfig& config) {
  constexpr double kEps = 1e-5;  // torch's default; the reference reads no key for it
  return config.layer_norm_elementwise_affine ? LayerNorm(weights, config.hidden_size, kEps)
                                              : LayerNorm(config.hidden_size, kEps);
}

}  // namespace detail

/// Position embeddings. The first two rows of the table are unused.
class OPTLearnedPositionalEmbedding {
 public:
  OPTLearnedPositionalEmbedding(const Weights& weights, const OPTConfig& config)
      : max_position_embeddings_(config.max_position_embeddings),
        table_(weights, config.max_position_embeddings + offset, config.hidden_size) {}

  /// Adds the embeddings of the rows' positions to hidden_states [rows, hidden_size]. Throws
  /// InputError if a position is beyond the table.
  void add_to(MutableMatrixView hidden_states, const RowTable& rows) const {
    std::vector<std::int64_t> table_rows;
    for (const Index position : rows.positions) {
      if (position < 0 || position >= max_position_embeddings_) {
        throw InputError("OPT: position " + std::to_string(position) +
                         " is beyond the position table, whose last position is " +
                         std::to_string(max_position_embeddings_ - 1) +
                         " (max_position_embeddings " + std::to_string(max_position_embeddings_) +
                         "); shorten the prompt or the answer");
      }
      table_rows.push_back(position + offset);
    }
    add_rows(table_(table_rows), hidden_states);
  }

 private:
  static constexpr Index offset = 2;
  Index max_position_embeddings_;
  Embedding table_;
};

/// Self-attention with as many key-value heads as query heads.
class OPTAttention {
 public:
  OPTAttention(const Weights& weights, const OPTConfig& config, Index layer_idx)
      : shape_{.num_heads = config.num_attention_heads,
               .num_key_value_heads = config.num_attention_heads,
               .head_dim = config.hidden_size / config.num_attention_heads,
               .scale = 1.0f / std::sqrt(static_cast<float>(config.hidden_size /
                                                            config.num_attention_heads))},
        layer_idx_(layer_idx),
        qkv_proj_({{weights["q_proj"], config.hidden_size},
                   {weights["k_proj"], config.hidden_size},
                   {weights["v_proj"], config.hidden_size}},
                  config.hidden_size, config.enable_bias),
        out_proj_(weights["out_proj"], config.hidden_size, config.hidden_size, config.enable_bias) {
  }

  /// Adds out_proj(attention) for hidden_states [rows, hidden_size] to residual. Each row attends
  /// to the cache and to the rows of its sequence up to its own.
  void operator()(MatrixView hidden_states, KvCache& cache, const RowTable& rows,
                  MutableMatrixView residual, StateRecorder& states) const {
    const Index width = hidden_states.cols;
    const Matrix qkv = qkv_proj_(hidden_states);
    const MatrixView query_states = qkv.view().middle_cols(0, width);
    const MatrixView key_states = qkv.view().middle_cols(width, width);
    const MatrixView value_states = qkv.view().middle_cols(2 * width, width);
    cache.write(layer_idx_, key_states, value_states, rows);

    std::vector<AttentionSequence> sequences = cached_attention(cache, layer_idx_, rows);
    states.add_attentions(sequences, shape_.num_heads);
    out_proj_(attend(query_states, shape_, sequences), residual, {.residual = residual});
  }

 private:
  AttentionShape shape_;
  Index layer_idx_;
  Linear qkv_proj_;  // q_proj, k_proj, v_proj stacked
  Linear out_proj_;
};

/// A decoder layer, with norms before attention and feed-forward, or after them
/// (do_layer_norm_before).
class OPTDecoderLayer {
 public:
  OPTDecoderLayer(const Weights& weights, const OPTConfig& config, Index layer_idx)
      : self_attn_(weights["self_attn"], config, layer_idx),
        do_layer_norm_before_(config.do_layer_norm_before),
        activation_fn_(activation_from_name(config.activation_function, "activation_function")),
        self_attn_layer_norm_(detail::opt_layer_norm(weights["self_attn_layer_norm"], config)),
        fc1_(weights["fc1"], config.hidden_size, config.ffn_dim, config.enable_bias),
        fc2_(weights["fc2"].sensitive(), config.ffn_dim, config.hidden_size, config.enable_bias),
        final_layer_norm_(detail::opt_layer_norm(weights["final_layer_norm"], config)) {}

  /// Updates hidden_states [rows, hidden_size] in place.
  void operator()(MutableMatrixView hidden_states, KvCache& cache, const RowTable& rows,
                  StateRecorder& states) const {
    const Epilogue activation{.activation = activation_fn_};
    const Epilogue add_residual{.residual = hidden_states};
    if (do_layer_norm_before_) {
      self_attn_(self_attn_layer_norm_(hidden_states), cache, rows, hidden_states, states);
      fc2_(fc1_(final_layer_norm_(hidden_states), activation), hidden_states, add_residual);
    } else {
      self_attn_(Matrix::copy_of(hidden_states), cache, rows, hidden_states, states);
      self_attn_layer_norm_(hidden_states, hidden_states);
      fc2_(fc1_(hidden_states, activation), hidden_states, add_residual);
      final_layer_norm_(hidden_states, hidden_states);
    }
  }

 private:
  OPTAttention self_attn_;
  bool do_layer_norm_before_;
  Activation activation_fn_;
  LayerNorm self_attn_layer_norm_;
  Linear fc1_, fc2_;
  LayerNorm final_layer_norm_;
};

/// Embeddings, positions, layers, and the projections before and after the layers.
class OPTDecoder {
 public:
  OPTDecoder(const Weights& weights, const OPTConfig& config)
      : embed_tokens_(weights["embed_tokens"], config.vocab_size,
                      config.resolved_word_embed_proj_dim()),
        embed_positions_(weights["embed_positions"], config) {
    const Index word_embed_proj_dim = config.resolved_word_embed_proj_dim();
    if (word_embed_proj_dim != config.hidden_size) {
      project_out_.emplace(weights["project_out"], config.hidden_size, word_embed_proj_dim, false);
      project_in_.emplace(weights["project_in"], word_embed_proj_dim, config.hidden_size, false);
    }
    if (config.do_layer_norm_before && !config.remove_final_layer_norm) {
      final_layer_norm_ = detail::opt_layer_norm(weights["final_layer_norm"], config);
    }
    const Weights layers = weights["layers"].quantized(weights.recipe().language_model);
    for (Index i = 0; i < config.num_hidden_layers; ++i) {
      layers_.emplace_back(layers[i], config, i);
    }
  }

  /// inputs_embeds [rows, word_embed_proj_dim] -> last hidden state [rows, word_embed_proj_dim].
  Matrix operator()(MatrixView inputs_embeds, const RowTable& rows, KvCache& cache,
                    StateRecorder& states) const {
    Matrix hidden_states =
        project_in_ ? (*project_in_)(inputs_embeds) : Matrix::copy_of(inputs_embeds);
    embed_positions_.add_to(hidden_states, rows);
    cache.extend(rows);
    for (const OPTDecoderLayer& decoder_layer : layers_) {
      states.add_hidden_states(hidden_states);
      decoder_layer(hidden_states, cache, rows, states);
    }
    if (final_layer_norm_) (*final_layer_norm_)(hidden_states, hidden_states);
    if (project_out_) hidden_states = (*project_out_)(hidden_states);
    states.add_hidden_states(hidden_states);
    return hidden_states;
  }

  const Embedding& embed_tokens() const { return embed_tokens_; }

 private:
  Embedding embed_tokens_;
  OPTLearnedPositionalEmbedding embed_positions_;
  std::optional<Linear> project_out_, project_in_;
  std::optional<LayerNorm> final_layer_norm_;
  std::vector<OPTDecoderLayer> layers_;
};

/// The model without its head. Immutable; safe to call from several threads.
class OPTModel : public DecoderOnlyModel<OPTModel, OPTConfig> {
 public:
  static constexpr std::string_view kName = "OPTModel";
  static constexpr std::string_view kProbe = "decoder.embed_positions.weight";
  static constexpr bool kTiedUnlessStored = false;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  OPTModel(const Weights& weights, const OPTConfig& config)
      : DecoderOnlyModel(config, config.resolved_word_embed_proj_dim()),
        decoder_(weights["decoder"], config) {
    traits_.forward_positions_from_mask = true;
  }

  /// Like OPTDecoder. Throws InputError if a position is beyond the table.
  Matrix operator()(MatrixView inputs_embeds, const RowTable& rows, KvCache& cache,
                    StateRecorder& states) const {
    return decoder_(inputs_embeds, rows, cache, states);
  }

  KvCache new_cache(Index sequences) const {
    return {config_.num_hidden_layers, config_.hidden_size, sequences};
  }
  const Embedding& get_input_embeddings() const { return decoder_.embed_tokens(); }
  static Weights embedding_scope(const Weights& weights) {
    return weights["decoder"]["embed_tokens"];
  }
  float output_scale() const { return 1.0f; }

 private:
  OPTDecoder decoder_;
};

/// The model with its head.
using OPTForCausalLM = LanguageModelWithHead<OPTModel>;

}  // namespace instructblip
