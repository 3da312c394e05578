// Beam search and beam sampling. Mirrors _beam_search of transformers/generation/utils.py, with its
// arithmetic in float32. Used by generate; not meant for callers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "generation/decoding.h"
#include "generation/resolved_config.h"
#include "generation/step_states.h"
#include "instructblip/generation/generation_output.h"

namespace instructblip::detail {

/// A beam, a candidate or an answer.
struct Hypothesis {
  std::vector<std::int64_t> ids;           // with the prompt
  std::vector<std::int32_t> beam_indices;  // one per new id
  float score = 0;
  bool is_finished = false;
  std::optional<FinishReason> reason;
  Index beam = 0;  // of its row that it continues
};

/// The beams of one prompt.
class BeamRow {
 public:
  BeamRow(const ResolvedConfig& resolved, Index batch_index,
          const std::vector<std::int64_t>& prompt);

  /// The best max(2, 1 + number of eos ids) * num_beams continuations of all running beams (drawn,
  /// in sampling), best first. log_probabilities: num_beams rows, processed.
  std::vector<Hypothesis> candidates(std::span<const std::vector<float>> log_probabilities,
                                     Index step) const;
  /// Takes the candidates in: those with a reason have hit an end.
  void advance(std::vector<Hypothesis> candidates);

  std::span<const Hypothesis> running() const { return running_; }
  std::span<const Hypothesis> finished() const { return finished_; }
  bool all_finished() const;
  /// Whether a running beam may still beat the worst answer.
  bool can_improve() const { return can_improve_; }
  /// Whether later steps can change the answers.
  bool is_settled() const {
    return !can_improve_ || (resolved_.early_stopping == EarlyStopping(true) && all_finished());
  }

 private:
  void update_finished(std::span<const Hypothesis> candidates);
  void update_can_improve();

  const ResolvedConfig& resolved_;
  Index batch_index_;
  Index prompt_length_;
  std::vector<Hypothesis> running_, finished_;
  bool can_improve_ = true;
};

/// The loop over all prompts: their beams are rows of one decode. Prompts whose answers are settled
/// leave it, unless tensors of every step are wanted.
class BeamSearch {
 public:
  BeamSearch(const ResolvedConfig& resolved, const Prompt& prompt,
             const LogitsProcessorList& processors, const StoppingCriteriaList& criteria,
             StepClock& clock);
  GenerateOutput run(Decoding& decoding);

 private:
  /// Log-probabilities of all beams of the active prompts, processed.
  std::vector<std::vector<float>> score(const Tensor& logits);
  /// Whether every candidate of every active prompt hit an end.
  bool advance(std::span<const std::vector<float>> log_probabilities);
  bool goes_on(bool all_hit) const;
  GenerateOutput finish();

  const ResolvedConfig& resolved_;
  const Prompt& prompt_;
  const LogitsProcessorList& processors_;
  const StoppingCriteriaList& criteria_;
  StepClock& clock_;
  StepStates states_;
  std::vector<BeamRow> rows_;
  std::vector<std::size_t> active_;  // prompts whose beams the state holds, in its order
  Index step_ = 0;
  GenerateOutput output_;
};

}  // namespace instructblip::detail
