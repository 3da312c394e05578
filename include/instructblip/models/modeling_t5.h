// T5 (v1.0, v1.1, Flan), the language model of instructblip-flan-t5-xl and -xxl.
// "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
// https://arxiv.org/abs/1910.10683. Mirrors transformers' models/t5/modeling_t5.py.
//
// Differs from LLaMA and OPT in:
// - an encoder reads the prompt; the decoder looks at it through cross-attention, whose keys and
//   values are computed once for each prompt and shared by all sequences that continue it;
// - positions are a bias on the scores by distance, held by block 0 and shared by all blocks;
// - scores are not scaled;
// - the hidden states outgrow float16: they are float32 here whatever type the weights have.
//
// Layers take ragged rows, [rows, d_model]: the positions of all sequences one after the other.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "instructblip/configuration/configuration_t5.h"
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
#include "instructblip/models/t5_position_bias.h"

namespace instructblip {

/// The root mean square norm of T5.
using T5LayerNorm = RMSNorm;

/// wo(act(wi(x))), or gated (v1.1, Flan): wo(act(wi_0(x)) * wi_1(x)).
class INSTRUCTBLIP_EXPORT T5DenseActDense {
 public:
  T5DenseActDense(const Weights& weights, const T5Config& config);

  /// residual += the result for hidden_states [rows, d_model].
  void operator()(MatrixView hidden_states, MutableMatrixView residual) const;

 private:
  Linear wi_;                   // wi, or wi_0 where gated
  std::optional<Linear> wi_1_;  // gated
  Linear wo_;
  Activation act_;
};

/// hidden_states += feed-forward(norm(hidden_states)).
class INSTRUCTBLIP_EXPORT T5LayerFF {
 public:
  T5LayerFF(const Weights& weights, const T5Config& config);

  /// hidden_states [rows, d_model], in place.
  void operator()(MutableMatrixView hidden_states) const;

 private:
  T5DenseActDense dense_relu_dense_;
  T5LayerNorm layer_norm_;
};

/// Attention among the rows of one stack.
class INSTRUCTBLIP_EXPORT T5LayerSelfAttention {
 public:
  T5LayerSelfAttention(const Weights& weights, const T5Config& config, Index layer_idx);

  /// hidden_states [rows, d_model], in place; position_bias per sequence. With a cache: causal,
  /// over what it holds too. Without: every row sees its whole sequence.
  void operator()(MutableMatrixView hidden_states, const RowTable& rows,
                  const std::vector<Tensor>& position_bias, KvCache* cache,
                  std::vector<std::vector<Tensor>>* attentions) const;

 private:
  AttentionShape shape_;
  Index layer_idx_;
  Linear qkv_;  // q, k, v stacked
  Linear o_;
  T5LayerNorm layer_norm_;
};

/// The encoder's keys and values for one block: [encoder rows, keys beside values].
using T5EncoderKeyValues = Matrix;

/// Attention of the decoder to the encoder's rows.
class INSTRUCTBLIP_EXPORT T5LayerCrossAttention {
 public:
  T5LayerCrossAttention(const Weights& weights, const T5Config& config);

  /// Keys and values of encoder_hidden_states [encoder rows, d_model].
  T5EncoderKeyValues key_values(MatrixView encoder_hidden_states) const;
  /// hidden_states [rows, d_model], in place. Sequence s sees the encoder's sequence sources[s].
  void operator()(MutableMatrixView hidden_states, const RowTable& rows,
                  const T5EncoderKeyValues& key_values, const RowTable& encoder_rows,
                  const std::vector<Index>& sources,
                  std::vector<std::vector<Tensor>>* attentions) const;

 private:
  AttentionShape shape_;
  Linear q_;
  Linear kv_;  // k, v stacked
  Linear o_;
  T5LayerNorm layer_norm_;
};

/// Self-attention, cross-attention (decoder only), feed-forward.
struct INSTRUCTBLIP_EXPORT T5Block {
  T5Block(const Weights& weights, const T5Config& config, bool is_decoder, Index layer_idx);

  T5LayerSelfAttention self_attention;
  std::optional<T5LayerCrossAttention> cross_attention;
  T5LayerFF feed_forward;
};

/// What the decoder carries on from call to call. Copies of a sequence share what they have in
/// common, and the encoder's keys and values are never copied.
class INSTRUCTBLIP_EXPORT T5DecoderState : public DecoderState {
 public:
  T5DecoderState(KvCache empty, const RowTable& encoder_row_table);

  Index sequences() const override { return cache.sequences(); }
  Index length(Index sequence) const override { return cache.length(sequence); }
  void reorder(std::span<const Index> sources) override;
  void truncate(Index sequence, Index length) override;
  const Tensor* encoder_last_hidden_state() const override { return &encoder_hidden; }
  const CapturedStates* encoder_states() const override { return &encoder_captured; }

  KvCache cache;
  std::vector<std::vector<Index>> positions;  // of the cached keys of each sequence
  std::vector<Index> encoder_sequences;       // whose prompt each sequence continues
  RowTable encoder_rows;
  std::vector<T5EncoderKeyValues> encoder_key_values;  // of each block
  Tensor encoder_hidden;                               // [encoder rows, d_model]
  CapturedStates encoder_captured;
};

/// The encoder or the decoder.
class INSTRUCTBLIP_EXPORT T5Stack {
 public:
  /// `shared`: the embedding that the stack's own is tied to, and where it was read.
  T5Stack(const Weights& weights, const T5Config& config, bool is_decoder, const Embedding& shared,
          const Weights& shared_weights);

  /// The encoder: inputs_embeds [rows, d_model] -> last hidden state [rows, d_model].
  Matrix encode(MatrixView inputs_embeds, const RowTable& rows, const ForwardCapture& capture,
                CapturedStates& states) const;
  /// The decoder: inputs_embeds [rows, d_model] follow what `state` holds of their sequences.
  Matrix decode(MatrixView inputs_embeds, const RowTable& rows, T5DecoderState& state,
                const ForwardCapture& capture, CapturedStates& states) const;
  /// The decoder's cross-attention keys and values of each block.
  std::vector<T5EncoderKeyValues> key_values(MatrixView encoder_hidden_states) const;

  const Embedding& embed_tokens() const { return embed_tokens_; }

 private:
  Embedding embed_tokens_;
  T5RelativePositionBias relative_attention_bias_;
  std::vector<T5Block> block_;
  T5LayerNorm final_layer_norm_;
};

/// The arguments of `forward`, with the reference's names. Views of the caller's tensors; one
/// without data is an argument that was not given.
struct Seq2SeqInputs {
  TensorView input_ids{};               // int64 [batch, length]; either this or inputs_embeds
  TensorView attention_mask{};          // [batch, length], 1 or 0; default: all 1
  TensorView decoder_input_ids{};       // int64 [batch, decoder length]
  TensorView decoder_attention_mask{};  // [batch, decoder length], 1 or 0; default: all 1
  TensorView inputs_embeds{};           // float32 [batch, length, d_model]
  TensorView decoder_inputs_embeds{};   // float32 [batch, decoder length, d_model]
  /// int64 [batch, decoder length]: what each decoder position predicts; -100 is not counted.
  /// Without decoder ids they are made from these: the start id, then the labels but the last.
  TensorView labels{};
  bool output_hidden_states = false;
  bool output_attentions = false;

  ForwardCapture capture() const { return {output_hidden_states, output_attentions}; }
};

/// The encoder alone. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT T5EncoderModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`.
  T5EncoderModel(const Weights& weights, const T5Config& config);
  /// From its own folder, a whole T5's or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static T5EncoderModel from_pretrained(const std::filesystem::path& path,
                                        const LoadOptions& options = {});

  /// A padded batch, as the reference's forward; the decoder's arguments are not read. Throws
  /// InputError on ids outside the vocabulary and on shapes that do not fit.
  BaseModelOutput forward(const Seq2SeqInputs& inputs) const;

  const T5Config& config() const { return config_; }
  const Embedding& shared() const { return shared_; }
  const T5Stack& encoder() const { return encoder_; }

 private:
  T5Config config_;
  Embedding shared_;
  T5Stack encoder_;
};

/// Encoder and decoder without the head. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT T5Model {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`.
  T5Model(const Weights& weights, const T5Config& config);
  /// From its own folder, a T5ForConditionalGeneration's or a whole InstructBLIP checkpoint's.
  /// Throws ConfigError or CheckpointError.
  static T5Model from_pretrained(const std::filesystem::path& path,
                                 const LoadOptions& options = {});

  /// A padded batch, as the reference's forward. Throws InputError on ids outside the vocabulary
  /// and on shapes that do not fit.
  Seq2SeqModelOutput forward(const Seq2SeqInputs& inputs) const;

  /// Runs the encoder over inputs_embeds [rows, d_model]; the decoder then has no positions yet.
  std::unique_ptr<T5DecoderState> start(MatrixView inputs_embeds, const RowTable& rows,
                                        const ForwardCapture& capture) const;

  const T5Config& config() const { return config_; }
  const Embedding& shared() const { return shared_; }
  const T5Stack& encoder() const { return encoder_; }
  const T5Stack& decoder() const { return decoder_; }

 private:
  T5Config config_;
  Embedding shared_;
  T5Stack encoder_, decoder_;
};

/// The model with its head. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT T5ForConditionalGeneration : public LanguageModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`. Without a head (a
  /// checkpoint of the bare model) there are no logits.
  T5ForConditionalGeneration(const Weights& weights, const T5Config& config, bool with_head = true);
  /// From its own folder or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static T5ForConditionalGeneration from_pretrained(const std::filesystem::path& path,
                                                    const LoadOptions& options = {});

  /// A padded batch, as the reference's forward. Throws InputError on ids outside the vocabulary
  /// and on shapes that do not fit.
  Seq2SeqLMOutput forward(const Seq2SeqInputs& inputs) const;

  const T5Config& config() const { return model_.config(); }
  const T5Model& model() const { return model_; }

  const LanguageModelTraits& traits() const override { return traits_; }
  Matrix embed_tokens(std::span<const std::int64_t> ids) const override;
  Matrix embed_decoder_tokens(std::span<const std::int64_t> ids) const override;
  std::unique_ptr<DecoderState> start(MatrixView prompt, const RowTable& rows,
                                      const ForwardCapture& capture = {}) const override;
  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor logits = LogitsFor::LastRow,
                      const ForwardCapture& capture = {}) const override;

 private:
  /// Before the head: d_model^-0.5 where the configuration scales.
  float output_scale() const;

  T5Model model_;
  Linear lm_head_;
  LanguageModelTraits traits_;
};

}  // namespace instructblip
