// Hidden states and attentions of every step in the reference's padded shapes. Internal to
// generation.
#pragma once

#include "generation/prompt.h"
#include "generation/resolved_config.h"
#include "instructblip/generation/generation_output.h"
#include "instructblip/layers/padded_batch.h"

namespace instructblip::detail {

/// Adds what the model captured to the output, as far as the configuration asks for it. Throws
/// InputError if a captured tensor has an unexpected shape.
class StepStates {
 public:
  StepStates(const ResolvedConfig& resolved, GenerateOutput& output)
      : resolved_(resolved), output_(output) {}

  /// The states of the prompts, repeated for each sequence that continues them. `encoder`: nullptr
  /// for a decoder-only model.
  void add_prompt(const Prompt& prompt, const StateRecorder& states, const StateRecorder* encoder);
  /// The states of one more id per sequence.
  void add_step(const StateRecorder& states);

 private:
  void add(const PaddedBatch& queries, const StateRecorder& states);

  const ResolvedConfig& resolved_;
  GenerateOutput& output_;
  PaddedBatch keys_;          // of the decoder: what each sequence was fed so far
  PaddedBatch encoder_keys_;  // of cross-attention; of no sequence in a decoder-only model
};

}  // namespace instructblip::detail
