// What the components called `Replace` look for.
#pragma once

#include <string>
#include <string_view>

#include "core/json_value.h"

namespace instructblip::tokenization {

/// {"String": "..."}, or {"Regex": "X{n,}"}: n or more times one character, which is the only
/// regular expression that tokenizers of this kind carry.
class TextPattern {
 public:
  /// Throws TokenizerError naming a pattern that is not supported.
  explicit TextPattern(const JsonValue& section);

  std::string replace(std::string_view text, std::string_view content) const;

 private:
  std::string text_;
  bool takes_more_ = false;  ///< a match goes on as long as the last character repeats
};

}  // namespace instructblip::tokenization
