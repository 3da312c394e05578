// Hidden states and attentions of every step in the reference's padded shapes. Used by generate;
// not meant for callers.
#pragma once

#include <span>
#include <vector>

#include "generation/decoding.h"
#include "generation/resolved_config.h"
#include "instructblip/generation/generation_output.h"

namespace instructblip::detail {

inline bool records_states(const ResolvedConfig& resolved) {
  return resolved.output_hidden_states || resolved.output_attentions;
}

/// Collects what the model captured, step by step.
class StepStates {
 public:
  StepStates(const ResolvedConfig& resolved, const PreparedInputs& inputs)
      : resolved_(resolved), inputs_(inputs) {}

  /// After the prompts were fed: their states, repeated for the sequences that each was forked to.
  void add_prompt(const Decoding& decoding, GenerateOutput& output);
  /// After one more id of every sequence.
  void add_step(const StateRecorder& states, GenerateOutput& output);

 private:
  using Columns = std::vector<std::vector<Index>>;  // where each sequence's positions go

  void add(const StateRecorder& states, const Columns& queries, Index query_length,
           GenerateOutput& output);

  const ResolvedConfig& resolved_;
  const PreparedInputs& inputs_;
  Columns keys_;          // of each sequence, prompt and new ids
  Columns encoder_keys_;  // of each sequence
  Index key_length_ = 0;
};

}  // namespace instructblip::detail
