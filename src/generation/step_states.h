// Hidden states and attentions of every step in the reference's padded shapes. Used by generate;
// not meant for callers.
#pragma once

#include "generation/decoding.h"
#include "generation/prompt.h"
#include "generation/resolved_config.h"
#include "instructblip/generation/generation_output.h"
#include "instructblip/layers/padded_batch.h"

namespace instructblip::detail {

inline bool records_states(const ResolvedConfig& resolved) {
  return resolved.output_hidden_states || resolved.output_attentions;
}

/// Collects what the model captured, step by step.
class StepStates {
 public:
  StepStates(const ResolvedConfig& resolved, const Prompt& prompt)
      : resolved_(resolved), prompt_(prompt) {}

  /// The prompts' states, once per sequence that continues them.
  void add_prompt(const Decoding& decoding, GenerateOutput& output);
  /// The states of one more id per sequence.
  void add_step(const StateRecorder& states, GenerateOutput& output);

 private:
  /// Throws InputError if a captured tensor has an unexpected shape.
  void add(const StateRecorder& states, const PaddedBatch& queries, GenerateOutput& output);

  const ResolvedConfig& resolved_;
  const Prompt& prompt_;
  PaddedBatch keys_;          // of the decoder: what each sequence was fed so far
  PaddedBatch encoder_keys_;  // of cross-attention
};

}  // namespace instructblip::detail
