#include "tokenization/json_section.h"

#include <limits>

namespace instructblip::tokenization {

void JsonSection::fail(const std::string& what) const {
  throw TokenizerError(where_ + ": " + what);
}

void JsonSection::expected(std::string_view what) const {
  std::string found = json_->type_name();
  if (json_->is_primitive() && !json_->is_null()) {
    found += " " + json_->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60);
  }
  fail("expected " + std::string(what) + ", found " + found);
}

JsonSection JsonSection::at(std::string_view key) const {
  if (!json_->is_object()) expected("an object");
  const auto found = json_->find(key);
  if (found == json_->end()) fail("has no key \"" + std::string(key) + "\"");
  return {*found, where_ + ": " + std::string(key)};
}

JsonSection JsonSection::at(std::size_t index) const {
  return {(*json_)[index], where_ + "[" + std::to_string(index) + "]"};
}

std::optional<JsonSection> JsonSection::find(std::string_view key) const {
  if (!json_->is_object()) expected("an object");
  const auto found = json_->find(key);
  if (found == json_->end() || found->is_null()) return std::nullopt;
  return JsonSection(*found, where_ + ": " + std::string(key));
}

std::size_t JsonSection::size() const {
  if (!json_->is_array()) expected("an array");
  return json_->size();
}

std::string JsonSection::string() const {
  if (!json_->is_string()) expected("a string");
  return json_->get<std::string>();
}

bool JsonSection::boolean() const {
  if (!json_->is_boolean()) expected("true or false");
  return json_->get<bool>();
}

double JsonSection::number() const {
  if (!json_->is_number()) expected("a number");
  return json_->get<double>();
}

std::int64_t JsonSection::id() const {
  // JSON made in the program holds signed integers, a file's are unsigned.
  const bool fits =
      json_->is_number_unsigned()
          ? json_->get<std::uint64_t>() <= std::numeric_limits<std::uint32_t>::max()
          : json_->is_number_integer() && json_->get<std::int64_t>() >= 0 &&
                json_->get<std::int64_t>() <= std::numeric_limits<std::uint32_t>::max();
  if (!fits) expected("an id (an integer from 0 to 4294967295)");
  return json_->get<std::int64_t>();
}

bool JsonSection::boolean(std::string_view key, bool otherwise) const {
  const auto found = find(key);
  return found ? found->boolean() : otherwise;
}

std::string JsonSection::string(std::string_view key, std::string_view otherwise) const {
  const auto found = find(key);
  return found ? found->string() : std::string(otherwise);
}

}  // namespace instructblip::tokenization
