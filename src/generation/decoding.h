// Feeds prompts and new ids to a language model as ragged rows. Used by generate; not meant for
// callers.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "generation/prompt.h"
#include "instructblip/generation/generation_output.h"
#include "instructblip/generation/language_model.h"

namespace instructblip::detail {

/// The sequences that a model is decoding. Prompts are fed once and forked.
class Decoding {
 public:
  Decoding(const LanguageModel& model, ForwardCapture capture) : model_(model), capture_(capture) {}

  /// Feeds the prompts; afterwards each has `expand_size` sequences. Logits [prompts, vocab_size].
  Tensor prefill(const Prompt& prompt, Index expand_size);
  /// New sequence i continues old sequence sources[i] with ids[i]. Logits [sources, vocab_size].
  Tensor step(std::span<const Index> sources, std::span<const std::int64_t> ids);

  /// Captured by the last call.
  const StateRecorder& states() const { return states_; }
  const DecoderState& state() const { return *state_; }

 private:
  Tensor decode(MatrixView embeddings, const RowTable& rows);

  const LanguageModel& model_;
  ForwardCapture capture_;
  std::unique_ptr<DecoderState> state_;
  std::vector<Index> next_positions_;  // of each sequence
  StateRecorder states_;
};

/// Fills in GenerationTimings.
class StepClock {
 public:
  void prompt_done(GenerationTimings& timings) { timings.prompt_seconds = lap(); }
  void step_done(GenerationTimings& timings) { timings.step_seconds.push_back(lap()); }

 private:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Row `r` of a float32 matrix.
std::span<const float> row_of(const Tensor& matrix, Index r);
/// Rows of equal length -> [rows, length].
Tensor stack_rows(std::span<const std::vector<float>> rows);
/// The padding id, if a model of `vocab_size` ids can be fed with it, else 0: what follows is not
/// looked at.
std::int64_t feedable(std::int64_t id, Index vocab_size);

}  // namespace instructblip::detail
