// JSON for the compiled sources: parsing with a bounded depth, and typed getters whose errors name
// the key, what was expected, what was found and the file. Public headers never include it.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>

#include "instructblip/core/error.h"

namespace instructblip {

using Json = nlohmann::json;

/// Parses `text`; `where` (a file, usually) names it in messages. Throws E on malformed JSON, text
/// that is not UTF-8, and nesting deeper than 128 (deeper trees would overflow the stack where they
/// are walked).
template <class E = ConfigError>
Json parse_json(std::string_view text, const std::string& where) {
  constexpr int kDeepest = 128;
  const Json::parser_callback_t bounded = [&where](int depth, Json::parse_event_t, Json&) {
    if (depth > kDeepest) {
      throw E(where + ": JSON nested deeper than " + std::to_string(kDeepest) + " levels");
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), bounded);
  } catch (const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without the prefix.
    std::string_view reason = error.what();
    if (const auto end = reason.find("] "); end != std::string_view::npos)
      reason.remove_prefix(end + 2);
    throw E(where + ": not valid JSON: " + std::string(reason.substr(0, 300)));
  }
}

/// The whole file. Throws E if it is absent, a folder, or cannot be read.
template <class E = ConfigError>
std::string read_text_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) throw E(path.string() + ": no such file");
  if (std::filesystem::is_directory(path, ignored)) {
    throw E(path.string() + ": expected a file, found a folder");
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.is_open() || stream.bad()) throw E(path.string() + ": cannot be read");
  return text;
}

/// read_text_file and parse_json in one.
template <class E = ConfigError>
Json read_json_file(const std::filesystem::path& path) {
  return parse_json<E>(read_text_file<E>(path), path.string());
}

}  // namespace instructblip
