// Generation: greedy, sampling, beam search and beam sampling over any LanguageModel. Mirrors
// GenerationMixin.generate of transformers/generation/utils.py.
#pragma once

#include "instructblip/core/export.h"
#include "instructblip/generation/generate_inputs.h"
#include "instructblip/generation/generation_config.h"
#include "instructblip/generation/generation_output.h"
#include "instructblip/generation/language_model.h"

namespace instructblip {

/// Continues every prompt. Deterministic: a sample's ids and scores are the same alone and in any
/// batch of prompts padded alike, with any number of threads; draws depend on seed, step, row of
/// the batch and returned sequence only.
///
/// Throws InputError, naming the argument or field: what does not fit together, a value out of
/// range, a prompt as long as max_length, methods of the reference that are not supported
/// (num_beam_groups, penalty_alpha, dola_layers, constraints, assisted generation, ...), logits
/// that are not finite (naming step and row). Warnings go to the log, as in the reference. Safe to
/// call from several threads on one model.
INSTRUCTBLIP_EXPORT GenerateOutput generate(const LanguageModel& model,
                                            const GenerateInputs& inputs,
                                            const GenerationConfig& config = {},
                                            const GenerateCallbacks& callbacks = {});

}  // namespace instructblip
