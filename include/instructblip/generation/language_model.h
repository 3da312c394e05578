// LanguageModel: what generation and the facade need of a language model. It embeds ids, keeps a
// cache and gives logits; `forward` is the reference's, over a padded batch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/layers/padded_batch.h"
#include "instructblip/layers/row_table.h"
#include "instructblip/layers/state_recorder.h"

namespace instructblip {

/// What a language model's configuration says about generation (`text_config` of a checkpoint).
struct LanguageModelTraits {
  bool is_encoder_decoder = false;
  Index vocab_size = 0;
  /// Width of the embeddings that `embed_tokens` returns and `decode` takes.
  Index embedding_size = 0;
  /// Longest sequence (max_position_embeddings); absent: no bound (T5).
  std::optional<Index> max_position_embeddings;
  std::optional<std::int64_t> bos_token_id;
  std::vector<std::int64_t> eos_token_id;
  std::optional<std::int64_t> pad_token_id;
  std::optional<std::int64_t> decoder_start_token_id;
  /// Positions in `forward`: counted over the tokens that the attention mask keeps (OPT) instead of
  /// over the columns (LLaMA). `generate` always counts the tokens that are kept.
  bool forward_positions_from_mask = false;
  /// Bytes that every further sequence of a generation takes at least; 0 if unknown.
  Index bytes_per_sequence = 0;
  /// Without a head there are no logits (LlamaModel, OPTModel, T5Model).
  bool has_head = true;
};

/// The state of one generation: cached keys and values, and for an encoder-decoder the encoder's
/// output.
class DecoderState {
 public:
  virtual ~DecoderState() = default;
  virtual Index sequences() const = 0;
  /// Positions that sequence s has been fed so far (decoder positions for an encoder-decoder).
  virtual Index length(Index sequence) const = 0;
  /// New sequence i continues old sequence sources[i]; any number of new sequences.
  virtual void reorder(std::span<const Index> sources) = 0;
  /// Forgets all but the first `length` positions of a sequence. Throws InputError if it has fewer.
  virtual void truncate(Index sequence, Index length) = 0;
  /// Encoder-decoder: the encoder's last hidden state [rows, hidden_size] and recorded values; else
  /// nullptr.
  virtual const Matrix* encoder_last_hidden_state() const { return nullptr; }
  virtual const StateRecorder* encoder_states() const { return nullptr; }
};

/// Which rows of a `decode` get logits: the last of each sequence, all, or none.
enum class LogitsFor { LastRow, AllRows, None };

/// What `decode` gives.
struct DecodeOutput {
  /// LastRow: [sequences, vocab_size], of each sequence's last row; AllRows: [rows, vocab_size].
  /// float32.
  Tensor logits;
  /// [rows, embedding_size], after the final norm: what the head reads.
  Matrix last_hidden_state;
  StateRecorder states;
};

/// A label that is not counted.
inline constexpr std::int64_t kIgnoredLabel = -100;

/// The arguments of `forward`, with the reference's names. Views of the caller's tensors; one that
/// is left out was not given.
struct LanguageModelInputs {
  TensorView input_ids{};       // int64 [batch, length]; either this or inputs_embeds
  TensorView attention_mask{};  // [batch, length], 1 or 0; default: all 1
  /// Decoder-only: [batch, length] or [1, length]; default: as the model counts them.
  TensorView position_ids{};
  /// Encoder-decoder: int64 [batch, decoder length]; either this, decoder_inputs_embeds or labels.
  TensorView decoder_input_ids{};
  TensorView decoder_attention_mask{};  // [batch, decoder length], 1 or 0; default: all 1
  TensorView inputs_embeds{};           // float32 [batch, length, embedding_size]
  TensorView decoder_inputs_embeds{};   // float32 [batch, decoder length, embedding_size]
  /// int64, -100 is not counted. Decoder-only: [batch, length], each position predicts the next
  /// column's label. Encoder-decoder: [batch, decoder length], each decoder position predicts its
  /// own label; without decoder ids they are made from the labels: the start id, then all but the
  /// last label.
  TensorView labels{};
  bool output_hidden_states = false;
  bool output_attentions = false;
};

/// What `forward` returns: the fields of the reference's CausalLMOutputWithPast or Seq2SeqLMOutput
/// (of a model without a head: of its BaseModelOutputWithPast or Seq2SeqModelOutput). The other
/// kind's fields are empty, and so are lists that were not asked for. Masked positions hold zeros.
struct LanguageModelOutputs {
  std::optional<float> loss;  // given labels
  Tensor logits;              // [batch, length, vocab_size]; empty without a head
  Tensor last_hidden_state;   // [batch, length, embedding_size], after the final norm
  /// Decoder-only: layers + 1; [0]: embeddings, the last: after the final norm.
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;  // of each layer [batch, heads, length, length]
  /// Encoder-decoder; `length` above is the decoder's then.
  std::vector<Tensor> decoder_hidden_states;
  std::vector<Tensor> decoder_attentions;
  std::vector<Tensor> cross_attentions;  // of each layer [batch, heads, decoder length, length]
  Tensor encoder_last_hidden_state;
  std::vector<Tensor> encoder_hidden_states;
  std::vector<Tensor> encoder_attentions;
};

/// A language model, with or without its head. Immutable: all methods are const and may run in
/// several threads at once.
class INSTRUCTBLIP_EXPORT LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual const LanguageModelTraits& traits() const = 0;

  /// ids -> [ids, embedding_size], as the model embeds them (before positions). Throws InputError
  /// on an id outside the vocabulary.
  virtual Matrix embed_tokens(std::span<const std::int64_t> ids) const = 0;
  /// The same for the ids that are fed to `decode`: an encoder-decoder may have a table of its own
  /// for them.
  virtual Matrix embed_decoder_tokens(std::span<const std::int64_t> ids) const {
    return embed_tokens(ids);
  }

  /// Begins a generation over rows.sequences() sequences. Decoder-only: an empty cache; the prompt
  /// is then fed through `decode` (prompt is not read). Encoder-decoder: runs the encoder over
  /// prompt [rows, embedding_size]; the decoder's first ids are then fed through `decode`. Throws
  /// InputError if prompt and rows do not fit.
  virtual std::unique_ptr<DecoderState> start(MatrixView prompt, const RowTable& rows,
                                              const ForwardCapture& capture = {}) const = 0;

  /// Feeds rows.count(s) further positions of each sequence s (may be 0 for some), embeddings
  /// [rows, embedding_size] with rows.positions as positions, and gives logits. Rows see what the
  /// state holds and, causally, each other. Throws InputError if embeddings, rows and state do not
  /// fit, or if the state is another kind of model's.
  virtual DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                              LogitsFor logits = LogitsFor::LastRow,
                              const ForwardCapture& capture = {}) const = 0;

  /// The reference's forward over a padded batch, with logits if the model has a head. Throws
  /// InputError, naming the argument, on ids outside the vocabulary, positions beyond the model's
  /// table and shapes that do not fit.
  LanguageModelOutputs forward(const LanguageModelInputs& inputs) const;
  /// The same for prompts that are embedded already; input_ids, inputs_embeds, attention_mask and
  /// position_ids of `inputs` are not read. Positions are those of `prompt.batch`.
  LanguageModelOutputs forward(const EmbeddedBatch& prompt, const LanguageModelInputs& inputs,
                               LogitsFor logits) const;
};

}  // namespace instructblip
