#include "core/json_reader.h"

namespace instructblip {

struct JsonValue::Document {
  const Json& json;
  std::string where;
  detail::MakeError error;
};

namespace {

// Extends `path` from `tree` to `value`; false if `tree` does not contain it.
bool find_path(const Json& tree, const Json* value, std::string& path) {
  if (&tree == value) return true;
  const std::size_t size = path.size();
  for (auto child = tree.begin(); tree.is_structured() && child != tree.end(); ++child) {
    path += tree.is_array() ? "[" + std::to_string(child - tree.begin()) + "]"
                            : (size == 0 ? "" : ".") + child.key();
    if (find_path(*child, value, path)) return true;
    path.resize(size);
  }
  return false;
}

std::optional<std::int64_t> int64_of(const Json& json) {
  // Parsed positive numbers are unsigned; those of JSON built in the program may be signed.
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > std::uint64_t{INT64_MAX}) {
    return std::nullopt;
  }
  return json.is_number_integer() ? std::optional(json.get<std::int64_t>()) : std::nullopt;
}

}  // namespace

JsonValue::JsonValue(const Json& document, std::string where, detail::MakeError error)
    : json_(&document),
      document_(std::make_shared<const Document>(Document{document, std::move(where), error})) {}

bool JsonValue::has(std::string_view key) const { return get(key).has_value(); }

const Json* JsonValue::find(std::string_view key) const {
  require_object();
  const auto found = json_->find(key);
  return found == json_->end() ? nullptr : &*found;
}

JsonValue JsonValue::at(std::string_view key) const {
  const Json* found = find(key);
  if (found == nullptr) fail_missing(key, "");
  return {*found, document_};
}

std::optional<JsonValue> JsonValue::get(std::string_view key) const {
  const Json* found = find(key);
  if (found == nullptr || found->is_null()) return std::nullopt;
  return JsonValue(*found, document_);
}

std::vector<JsonValue::Item> JsonValue::items() const {
  require_object();
  std::vector<Item> items;
  items.reserve(json_->size());
  for (auto item = json_->begin(); item != json_->end(); ++item) {
    items.push_back({item.key(), JsonValue(*item, document_)});
  }
  return items;
}

void JsonValue::require_object() const {
  if (!json_->is_object()) expected("a JSON object");
}

std::size_t JsonValue::size() const {
  if (!json_->is_array()) expected("a list");
  return json_->size();
}

std::vector<JsonValue> JsonValue::elements() const {
  std::vector<JsonValue> elements;
  elements.reserve(size());
  for (const Json& element : *json_) elements.push_back({element, document_});
  return elements;
}

JsonValue JsonValue::at(std::size_t index) const {
  if (index >= size()) fail("has no element " + std::to_string(index));
  return {(*json_)[index], document_};
}

bool JsonValue::is_null() const { return json_->is_null(); }
bool JsonValue::is_list() const { return json_->is_array(); }
bool JsonValue::is_object() const { return json_->is_object(); }
bool JsonValue::is_string() const { return json_->is_string(); }

void JsonValue::read(bool& value) const {
  if (!json_->is_boolean()) expected(detail::json_kind<bool>());
  value = json_->get<bool>();
}

void JsonValue::read(std::int64_t& value) const {
  const auto found = int64_of(*json_);
  if (!found) expected(detail::json_kind<std::int64_t>());
  value = *found;
}

void JsonValue::read(std::uint64_t& value) const {
  const bool fits = json_->is_number_unsigned() ||
                    (json_->is_number_integer() && json_->get<std::int64_t>() >= 0);
  if (!fits) expected("a whole number of at least 0");
  value = json_->get<std::uint64_t>();
}

void JsonValue::read(double& value) const {
  if (!json_->is_number()) expected(detail::json_kind<double>());
  value = json_->get<double>();
}

void JsonValue::read(std::string& value) const {
  if (!json_->is_string()) expected(detail::json_kind<std::string>());
  value = json_->get<std::string>();
}

std::int64_t JsonValue::whole_number(std::int64_t least, std::int64_t most) const {
  const auto found = int64_of(*json_);
  if (found && *found >= least && *found <= most) return *found;
  expected(most == std::numeric_limits<std::int64_t>::max()
               ? "a whole number of at least " + std::to_string(least)
               : "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
}

std::string JsonValue::where() const {
  std::string path;
  if (!find_path(document_->json, json_, path) || path.empty()) return document_->where;
  return document_->where + ": \"" + path + "\"";
}

void JsonValue::fail(const std::string& what) const {
  std::rethrow_exception(document_->error(where() + ": " + what));
}

void JsonValue::expected(std::string_view what) const {
  constexpr std::size_t kLongest = 80;
  std::string found = json_->dump(-1, ' ', false, Json::error_handler_t::replace);
  if (found.size() > kLongest) found = found.substr(0, kLongest) + "...";
  fail("expected " + std::string(what) + ", found " + found);
}

void JsonValue::fail_missing(std::string_view key, std::string_view kind) const {
  std::string what = "the key \"" + std::string(key) + "\" is missing";
  if (!kind.empty()) what += "; expected " + std::string(kind);
  fail(what);
}

Json detail::parse_document(std::string_view text, const std::string& where, MakeError error) {
  const auto fail = [&](const std::string& what) {
    std::rethrow_exception(error(where + ": " + what));
  };
  constexpr int kDeepest = 128;
  const Json::parser_callback_t bounded = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kDeepest) fail("JSON nested deeper than " + std::to_string(kDeepest) + " levels");
    return true;
  };
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    fail("not valid JSON: it is empty; fetch it again");
  }
  // The parser would take a zero byte for the end.
  if (text.find('\0') != std::string_view::npos) fail("not valid JSON: it contains a zero byte");
  try {
    return Json::parse(text.begin(), text.end(), bounded);
  } catch (const Json::exception& exception) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without the prefix.
    std::string_view reason = exception.what();
    if (const auto end = reason.find("] "); end != std::string_view::npos)
      reason.remove_prefix(end + 2);
    fail("not valid JSON: " + std::string(reason.substr(0, 300)));
    throw;
  }
}

}  // namespace instructblip
