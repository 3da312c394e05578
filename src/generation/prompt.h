// The prompts of one call of `generate`: what the model is fed and what the logits processors see.
// Internal to generation.
#pragma once

#include <cstdint>
#include <vector>

#include "generation/resolved_config.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/generate_inputs.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/padded_batch.h"

namespace instructblip::detail {

struct Prompt {
  bool is_encoder_decoder = false;
  /// int64 [prompts, length]: the ids that `sequences` begins with. For an encoder-decoder these
  /// are the decoder's. Embeddings without ids have length 0.
  Tensor ids;
  /// Encoder-decoder: int64 [prompts, any length], the encoder's ids as far as they are known.
  Tensor encoder_ids;
  /// Where the rows of `embeddings` lie in the padded prompts (of an encoder-decoder: the
  /// encoder's). It is longer than `ids` if embeddings without ids come first.
  PaddedBatch batch;
  /// What the model is fed: the caller's embeddings or `embedded`.
  MatrixView embeddings;
  Matrix embedded;  // the ids, if the caller gave no embeddings

  Index size() const { return batch.batch; }
  Index length() const { return ids.dim(1); }
  std::vector<std::int64_t> ids_of(Index prompt) const { return row_of(ids, prompt); }
  std::vector<std::int64_t> encoder_ids_of(Index prompt) const {
    return is_encoder_decoder ? row_of(encoder_ids, prompt) : std::vector<std::int64_t>{};
  }
  /// Where the ids of an encoder-decoder's decoder lie.
  RowTable decoder_rows() const { return RowTable::uniform(size(), length()); }
  /// The prompts that `copies` sequences each continue, for DecoderState::reorder.
  std::vector<Index> copied(Index copies) const {
    std::vector<Index> sources;
    for (Index i = 0; i < size() * copies; ++i) sources.push_back(i / copies);
    return sources;
  }

 private:
  static std::vector<std::int64_t> row_of(const Tensor& ids, Index prompt) {
    const std::int64_t* const begin = ids.data<std::int64_t>() + prompt * ids.dim(1);
    return {begin, begin + ids.dim(1)};
  }
};

/// Throws InputError if the inputs do not fit each other or the model.
Prompt prepare_prompt(const LanguageModel& model, const GenerateInputs& inputs,
                      const ResolvedConfig& resolved);

}  // namespace instructblip::detail
