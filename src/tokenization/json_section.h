// A part of a JSON file that knows where it stands, so that a wrong type is an error that says
// where.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/json_reader.h"
#include "instructblip/core/error.h"

namespace instructblip::tokenization {

class JsonSection {
 public:
  JsonSection(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {}

  const Json& json() const { return *json_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return json_->is_null(); }

  /// Throws TokenizerError unless the section is an object that has `key`.
  JsonSection at(std::string_view key) const;
  JsonSection at(std::size_t index) const;
  /// Nothing if the key is missing or null.
  std::optional<JsonSection> find(std::string_view key) const;
  /// Elements of an array.
  std::size_t size() const;

  std::string string() const;
  bool boolean() const;
  double number() const;
  /// 0 ... 2^32 - 1.
  std::int64_t id() const;

  std::string string(std::string_view key) const { return at(key).string(); }
  bool boolean(std::string_view key, bool otherwise) const;
  std::string string(std::string_view key, std::string_view otherwise) const;

  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void expected(std::string_view what) const;

 private:
  const Json* json_;
  std::string where_;
};

}  // namespace instructblip::tokenization
