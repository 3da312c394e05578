#include "tokenization/text_pattern.h"

#include <algorithm>
#include <cctype>

namespace instructblip::tokenization {

TextPattern::TextPattern(const JsonValue& section) {
  if (const auto text = section.get("String")) {
    text_ = text->as<std::string>();
    if (text_.empty()) text->expected("a non-empty string");
    return;
  }
  const JsonValue regex = section.at("Regex");
  const std::string pattern = regex.as<std::string>();
  const bool plain = pattern.size() == 5 && pattern[1] == '{' && pattern.substr(3) == ",}" &&
                     pattern[2] >= '1' && pattern[2] <= '9' &&
                     (pattern[0] == ' ' || std::isalnum(static_cast<unsigned char>(pattern[0])));
  if (!plain) {
    regex.fail("the regular expression \"" + pattern +
               "\" is not supported; only a character repeated n or more times is (\" {2,}\")");
  }
  text_.assign(static_cast<std::size_t>(pattern[2] - '0'), pattern[0]);
  takes_more_ = true;
}

std::string TextPattern::replace(std::string_view text, std::string_view content) const {
  std::string replaced;
  replaced.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t found; (found = text.find(text_, begin)) != std::string_view::npos;) {
    replaced.append(text.substr(begin, found - begin)).append(content);
    begin = found + text_.size();
    if (takes_more_) begin = std::min(text.find_first_not_of(text_[0], begin), text.size());
  }
  return replaced.append(text.substr(begin));
}

}  // namespace instructblip::tokenization
