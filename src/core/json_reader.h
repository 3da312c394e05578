// Parsing of JSON, with a bounded depth. Brings the whole of nlohmann/json, which is slow to
// compile; json_value.h is enough for those who only read. Public headers include neither.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/json_value.h"
#include "core/text_file.h"
#include "instructblip/core/error.h"

namespace instructblip {

namespace detail {
Json parse_document(std::string_view text, const std::string& where, MakeError error);
}

/// Parses `text`; `where` (a file, usually) names it in messages. Throws E on malformed JSON, text
/// that is not UTF-8, and nesting deeper than 128 (deeper trees would overflow the stack where they
/// are walked).
template <class E = ConfigError>
Json parse_json(std::string_view text, const std::string& where) {
  return detail::parse_document(text, where, detail::make_error<E>);
}

/// read_text_file and parse_json in one.
template <class E = ConfigError>
Json read_json_file(const std::filesystem::path& path) {
  return parse_json<E>(read_text_file<E>(path), path.string());
}

}  // namespace instructblip
