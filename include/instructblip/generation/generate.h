// Greedy search, sampling, beam search and beam sampling with any LanguageModel. Mirrors
// GenerationMixin.generate of transformers/generation/utils.py. In the comments of this folder, the
// reference is transformers 5.24.
#pragma once

#include "instructblip/core/export.h"
#include "instructblip/generation/generate_inputs.h"
#include "instructblip/generation/generation_config.h"
#include "instructblip/generation/generation_output.h"
#include "instructblip/generation/language_model.h"

namespace instructblip {

/// Continues every prompt. The result is deterministic: a sample has the same ids and scores alone
/// and in any batch that pads it in the same way, with any number of threads. Random draws depend
/// only on the seed, the step, the row of the batch and the returned sequence.
///
/// Throws InputError, which names the argument or field, on inputs that do not fit each other, a
/// value out of range, a prompt as long as max_length, a method of the reference that is not
/// supported (num_beam_groups, penalty_alpha, dola_layers, constraints, ...)
/// and logits that are not finite (with step and row). Warnings go to the log, as in the reference.
/// Several threads may call it with one model at the same time.
INSTRUCTBLIP_EXPORT GenerateOutput generate(const LanguageModel& model,
                                            const GenerateInputs& inputs,
                                            const GenerationConfig& config = {},
                                            const GenerateCallbacks& callbacks = {});

}  // namespace instructblip
