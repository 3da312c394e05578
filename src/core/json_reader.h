// Parses JSON with a bounded depth. Includes all of nlohmann/json, which is slow to compile;
// json_value.h is enough for code that only reads values. Public headers include neither.
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

/// Parses `text`; `where` (usually a file) names it in messages. Throws E on malformed JSON, text
/// that is not UTF-8, and nesting deeper than 128 (deeper trees would overflow the stack where they
/// are walked).
template <class E = ConfigError>
Json parse_json(std::string_view text, const std::string& where) {
  return detail::parse_document(text, where, detail::make_error<E>);
}

/// Reads and parses a file. Throws E as read_text_file and parse_json do.
template <class E = ConfigError>
Json read_json_file(const std::filesystem::path& path) {
  return parse_json<E>(read_text_file<E>(path), path.string());
}

}  // namespace instructblip
