// What generation needs of a language model: embed ids, hold a cache, give logits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/layers/row_table.h"

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
  /// Positions in `forward`: over the tokens that the attention mask keeps (OPT) instead of over
  /// the columns (LLaMA). `generate` always counts the tokens that are kept.
  bool forward_positions_from_mask = false;
};

/// Which intermediate values a call keeps.
struct ForwardCapture {
  bool hidden_states = false;
  bool attentions = false;
};
/// The values that were kept, empty if not asked for. Hidden states are [layer] -> [rows,
/// hidden_size] over the ragged rows of the call, the embeddings first; attentions are
/// [layer][sequence] -> [heads, queries, keys].
struct CapturedStates {
  std::vector<Tensor> hidden_states;
  std::vector<std::vector<Tensor>> attentions;
  std::vector<std::vector<Tensor>> cross_attentions;
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
  /// Forgets all but the first `length` positions of a sequence.
  virtual void truncate(Index sequence, Index length) = 0;
  /// Encoder-decoder: the encoder's last hidden state [rows, hidden_size] and captured values; else
  /// nullptr.
  virtual const Tensor* encoder_last_hidden_state() const { return nullptr; }
  virtual const CapturedStates* encoder_states() const { return nullptr; }
};

/// Which rows of a `decode` get logits: the last of each sequence, all, or none.
enum class LogitsFor { LastRow, AllRows, None };

/// What `decode` gives.
struct DecodeOutput {
  /// LastRow: [sequences, vocab_size], of each sequence's last row; AllRows: [rows, vocab_size].
  /// float32.
  Tensor logits;
  /// [rows, embedding_size], after the final norm: what the head reads.
  Tensor last_hidden_state;
  CapturedStates states;
};

/// A language model with its head. Immutable: all methods are const and may run in several threads
/// at once.
class LanguageModel {
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
};

}  // namespace instructblip
