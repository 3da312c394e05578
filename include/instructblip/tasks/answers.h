// Answers beyond plain generation: how likely given candidates are, and LAVIS' short answers.
// Mirrors `predict_class` and `predict_answers` of LAVIS' blip2_vicuna_instruct.py and
// blip2_t5_instruct.py (https://github.com/salesforce/LAVIS).
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
  /// The mean log-likelihood of a candidate's tokens instead of their sum. LAVIS' Vicuna divides by
  /// the length of the padded row, which is the same for all candidates of a call and leaves the
  /// order of the sums.
  bool mean = false;
  /// Whether the end of the answer is scored too. Unset: as LAVIS does, yes for an encoder-decoder
  /// (T5), no for a decoder-only model (Vicuna).
  std::optional<bool> score_eos = {};
  /// Candidates that are computed at a time: a matter of memory and speed, never of the scores.
  Index batch_size = 32;
};

/// B samples with as many candidates each.
struct CandidateRanks {
  Tensor log_likelihoods;  // float32 [B, candidates]
  /// int64 [B, candidates]: candidates from the most to the least likely; equal ones in their
  /// order.
  Tensor ranks;
};

/// How likely the model is to answer each prompt with each of the candidates: the sum of the log
/// probabilities of a candidate's ids. The prompt is computed once for all of them. A score has the
/// same bits whatever other candidates and prompts are given. Throws InputError if there are no
/// candidates, if one is empty and its end is not scored, or on an id outside the vocabulary,
/// naming the candidate.
INSTRUCTBLIP_EXPORT CandidateRanks rank_candidates(
    const InstructBlipForConditionalGeneration& model, const InstructBlipInputs& inputs,
    const std::vector<std::vector<std::int64_t>>& candidates, const RankOptions& options = {});

/// The same for texts, each with the same number of images. Candidates follow the prompt as they
/// are, without BOS, and end with the tokenizer's EOS where the end is scored. Whatever the
/// tokenizer makes of a leading space (LLaMA and T5 put one in front, OPT does not) is part of the
/// score. Texts are padded on the right, as in LAVIS; LAVIS also cuts the Q-Former's to its last
/// 128 ids, which is left to the caller: beyond the Q-Former's positions it is an InputError.
INSTRUCTBLIP_EXPORT CandidateRanks rank_candidates(
    const InstructBlipForConditionalGeneration& model, const InstructBlipProcessor& processor,
    const std::vector<Image>& images, const std::vector<std::string>& prompts,
    const std::vector<std::string>& candidates, const RankOptions& options = {});

/// LAVIS' predict_class: the candidates of each sample from the most to the least likely, int64
/// [B, candidates]. Throws InputError as rank_candidates.
INSTRUCTBLIP_EXPORT Tensor predict_class(const InstructBlipForConditionalGeneration& model,
                                         const InstructBlipProcessor& processor,
                                         const std::vector<Image>& images,
                                         const std::vector<std::string>& prompts,
                                         const std::vector<std::string>& candidates,
                                         const RankOptions& options = {});
/// With candidates of its own for each sample; throws InputError too if they are not one list a
/// prompt.
INSTRUCTBLIP_EXPORT std::vector<std::vector<std::int64_t>> predict_class(
    const InstructBlipForConditionalGeneration& model, const InstructBlipProcessor& processor,
    const std::vector<Image>& images, const std::vector<std::string>& prompts,
    const std::vector<std::vector<std::string>>& candidates, const RankOptions& options = {});

/// LAVIS' arguments and defaults. `inference_method`, `num_ans_candidates` and `answer_list`, which
/// LAVIS takes and does not read, are left out.
struct INSTRUCTBLIP_EXPORT PredictAnswersOptions {
  /// See build_prompt; empty: the question as it is.
  std::string prompt = {};
  Index num_beams = 5;
  /// Ids at most; at least one comes. LAVIS passes it to T5 as `max_new_tokens`, to Vicuna as
  /// `max_length`, which counts the BOS there (transformers 4.28): one new id less.
  Index max_len = 10;
  /// Ids before the end at least, with the start id that LAVIS counts (T5's, Vicuna's BOS): 1 asks
  /// for nothing.
  Index min_len = 1;
  /// Unset: as LAVIS, -1 for an encoder-decoder (T5), 0 for a decoder-only model (Vicuna).
  std::optional<double> length_penalty = {};
  double repetition_penalty = 1.5;

  /// A task's prompt and decoding.
  static PredictAnswersOptions from(const TaskPreset& task);
};

/// The ids of a short answer for each prompt: beam search as LAVIS sets it. The language model is
/// given embeddings alone, so that repetition_penalty sees the answer and not the prompt. An answer
/// ends at `eos_token_id`; unset: at text_config's. Throws InputError as the model's `generate`.
INSTRUCTBLIP_EXPORT GenerateOutput
predict_answers(const InstructBlipForConditionalGeneration& model, const InstructBlipInputs& inputs,
                const PredictAnswersOptions& options = {}, const TokenIds& eos_token_id = {});

/// A short answer to each question, each with the same number of images. Answers end at the
/// tokenizer's EOS (the hub's Vicuna names another in text_config); those of a decoder-only model
/// are stripped of white space. LAVIS' `apply_lemmatizer` (nouns and verbs to their lemmas, by
/// spaCy) is left to the caller, who has the answers in hand.
INSTRUCTBLIP_EXPORT std::vector<std::string> predict_answers(
    const InstructBlipForConditionalGeneration& model, const InstructBlipProcessor& processor,
    const std::vector<Image>& images, const std::vector<PromptParts>& questions,
    const PredictAnswersOptions& options = {});

}  // namespace instructblip
