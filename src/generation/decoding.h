// Feeds prompts and new ids to a language model as ragged rows. Internal to generation.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "generation/drafts.h"
#include "generation/prompt.h"
#include "generation/resolved_config.h"
#include "generation/step_states.h"
#include "instructblip/generation/generation_output.h"
#include "instructblip/generation/language_model.h"

namespace instructblip::detail {

/// The sequences that a model is decoding. The constructor starts the clock of the timings. Each
/// call adds its time and, if the configuration asks for them, the model's states to the output.
class Decoding {
 public:
  Decoding(const LanguageModel& model, const ResolvedConfig& resolved, GenerateOutput& output)
      : model_(model), resolved_(resolved), output_(output), states_(resolved, output) {}

  /// From now on, `step` verifies drafts. nullptr: it makes none.
  void use_drafts(std::unique_ptr<Drafter> drafter) { drafter_ = std::move(drafter); }

  /// Feeds each prompt once, then forks it into resolved.expand_size() sequences. Logits [prompts,
  /// vocab_size].
  Tensor prefill(const Prompt& prompt);
  /// New sequence i continues old sequence sources[i] with ids[i]. Logits [sources, vocab_size].
  /// `rows` [sources], from which drafts are made, are read only if `use_drafts` was called.
  Tensor step(std::span<const Index> sources, std::span<const std::int64_t> ids,
              std::span<const DraftRow> rows = {});

 private:
  /// The logits that follow a drafted id, which the decoder has been fed.
  struct Verified {
    std::int64_t id;
    std::vector<float> logits;
  };

  DecodeOutput decode(MatrixView embeddings, const RowTable& rows, LogitsFor logits);
  Tensor step_with_drafts(std::span<const std::int64_t> ids, std::span<const DraftRow> rows);
  /// The next ids of each sequence that no draft has foreseen, and a draft of what follows.
  std::vector<std::vector<std::int64_t>> ids_to_feed(std::span<const std::int64_t> ids,
                                                     std::span<const DraftRow> rows);
  void reorder(std::span<const Index> sources);
  /// Seconds since the last call.
  double lap();
  void end_step();

  const LanguageModel& model_;
  const ResolvedConfig& resolved_;
  GenerateOutput& output_;
  StepStates states_;
  std::unique_ptr<DecoderState> state_;
  std::vector<Index> next_positions_;  // of each sequence
  std::unique_ptr<Drafter> drafter_;
  std::vector<std::deque<Verified>> verified_;  // of each sequence
  std::chrono::steady_clock::time_point last_lap_ = std::chrono::steady_clock::now();
  std::int64_t weight_bytes_ = 0;  // multiplied when the last step ended
};

/// What greedy search, sampling and beam search share.
struct DecodingRun {
  const ResolvedConfig& resolved;
  const Prompt& prompt;
  const LogitsProcessorList& processors;
  const StoppingCriteriaList& criteria;
  Decoding& decoding;
  GenerateOutput& output;
};

/// Row `r` of a float32 matrix.
std::span<const float> row_of(const Tensor& matrix, Index r);
/// Rows of equal length -> [rows, length].
Tensor stack_rows(std::span<const std::vector<float>> rows);

}  // namespace instructblip::detail
