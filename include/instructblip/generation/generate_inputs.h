// What `generate` is given besides the model and the configuration.
#pragma once

#include <atomic>

#include "instructblip/core/tensor.h"
#include "instructblip/generation/logits_process.h"
#include "instructblip/generation/stopping_criteria.h"
#include "instructblip/generation/streamers.h"
#include "instructblip/layers/row_table.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {
namespace detail {
/// A tensor without elements has no data either, but a shape.
inline bool is_given(const TensorView& view) { return view.data != nullptr || view.rank() > 0; }
}  // namespace detail

/// What to continue. Views: the caller keeps the memory until `generate` returns. A view that
/// is left out was not given.
struct GenerateInputs {
  /// float32 [rows.rows(), embedding_size]: the prompts' embeddings, image features in their
  /// places, padding left out. Decoder-only: fed to the decoder; encoder-decoder: to the encoder.
  /// Not given: input_ids are embedded where attention_mask is not 0.
  MatrixView inputs_embeds = {};
  /// Which prompt and position each row of inputs_embeds belongs to; as many sequences as prompts.
  RowTable rows = {};
  /// int64 [batch, length]: the prompts as the reference sees them, with image placeholders and
  /// padding. Decoder-only: `sequences` begins with them and the logits processors see them; not
  /// given (with inputs_embeds): `sequences` holds new ids only. Encoder-decoder: read only if
  /// inputs_embeds is not given.
  TensorView input_ids = {};
  /// int64 [batch, length], 0 where input_ids (or the embeddings before padding was left out) are
  /// padding. Not given: nothing is, or (without inputs_embeds) what equals pad_token_id unless
  /// that is an eos id. Wider than input_ids where embeddings that no id stands for come first.
  TensorView attention_mask = {};
  /// int64 [batch, length], encoder-decoder only: the beginning of the answer. The start id is put
  /// in front unless a row begins with it.
  TensorView decoder_input_ids = {};
};

/// What `generate` calls, and what calls it off. Pointers are not owned.
struct GenerateCallbacks {
  /// Applied after the configuration's own processors and before those of sampling.
  LogitsProcessorList logits_processor = {};
  /// Asked after each step, after the configuration's own.
  StoppingCriteriaList stopping_criteria = {};
  /// Restricts each next id; see PrefixConstrainedLogitsProcessor.
  PrefixAllowedTokens prefix_allowed_tokens_fn = {};
  /// Sees ids as they come. Not with beams: throws InputError.
  BaseStreamer* streamer = nullptr;
  /// Needed for stop_strings.
  const Tokenizer* tokenizer = nullptr;
  /// Set it (from any thread) and generation ends after the step that runs.
  const std::atomic<bool>* cancelled = nullptr;
};

}  // namespace instructblip
