// The arguments of a decoder-only model's `forward`, with the reference's names.
#pragma once

#include <string>

#include "instructblip/core/error.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/padded_batch.h"

namespace instructblip {

/// Views of the caller's tensors; one without data is an argument that was not given.
struct CausalLMInputs {
  TensorView input_ids{};       // int64 [batch, length]; either this or inputs_embeds
  TensorView attention_mask{};  // [batch, length], 1 or 0; default: all 1
  TensorView position_ids{};    // [batch, length] or [1, length]; default: as the model has it
  TensorView inputs_embeds{};   // float32 [batch, length, embedding size]
  /// int64 [batch, length]: each position predicts the next column's; -100 is not counted.
  TensorView labels{};
  bool output_hidden_states = false;
  bool output_attentions = false;

  ForwardCapture capture() const { return {output_hidden_states, output_attentions}; }
};

/// Embeds the ids, or takes the embeddings that were given. Throws InputError unless exactly one of
/// them was; `prefix` stands before the arguments' names in messages ("decoder_").
inline EmbeddedBatch embed_batch(const TensorView& input_ids, const TensorView& inputs_embeds,
                                 const TensorView& attention_mask, const Embedding& embed_tokens,
                                 const std::string& prefix = "") {
  if ((input_ids.data != nullptr) == (inputs_embeds.data != nullptr)) {
    throw InputError("exactly one of " + prefix + "input_ids and " + prefix +
                     "inputs_embeds is needed, found " +
                     (input_ids.data != nullptr ? "both" : "neither"));
  }
  const bool embedded = inputs_embeds.data != nullptr;
  const TensorView& given = embedded ? inputs_embeds : input_ids;
  if (given.rank() != (embedded ? 3 : 2)) {
    throw InputError(prefix + (embedded ? "inputs_embeds" : "input_ids") + " has the shape " +
                     to_string(given.shape) + ", expected " +
                     (embedded ? "[batch, length, width]" : "[batch, length]"));
  }
  EmbeddedBatch result{
      PaddedBatch(given.dim(0), given.dim(1), attention_mask, prefix + "attention_mask"), {}};
  result.embeddings = embedded ? result.batch.gather(inputs_embeds)
                               : embed_tokens(result.batch.gather_ids(input_ids));
  return result;
}

}  // namespace instructblip
