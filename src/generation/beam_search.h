// Beam search and beam sampling. Mirrors _beam_search of transformers/generation/utils.py, with its
// arithmetic in float32. Internal to generation.
#pragma once

#include "generation/decoding.h"

namespace instructblip::detail {

/// Generates and fills in the output.
void beam_search(const DecodingRun& run);

}  // namespace instructblip::detail
