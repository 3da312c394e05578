// T5 (v1.0, v1.1, Flan), the language model of instructblip-flan-t5-xl and -xxl.
// "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
// https://arxiv.org/abs/1910.10683. Mirrors transformers' models/t5/modeling_t5.py.
//
// It differs from LLaMA and OPT in:
// - an encoder for the prompt, to which the decoder attends by cross-attention; its keys and values
//   are computed once per prompt and shared by all sequences that continue it;
// - positions as a bias on the attention scores that depends on the distance; block 0 has the
//   table, and all blocks use it;
// - attention scores that are not scaled;
// - hidden states beyond the range of float16; here they are always float32.
//
// Layers take ragged rows [rows, d_model]: the positions of all sequences, one after the other.
#pragma once

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/configuration/configuration_t5.h"
#include "instructblip/core/index.h"
#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/state_recorder.h"
#include "instructblip/models/language_model_base.h"
#include "instructblip/models/t5_position_bias.h"

namespace instructblip {

/// T5's norm.
using T5LayerNorm = RMSNorm;

/// The feed-forward block: wo(act(wi(x))), or with a gate (v1.1, Flan) wo(act(wi_0(x)) * wi_1(x)).
class T5DenseActDense {
 public:
  T5DenseActDense(const Weights& weights, const T5Config& config)
      : wo_(weights["wo"], config.d_ff, config.d_model, false),
        act_(activation_from_name(config.resolved_dense_act_fn(), "dense_act_fn")) {
    const bool gated = config.resolved_is_gated_act();
    wi_ = Linear(weights[gated ? "wi_0" : "wi"], config.d_model, config.d_ff, false);
    if (gated) wi_1_.emplace(weights["wi_1"], config.d_model, config.d_ff, false);
  }

  /// Adds the result for hidden_states [rows, d_model] to residual.
  void operator()(MatrixView hidden_states, MutableMatrixView residual) const {
    Epilogue epilogue{.activation = act_};
    Matrix linear;
    if (wi_1_) {
      linear = (*wi_1_)(hidden_states);
      epilogue.gate = linear;
    }
    wo_(wi_(hidden_states, epilogue), residual, {.residual = residual});
  }

 private:
  Linear wi_;                   // wi, or wi_0 with a gate
  std::optional<Linear> wi_1_;  // with a gate
  Linear wo_;
  Activation act_;
};

/// hidden_states += feed-forward(norm(hidden_states)).
class T5LayerFF {
 public:
  T5LayerFF(const Weights& weights, const T5Config& config)
      : DenseReluDense_(weights["DenseReluDense"], config),
        layer_norm_(weights["layer_norm"], config.d_model, config.layer_norm_epsilon) {}

  /// Updates hidden_states [rows, d_model] in place.
  void operator()(MutableMatrixView hidden_states) const {
    DenseReluDense_(layer_norm_(hidden_states), hidden_states);
  }

 private:
  T5DenseActDense DenseReluDense_;
  T5LayerNorm layer_norm_;
};

/// The shape of T5's attention; scores are not scaled.
inline AttentionShape t5_attention_shape(const T5Config& config) {
  return {.num_heads = config.num_heads,
          .num_key_value_heads = config.num_heads,
          .head_dim = config.d_kv,
          .scale = 1.0f};
}

/// Self-attention of the encoder or the decoder.
class T5LayerSelfAttention {
 public:
  T5LayerSelfAttention(const Weights& weights, const T5Config& config, Index layer_idx)
      : shape_(t5_attention_shape(config)),
        layer_idx_(layer_idx),
        qkv_({{weights["SelfAttention"]["q"], config.num_heads * config.d_kv},
              {weights["SelfAttention"]["k"], config.num_heads * config.d_kv},
              {weights["SelfAttention"]["v"], config.num_heads * config.d_kv}},
             config.d_model, false),
        o_(weights["SelfAttention"]["o"], config.num_heads * config.d_kv, config.d_model, false),
        layer_norm_(weights["layer_norm"], config.d_model, config.layer_norm_epsilon) {}

  /// Updates hidden_states [rows, d_model] in place. position_bias has one tensor per sequence.
  /// With a cache, attention is causal and includes the cached positions; without one, each row
  /// attends to its whole sequence.
  void operator()(MutableMatrixView hidden_states, const RowTable& rows,
                  const std::vector<Tensor>& position_bias, KvCache* cache,
                  StateRecorder& states) const {
    const Index inner_dim = shape_.num_heads * shape_.head_dim;
    const Matrix qkv = qkv_(layer_norm_(hidden_states));
    const MatrixView query_states = qkv.view().middle_cols(0, inner_dim);
    const MatrixView key_states = qkv.view().middle_cols(inner_dim, inner_dim);
    const MatrixView value_states = qkv.view().middle_cols(2 * inner_dim, inner_dim);
    std::vector<AttentionSequence> sequences;
    if (cache != nullptr) {
      cache->write(layer_idx_, key_states, value_states, rows);
      sequences = cached_attention(*cache, layer_idx_, rows);
    } else {
      sequences = self_attention(key_states, value_states, rows);
    }
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      sequences[s].bias = position_bias[s].data<float>();
      sequences[s].bias_query_stride = position_bias[s].dim(2);
      sequences[s].bias_head_stride = position_bias[s].dim(1) * position_bias[s].dim(2);
    }
    states.add_attentions(sequences, shape_.num_heads);
    o_(attend(query_states, shape_, sequences), hidden_states, {.residual = hidden_states});
  }

 private:
  AttentionShape shape_;
  Index layer_idx_;
  Linear qkv_;  // q, k, v stacked
  Linear o_;
  T5LayerNorm layer_norm_;
};

/// The encoder's keys and values for one block, side by side: [encoder rows, 2 * num_heads * d_kv].
using T5EncoderKeyValues = Matrix;

/// Cross-attention of the decoder to the encoder.
class T5LayerCrossAttention {
 public:
  T5LayerCrossAttention(const Weights& weights, const T5Config& config)
      : shape_(t5_attention_shape(config)),
        q_(weights["EncDecAttention"]["q"], config.d_model, config.num_heads * config.d_kv, false),
        kv_({{weights["EncDecAttention"]["k"], config.num_heads * config.d_kv},
             {weights["EncDecAttention"]["v"], config.num_heads * config.d_kv}},
            config.d_model, false),
        o_(weights["EncDecAttention"]["o"], config.num_heads * config.d_kv, config.d_model, false),
        layer_norm_(weights["layer_norm"], config.d_model, config.layer_norm_epsilon) {
    // Checkpoints of T5 v1.0 have a table here that the model does not use.
    weights["EncDecAttention"]["relative_attention_bias"].ignore();
  }

  /// The keys and values of encoder_hidden_states [encoder rows, d_model].
  T5EncoderKeyValues key_values(MatrixView encoder_hidden_states) const {
    return kv_(encoder_hidden_states);
  }
  /// Updates hidden_states [rows, d_model] in place. Sequence s attends to sequence sources[s] of
  /// the encoder.
  void operator()(MutableMatrixView hidden_states, const RowTable& rows,
                  const T5EncoderKeyValues& key_values, const RowTable& encoder_rows,
                  const std::vector<Index>& sources, StateRecorder& states) const {
    const Index inner_dim = shape_.num_heads * shape_.head_dim;
    const MatrixView key_states = key_values.view().middle_cols(0, inner_dim);
    const MatrixView value_states = key_values.view().middle_cols(inner_dim, inner_dim);
    const Matrix query_states = q_(layer_norm_(hidden_states));
    std::vector<AttentionSequence> sequences =
        cross_attention(key_states, value_states, rows, encoder_rows, nullptr, sources);
    states.add_cross_attentions(sequences, shape_.num_heads);
    o_(attend(query_states, shape_, sequences), hidden_states, {.residual = hidden_states});
  }

 private:
  AttentionShape shape_;
  Linear q_;
  Linear kv_;  // k, v stacked
  Linear o_;
  T5LayerNorm layer_norm_;
};

/// Self-attention, cross-attention (only in the decoder) and feed-forward.
struct T5Block {
  T5Block(const Weights& weights, const T5Config& config, bool is_decoder, Index layer_idx)
      : self_attention(weights["layer"][0], config, layer_idx),
        feed_forward(weights["layer"][is_decoder ? 2 : 1], config) {
    if (is_decoder) cross_attention.emplace(weights["layer"][1], config);
  }

  T5LayerSelfAttention self_attention;
  std::optional<T5LayerCrossAttention> cross_attention;
  T5LayerFF feed_forward;
};

/// The state that the decoder keeps between calls. Sequences with a common prefix share its cached
/// blocks; the encoder's keys and values are never copied.
class T5DecoderState : public DecoderState {
 public:
  T5DecoderState(KvCache empty, const RowTable& encoder_row_table)
      : cache(std::move(empty)),
        positions(to_size(encoder_row_table.sequences())),
        encoder_rows(encoder_row_table) {
    for (Index s = 0; s < encoder_rows.sequences(); ++s) encoder_sequences.push_back(s);
  }

  Index sequences() const override { return cache.sequences(); }
  Index length(Index sequence) const override { return cache.length(sequence); }
  void reorder(std::span<const Index> sources) override {
    cache.reorder(sources);
    positions = selected(positions, sources);
    encoder_sequences = selected(encoder_sequences, sources);
  }
  void truncate(Index sequence, Index length) override {
    cache.truncate(sequence, length);
    at(positions, sequence).resize(to_size(length));
  }
  const Matrix* encoder_last_hidden_state() const override { return &encoder_hidden; }
  const StateRecorder* encoder_states() const override { return &encoder_recorded; }

  KvCache cache;
  std::vector<std::vector<Index>> positions;  // per sequence: positions of the cached keys
  std::vector<Index> encoder_sequences;       // per sequence: the encoder sequence it uses
  RowTable encoder_rows;
  std::vector<T5EncoderKeyValues> encoder_key_values;  // per block
  Matrix encoder_hidden;                               // [encoder rows, d_model]
  StateRecorder encoder_recorded;
};

/// The encoder or the decoder.
class T5Stack {
 public:
  /// `shared` is the embedding that this stack uses, unless the checkpoint has a different one
  /// below `weights`; `shared_weights` is its scope.
  T5Stack(const Weights& weights, const T5Config& config, bool is_decoder, const Embedding& shared,
          const Weights& shared_weights)
      : embed_tokens_(own_embedding(weights["embed_tokens"], config, shared, shared_weights)),
        relative_attention_bias_(
            weights["block"][0]["layer"][0]["SelfAttention"]["relative_attention_bias"], config,
            !is_decoder),
        final_layer_norm_(weights["final_layer_norm"], config.d_model, config.layer_norm_epsilon) {
    const Index layers = is_decoder ? config.resolved_num_decoder_layers() : config.num_layers;
    const Weights blocks = weights["block"].quantized(weights.recipe().language_model);
    for (Index i = 0; i < layers; ++i) {
      block_.emplace_back(blocks[i], config, is_decoder, i);
    }
  }

  /// Runs the encoder: inputs_embeds [rows, d_model] -> last hidden state [rows, d_model].
  Matrix encode(MatrixView inputs_embeds, const RowTable& rows, StateRecorder& states) const {
    std::vector<std::vector<Index>> key_positions(to_size(rows.sequences()));
    append_positions(rows, key_positions);
    const std::vector<Tensor> position_bias = relative_attention_bias_(rows, key_positions);
    Matrix hidden_states = Matrix::copy_of(inputs_embeds);
    for (const T5Block& block : block_) {
      states.add_hidden_states(hidden_states);
      block.self_attention(hidden_states, rows, position_bias, nullptr, states);
      block.feed_forward(hidden_states);
    }
    final_layer_norm_(hidden_states, hidden_states);
    states.add_hidden_states(hidden_states);
    return hidden_states;
  }

  /// Runs the decoder: inputs_embeds [rows, d_model], which continue the sequences in `state` ->
  /// last hidden state [rows, d_model].
  Matrix decode(MatrixView inputs_embeds, const RowTable& rows, T5DecoderState& state,
                StateRecorder& states) const {
    append_positions(rows, state.positions);
    state.cache.extend(rows);
    const std::vector<Tensor> position_bias = relative_attention_bias_(rows, state.positions);
    Matrix hidden_states = Matrix::copy_of(inputs_embeds);
    for (std::size_t i = 0; i < block_.size(); ++i) {
      states.add_hidden_states(hidden_states);
      block_[i].self_attention(hidden_states, rows, position_bias, &state.cache, states);
      (*block_[i].cross_attention)(hidden_states, rows, state.encoder_key_values[i],
                                   state.encoder_rows, state.encoder_sequences, states);
      block_[i].feed_forward(hidden_states);
    }
    final_layer_norm_(hidden_states, hidden_states);
    states.add_hidden_states(hidden_states);
    return hidden_states;
  }

  /// The keys and values of the decoder's cross-attention, per block.
  std::vector<T5EncoderKeyValues> key_values(MatrixView encoder_hidden_states) const {
    std::vector<T5EncoderKeyValues> key_values;
    for (const T5Block& block : block_) {
      key_values.push_back(block.cross_attention->key_values(encoder_hidden_states));
    }
    return key_values;
  }

  const Embedding& embed_tokens() const { return embed_tokens_; }

 private:
  static Embedding own_embedding(const Weights& weights, const T5Config& config,
                                 const Embedding& shared, const Weights& shared_weights) {
    if (detail::is_tied(weights, shared_weights, {config.vocab_size, config.d_model})) {
      return shared;
    }
    detail::warn_untied(weights, shared_weights);
    return Embedding(weights, config.vocab_size, config.d_model);
  }
  static void append_positions(const RowTable& rows, std::vector<std::vector<Index>>& positions) {
    for (Index s = 0; s < rows.sequences(); ++s) {
      std::vector<Index>& own = at(positions, s);
      own.insert(own.end(), rows.positions.begin() + rows.begin(s),
                 rows.positions.begin() + rows.begin(s + 1));
    }
  }

  Embedding embed_tokens_;
  T5RelativePositionBias relative_attention_bias_;
  std::vector<T5Block> block_;
  T5LayerNorm final_layer_norm_;
};

/// Encoder and decoder without the head. Immutable; safe to call from several threads.
class T5Model : public LanguageModel {
 public:
  using Config = T5Config;
  static constexpr std::string_view kName = "T5Model";
  static constexpr bool kTiedUnlessStored = true;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  T5Model(const Weights& weights, const T5Config& config)
      : config_(validated(config)),
        traits_(detail::traits_of(config, config.d_model)),
        shared_(embedding_scope(weights), config.vocab_size, config.d_model),
        encoder_(weights["encoder"], config, false, shared_, embedding_scope(weights)),
        decoder_(weights["decoder"], config, true, shared_, embedding_scope(weights)) {
    weights["lm_head"].ignore();  // unless a head reads it
  }
  /// Loads the model's own folder, that of a T5ForConditionalGeneration, or its part of an
  /// InstructBLIP checkpoint. Throws ConfigError or CheckpointError.
  static T5Model from_pretrained(const std::filesystem::path& path,
                                 const LoadOptions& options = {}) {
    return detail::load_model<T5Model>(path, options, {"", "language_model"}, probe_with_head());
  }

  KvCache new_cache(Index sequences) const {
    return {config_.resolved_num_decoder_layers(), config_.num_heads * config_.d_kv, sequences};
  }
  const T5Config& config() const { return config_; }
  const T5Stack& encoder() const { return encoder_; }
  const T5Stack& decoder() const { return decoder_; }

  const LanguageModelTraits& traits() const override { return traits_; }
  Matrix embed_tokens(std::span<const std::int64_t> ids) const override { return shared_(ids); }
  Matrix embed_decoder_tokens(std::span<const std::int64_t> ids) const override {
    return decoder_.embed_tokens()(ids);
  }
  std::unique_ptr<DecoderState> start(MatrixView prompt, const RowTable& rows,
                                      const ForwardCapture& capture) const override {
    detail::check_rows(kName, prompt, rows, config_.d_model);
    auto state = std::make_unique<T5DecoderState>(new_cache(rows.sequences()), rows);
    state->encoder_recorded = StateRecorder(capture);
    state->encoder_hidden = encoder_.encode(prompt, rows, state->encoder_recorded);
    state->encoder_key_values = decoder_.key_values(state->encoder_hidden);
    return state;
  }
  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor logits, const ForwardCapture& capture) const override {
    detail::check_headless(logits);
    auto& own = detail::own_state<T5DecoderState>(kName, state, rows);
    detail::check_rows(kName, embeddings, rows, config_.d_model);
    DecodeOutput output;
    output.states = StateRecorder(capture);
    output.last_hidden_state = decoder_.decode(embeddings, rows, own, output.states);
    return output;
  }

  const Embedding& get_input_embeddings() const { return shared_; }
  /// The embedding that all others are tied to: `shared` or, if the checkpoint does not have it,
  /// that of the encoder or the decoder.
  static Weights embedding_scope(const Weights& weights) {
    for (const Weights& place : {weights["shared"], weights["encoder"]["embed_tokens"],
                                 weights["decoder"]["embed_tokens"]}) {
      if (place["weight"].exists()) return place;
    }
    return weights["shared"];
  }
  static Weights scope(const Weights& weights) { return weights; }
  static std::string probe_with_head() { return "encoder.final_layer_norm.weight"; }
  /// d_model^-0.5 if the configuration scales the decoder's output, else 1.
  float output_scale() const {
    return config_.scale_decoder_outputs ? 1.0f / std::sqrt(static_cast<float>(config_.d_model))
                                         : 1.0f;
  }

 private:
  T5Config config_;
  LanguageModelTraits traits_;
  Embedding shared_;
  T5Stack encoder_, decoder_;
};

/// The model with its head.
using T5ForConditionalGeneration = LanguageModelWithHead<T5Model>;

}  // namespace instructblip
