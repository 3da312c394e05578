// Ranking of candidate answers by likelihood, and LAVIS' short answers. Mirrors `predict_class` and
// `predict_answers` of LAVIS' blip2_vicuna_instruct.py and blip2_t5_instruct.py
// (https://github.com/salesforce/LAVIS).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/models/modeling_instructblip.h"
#include "instructblip/processing/processing_instructblip.h"
#include "instructblip/tasks/prompts.h"

namespace instructblip {

/// How candidates are scored.
struct RankOptions {
  /// Score by the mean log-likelihood of a candidate's tokens instead of the sum. (LAVIS' Vicuna
  /// divides by the length of the padded row, which is the same for all candidates of a call, so
  /// its order is that of the sums.)
  bool mean = false;
  /// Whether the end of the answer is scored too. Unset: as in LAVIS, true for an encoder-decoder
  /// (T5), false for a decoder-only model (Vicuna).
  std::optional<bool> score_eos = {};
  /// How many candidates are computed at a time. Affects memory and speed, not the scores.
  Index batch_size = 32;
};

/// The ranking of the candidates of B samples.
struct CandidateRanks {
  Tensor log_likelihoods;  // float32 [B, candidates]
  /// int64 [B, candidates]: indices of the candidates, the most likely first. Candidates with equal
  /// scores keep their order.
  Tensor ranks;
};

/// Computes how likely each candidate is as the answer to each prompt: the sum of the log
/// probabilities of its ids. A prompt is computed once for all candidates. A score does not depend
/// on the other candidates and prompts, not even in its last bit. Throws InputError, naming the
/// candidate, if there are no candidates, if a candidate is empty and its end is not scored, or if
/// an id is outside the vocabulary.
INSTRUCTBLIP_EXPORT CandidateRanks rank_candidates(
    const ImageTextToTextModel& model, const ImageTextToTextInputs& inputs,
    const std::vector<std::vector<std::int64_t>>& candidates, const RankOptions& options = {});

/// The same for texts, each with the same number of images. Candidates are appended to the prompt
/// without BOS, and with the tokenizer's EOS if the end is scored. The score depends on how the
/// tokenizer treats leading spaces: LLaMA and T5 add one, OPT does not. Texts are padded on the
/// right, as in LAVIS. LAVIS also cuts the Q-Former's text to its last 128 ids; here the caller
/// must do that, and a text that is too long for the Q-Former is an InputError.
INSTRUCTBLIP_EXPORT CandidateRanks rank_candidates(const ImageTextToTextModel& model,
                                                   const ImageTextToTextProcessor& processor,
                                                   const std::vector<Image>& images,
                                                   const std::vector<std::string>& prompts,
                                                   const std::vector<std::string>& candidates,
                                                   const RankOptions& options = {});

/// LAVIS' predict_class: the indices of the candidates of each sample, the most likely first, int64
/// [B, candidates]. Throws InputError like rank_candidates.
INSTRUCTBLIP_EXPORT Tensor predict_class(const ImageTextToTextModel& model,
                                         const ImageTextToTextProcessor& processor,
                                         const std::vector<Image>& images,
                                         const std::vector<std::string>& prompts,
                                         const std::vector<std::string>& candidates,
                                         const RankOptions& options = {});
/// The same with separate candidates for each prompt. Also throws InputError if the number of lists
/// differs from the number of prompts.
INSTRUCTBLIP_EXPORT std::vector<std::vector<std::int64_t>> predict_class(
    const ImageTextToTextModel& model, const ImageTextToTextProcessor& processor,
    const std::vector<Image>& images, const std::vector<std::string>& prompts,
    const std::vector<std::vector<std::string>>& candidates, const RankOptions& options = {});

/// LAVIS' arguments and defaults, without `inference_method`, `num_ans_candidates` and
/// `answer_list`, which LAVIS accepts but ignores.
struct INSTRUCTBLIP_EXPORT PredictAnswersOptions {
  /// The template for build_prompt; if empty, the question is used unchanged.
  std::string prompt = {};
  Index num_beams = 5;
  /// Maximum number of new ids; Vicuna's is one less, but at least 1. (LAVIS passes max_len as
  /// `max_new_tokens` to T5 and as `max_length` to Vicuna, where transformers 4.28 counts the BOS.)
  Index max_len = 10;
  /// Minimum number of ids before the end. As in LAVIS, this includes the start id (T5's start
  /// token, Vicuna's BOS), so that 1 is no restriction.
  Index min_len = 1;
  /// Unset: as in LAVIS, -1 for an encoder-decoder (T5), 0 for a decoder-only model (Vicuna).
  std::optional<double> length_penalty = {};
  double repetition_penalty = 1.5;

  /// The options with a task's prompt and decoding.
  static PredictAnswersOptions from(const TaskPreset& task);
};

/// Generates a short answer to each prompt by beam search with LAVIS' settings. repetition_penalty
/// applies to the answer only, because the language model receives embeddings and no prompt ids. An
/// answer ends at `eos_token_id` or, if that is empty, at text_config's. Throws InputError like the
/// model's `generate`.
INSTRUCTBLIP_EXPORT GenerateOutput predict_answers(const ImageTextToTextModel& model,
                                                   const ImageTextToTextInputs& inputs,
                                                   const PredictAnswersOptions& options = {},
                                                   const TokenIds& eos_token_id = {});

/// A short answer to each question, each with the same number of images. Answers end at the
/// tokenizer's EOS (the hub's Vicuna checkpoints have a different one in text_config). White space
/// is stripped from the answers of a decoder-only model. LAVIS' `apply_lemmatizer`, which reduces
/// nouns and verbs to their lemmas with spaCy, is left to the caller.
INSTRUCTBLIP_EXPORT std::vector<std::string> predict_answers(
    const ImageTextToTextModel& model, const ImageTextToTextProcessor& processor,
    const std::vector<Image>& images, const std::vector<PromptParts>& questions,
    const PredictAnswersOptions& options = {});

}  // namespace instructblip
