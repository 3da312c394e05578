// JSON for the compiled sources: parsing with a bounded depth, and typed getters whose errors name
// the key, what was expected, what was found and the file. Public headers never include it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/text_file.h"
#include "instructblip/core/dtype.h"
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
  // The parser would take it for the end.
  if (text.find('\0') != std::string_view::npos) throw E(where + ": JSON with a zero byte in it");
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

/// read_text_file and parse_json in one.
template <class E = ConfigError>
Json read_json_file(const std::filesystem::path& path) {
  return parse_json<E>(read_text_file<E>(path), path.string());
}

namespace detail {

template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};

/// What a JSON value must be to become a T, for messages.
template <class T>
constexpr std::string_view json_kind() {
  if constexpr (std::is_same_v<T, bool>)
    return "true or false";
  else if constexpr (std::is_same_v<T, std::string>)
    return "a string";
  else if constexpr (std::is_integral_v<T>)
    return "a whole number";
  else if constexpr (std::is_floating_point_v<T>)
    return "a number";
  else
    return "a list";
}

/// The value, if it is of the right kind and in range. A whole number is a number too; true is no
/// number, and 8.0 no whole number.
template <class T>
std::optional<T> json_value(const Json& json) {
  if constexpr (is_vector<T>::value) {
    if (!json.is_array()) return std::nullopt;
    T values;
    for (const Json& item : json) {
      const auto value = json_value<typename T::value_type>(item);
      if (!value) return std::nullopt;
      values.push_back(*value);
    }
    return values;
  } else if constexpr (std::is_same_v<T, bool>) {
    return json.is_boolean() ? std::optional(json.get<bool>()) : std::nullopt;
  } else if constexpr (std::is_same_v<T, std::string>) {
    return json.is_string() ? std::optional(json.get<std::string>()) : std::nullopt;
  } else if constexpr (std::is_integral_v<T>) {
    static_assert(sizeof(T) == 8 && std::is_signed_v<T>, "whole numbers are read as 64 bits");
    if (!json.is_number_integer()) return std::nullopt;
    if (json.is_number_unsigned() && json.get<std::uint64_t>() > std::uint64_t{INT64_MAX}) {
      return std::nullopt;
    }
    return json.get<T>();
  } else {
    return json.is_number() ? std::optional(json.get<T>()) : std::nullopt;
  }
}

}  // namespace detail

/// Typed access to the keys of one JSON object, which must outlive it. Every method throws E for a
/// value of the wrong kind: FILE: "text_config.hidden_size": expected a whole number, found "768".
/// T is bool, std::int64_t or Index, double, std::string, or a std::vector of these.
template <class E = ConfigError>
class JsonReader {
 public:
  /// `where` names the file, `path` the object inside it ("" for the whole). Throws E if `json` is
  /// no object.
  JsonReader(const Json& json, std::string where, std::string path = "")
      : json_(&json), where_(std::move(where)), path_(std::move(path)) {
    if (!json.is_object()) {
      throw E(where_ + ": " + (path_.empty() ? "" : "\"" + path_ + "\": ") +
              "expected a JSON object, found " + shown(json));
    }
  }

  const Json& json() const { return *json_; }
  const std::string& where() const { return where_; }
  const std::string& path() const { return path_; }

  /// Whether the key is there and not null.
  bool has(const std::string& key) const {
    const auto found = json_->find(key);
    return found != json_->end() && !found->is_null();
  }
  /// The value as it is, null included; nullptr if the key is absent. Counts as read.
  const Json* find(const std::string& key) {
    read_.insert(key);
    const auto found = json_->find(key);
    return found == json_->end() ? nullptr : &*found;
  }
  /// Absent or null: nothing.
  template <class T>
  std::optional<T> get(const std::string& key) {
    const Json* found = find(key);
    if (found == nullptr || found->is_null()) return std::nullopt;
    return value<T>(key, *found);
  }
  /// Absent or null: the fallback.
  template <class T>
  T get_or(const std::string& key, T fallback) {
    return get<T>(key).value_or(std::move(fallback));
  }
  /// Must be there.
  template <class T>
  T require(const std::string& key) {
    const Json* found = find(key);
    if (found == nullptr) fail(key, "is missing; expected " + std::string(detail::json_kind<T>()));
    return value<T>(key, *found);
  }
  /// The object under a key that is there.
  JsonReader child(const std::string& key) {
    const Json* found = find(key);
    if (found == nullptr) fail(key, "is missing; expected an object");
    return JsonReader(*found, where_, full(key));
  }

  /// Keys that nobody asked for.
  std::vector<std::string> unread() const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : json_->items()) {
      if (!read_.contains(key)) keys.push_back(key);
    }
    return keys;
  }

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw E(where_ + ": \"" + full(key) + "\" " + what);
  }

 private:
  template <class T>
  T value(const std::string& key, const Json& found) const {
    if (auto value = detail::json_value<T>(found)) return *std::move(value);
    fail(key, "must be " + std::string(detail::json_kind<T>()) + ", found " + shown(found));
  }
  std::string full(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  static std::string shown(const Json& json) {
    const std::string text = json.dump(-1, ' ', false, nlohmann::detail::error_handler_t::replace);
    return text.size() <= 80 ? text : text.substr(0, 80) + "...";
  }

  const Json* json_;
  std::string where_, path_;
  std::set<std::string> read_;
};

}  // namespace instructblip
