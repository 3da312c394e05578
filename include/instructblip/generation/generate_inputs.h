// The arguments of `generate` besides the model and the configuration.
#pragma once

#include <atomic>

#include "instructblip/core/tensor.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/generation/logits_process.h"
#include "instructblip/generation/stopping_criteria.h"
#include "instructblip/generation/streamers.h"
#include "instructblip/layers/padded_batch.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {

/// The prompts. The caller keeps the memory of the views until `generate` returns. A
/// default-constructed view counts as not given.
struct GenerateInputs {
  /// float32 [batch.rows.rows(), embedding_size]: the prompts' embeddings with the image features
  /// in place and without padding. A decoder-only model's decoder reads them, or an
  /// encoder-decoder's encoder. Not given: input_ids are embedded.
  MatrixView inputs_embeds = {};
  /// Where the rows of inputs_embeds lie in the padded prompts. An encoder takes its positions; for
  /// a decoder-only model `generate` counts positions without padding, like the reference. Needed
  /// with inputs_embeds, not read otherwise.
  PaddedBatch batch = {};
  /// int64 [batch, length]: the prompts with image placeholders and padding, as in the reference.
  /// Decoder-only: `sequences` begins with them and the logits processors see them. Not given (with
  /// inputs_embeds): `sequences` holds new ids only. They may be narrower than `batch`, if
  /// embeddings without ids come first. Encoder-decoder: with inputs_embeds, only drafts read them
  /// (GenerationConfig::prompt_lookup_num_tokens).
  TensorView input_ids = {};
  /// [batch, length] of 0 (padding) and 1, read only without inputs_embeds. Not given: ids that
  /// equal pad_token_id are padding, unless it is also an eos id.
  TensorView attention_mask = {};
  /// int64 [batch, length], encoder-decoder only: the beginning of the answer. The start id is put
  /// in front unless a row begins with it.
  TensorView decoder_input_ids = {};
};

/// Functions and objects that `generate` calls during a generation. Pointers are not owned.
struct GenerateCallbacks {
  /// Run after the configuration's own processors and before those of sampling.
  LogitsProcessorList logits_processor = {};
  /// Evaluated after each step, after the configuration's own criteria.
  StoppingCriteriaList stopping_criteria = {};
  /// Restricts each next id; see PrefixConstrainedLogitsProcessor.
  PrefixAllowedTokens prefix_allowed_tokens_fn = {};
  /// Receives ids as they are generated. Throws InputError with beam search.
  BaseStreamer* streamer = nullptr;
  /// Needed for stop_strings.
  const Tokenizer* tokenizer = nullptr;
  /// When any thread sets it, generation ends after the current step.
  const std::atomic<bool>* cancelled = nullptr;
  /// A smaller model of the same kind and vocabulary whose guesses the model verifies; see
  /// GenerationConfig::num_assistant_tokens. The result is the same with and without it.
  /// prompt_lookup_num_tokens takes precedence, as in the reference.
  const LanguageModel* assistant_model = nullptr;
  /// The prompts as the assistant embeds them: `embed_prompt` of its own
  /// InstructBlipForConditionalGeneration. Not given: it embeds input_ids.
  const EmbeddedBatch* assistant_prompt = nullptr;
};

}  // namespace instructblip
