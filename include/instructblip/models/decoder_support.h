// What the language models share in serving generation/language_model.h.
#pragma once

#include <string>
#include <string_view>

#include "instructblip/configuration/text_config.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {

/// The state of a decoder-only model: its cache.
class DecoderOnlyState : public DecoderState {
 public:
  explicit DecoderOnlyState(KvCache empty) : cache(std::move(empty)) {}

  Index sequences() const override { return cache.sequences(); }
  Index length(Index sequence) const override { return cache.length(sequence); }
  void reorder(std::span<const Index> sources) override { cache.reorder(sources); }
  void truncate(Index sequence, Index length) override { cache.truncate(sequence, length); }

  KvCache cache;
};

/// What a configuration says about generation.
inline LanguageModelTraits traits_of(const TextConfig& config, Index embedding_size) {
  LanguageModelTraits traits;
  traits.is_encoder_decoder = !config.is_decoder_only();
  traits.vocab_size = config.vocab_size;
  traits.embedding_size = embedding_size;
  traits.max_position_embeddings = config.get_max_position_embeddings();
  traits.bos_token_id = config.bos_token_id;
  traits.eos_token_id = config.eos_token_id;
  traits.pad_token_id = config.pad_token_id;
  traits.decoder_start_token_id = config.decoder_start_token_id;
  return traits;
}

/// Throws InputError, naming `model`, unless `embeddings` is one row of `width` per row of the
/// table.
inline void check_rows(std::string_view model, MatrixView embeddings, const RowTable& rows,
                       Index width) {
  if (embeddings.rows != rows.rows() || (rows.rows() > 0 && embeddings.cols != width) ||
      static_cast<Index>(rows.positions.size()) != rows.rows()) {
    throw InputError(std::string(model) + ": embeddings [" + std::to_string(embeddings.rows) +
                     ", " + std::to_string(embeddings.cols) + "] and " +
                     std::to_string(rows.positions.size()) + " positions, expected [" +
                     std::to_string(rows.rows()) + ", " + std::to_string(width) +
                     "] and one position a row");
  }
}

/// The state as the model's own kind. Throws InputError if another kind of model began it, or if
/// the rows are of another number of sequences.
template <class State>
State& own_state(std::string_view model, DecoderState& state, const RowTable& rows) {
  auto* own = dynamic_cast<State*>(&state);
  if (own == nullptr) {
    throw InputError(std::string(model) + ": the state was begun by another kind of model");
  }
  if (state.sequences() != rows.sequences()) {
    throw InputError(std::string(model) + ": rows of " + std::to_string(rows.sequences()) +
                     " sequences, but the state holds " + std::to_string(state.sequences()));
  }
  return *own;
}

/// The head over the rows that are asked for. A sequence without rows gets zeros.
inline Tensor compute_logits(MatrixView hidden_states, const RowTable& rows, LogitsFor wanted,
                             const Linear& lm_head, float scale = 1.0f) {
  if (wanted == LogitsFor::None) return {};
  if (lm_head.empty()) throw InputError("the language model was loaded without its head");
  const Index vocab_size = lm_head.out_features();
  // scale * (x W^T) instead of (scale * x) W^T: the same but for rounding.
  const Epilogue epilogue{.scale = scale};
  if (wanted == LogitsFor::AllRows) return lm_head(hidden_states, epilogue).to_tensor();

  std::vector<Index> sequences;
  for (Index s = 0; s < rows.sequences(); ++s) {
    if (rows.count(s) > 0) sequences.push_back(s);
  }
  Matrix last(static_cast<Index>(sequences.size()), hidden_states.cols);
  for (Index i = 0; i < last.rows(); ++i) {
    const Index row = rows.begin(sequences[static_cast<std::size_t>(i)] + 1) - 1;
    std::copy_n(hidden_states.row(row), hidden_states.cols, last.row(i));
  }
  const Matrix logits = lm_head(last, epilogue);
  Tensor result(DType::Float32, {rows.sequences(), vocab_size});
  for (Index i = 0; i < logits.rows(); ++i) {
    std::copy_n(logits.row(i), vocab_size,
                result.data<float>() + sequences[static_cast<std::size_t>(i)] * vocab_size);
  }
  return result;
}

}  // namespace instructblip
