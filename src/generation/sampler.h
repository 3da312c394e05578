// Greedy search and sampling. Mirrors _sample of transformers/generation/utils.py. Internal to
// generation.
#pragma once

#include "generation/decoding.h"
#include "instructblip/generation/streamers.h"

namespace instructblip::detail {

/// Generates and fills in the output. `streamer` may be nullptr.
void sample(const DecodingRun& run, BaseStreamer* streamer);

}  // namespace instructblip::detail
