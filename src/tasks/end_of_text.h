// The end of text of a checkpoint whose files disagree about it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "instructblip/configuration/text_config.h"

namespace instructblip::detail {

/// The ids that end an answer of a model from `load`: text_config's and the tokenizer's.
inline std::vector<std::int64_t> end_of_text(const TextConfig& config,
                                             std::optional<std::int64_t> tokenizer_eos) {
  std::vector<std::int64_t> ends = config.eos_token_id;
  if (tokenizer_eos && std::find(ends.begin(), ends.end(), *tokenizer_eos) == ends.end()) {
    ends.push_back(*tokenizer_eos);
  }
  return ends;
}

}  // namespace instructblip::detail
