// The scores and probabilities of the ids that `generate` chose. Mirrors compute_transition_scores
// of transformers/generation/utils.py.
#pragma once

#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/generation_output.h"

namespace instructblip {

/// The score of each new id, float32 [rows, steps]: scores[step][the row's beam, id].
///   sequences     int64 [rows, length], GenerateOutput::sequences
///   scores        per step float32 [step rows, vocabulary], GenerateOutput::scores or logits
///   beam_indices  int32 [rows, steps], GenerateOutput::beam_indices; empty: row r is step row r
/// With `normalize_logits` the scores pass through log_softmax first. As in the reference, a row of
/// beam search has zeros after its end, and any other row the scores of its filler. Throws
/// InputError if the tensors do not fit each other; an id outside the vocabulary is an error unless
/// it is a beam's filler.
INSTRUCTBLIP_EXPORT Tensor compute_transition_scores(const TensorView& sequences,
                                                     const std::vector<Tensor>& scores,
                                                     const TensorView& beam_indices = {},
                                                     bool normalize_logits = false);

/// How probable an answer is under the model: log_softmax of its logits, before temperature,
/// penalties and all other processors.
struct AnswerProbability {
  /// The product over the new ids, among them the one that ends the answer.
  double probability = 1;
  /// log p of each new id, given those before it.
  std::vector<double> token_log_probs;
};

/// One for each row of `output`. Throws InputError unless it was generated with output_logits.
INSTRUCTBLIP_EXPORT std::vector<AnswerProbability> answer_probabilities(
    const GenerateOutput& output);

}  // namespace instructblip
