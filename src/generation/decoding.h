// Feeds prompts and new ids to a language model as ragged rows. Internal to generation.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

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

  /// Feeds each prompt once, then forks it into resolved.expand_size() sequences. Logits [prompts,
  /// vocab_size].
  Tensor prefill(const Prompt& prompt);
  /// New sequence i continues old sequence sources[i] with ids[i]. Logits [sources, vocab_size].
  Tensor step(std::span<const Index> sources, std::span<const std::int64_t> ids);

 private:
  DecodeOutput decode(MatrixView embeddings, const RowTable& rows);
  void reorder(std::span<const Index> sources);
  /// Seconds since the last call.
  double lap();

  const LanguageModel& model_;
  const ResolvedConfig& resolved_;
  GenerateOutput& output_;
  StepStates states_;
  std::unique_ptr<DecoderState> state_;
  std::vector<Index> next_positions_;  // of each sequence
  std::chrono::steady_clock::time_point last_lap_ = std::chrono::steady_clock::now();
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
