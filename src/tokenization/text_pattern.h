// The pattern of the components called `Replace`.
#pragma once

#include <string>
#include <string_view>

#include "core/json_value.h"

namespace instructblip::tokenization {

/// {"String": "..."}, or {"Regex": "X{n,}"}: a character repeated n or more times, which is the
/// only regular expression that these tokenizers use.
class TextPattern {
 public:
  /// Throws TokenizerError that names an unsupported pattern.
  explicit TextPattern(const JsonValue& section);

  std::string replace(std::string_view text, std::string_view content) const;

 private:
  std::string text_;
  bool takes_more_ = false;  ///< a match includes all repetitions of its last character
};

}  // namespace instructblip::tokenization
