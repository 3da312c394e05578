// A value inside a JSON document, read with checks. An error names the document and the path to the
// value, what was expected and what was found; its type is chosen for the whole document:
//   config.json: "text_config.hidden_size": expected a whole number, found "768"
#pragma once

#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace instructblip {

using Json = nlohmann::json;

namespace detail {

/// Creates an exception with a message.
using MakeError = std::exception_ptr (*)(const std::string& message);
template <class E>
std::exception_ptr make_error(const std::string& message) {
  return std::make_exception_ptr(E(message));
}

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

}  // namespace detail

/// Refers to a value inside a document, which must outlive it. See JsonReader for the document. T
/// is bool, std::int64_t or Index, std::uint64_t, double, std::string, or a std::vector of these.
class JsonValue {
 public:
  struct Item;

  /// Whether the key is present and its value not null.
  bool has(std::string_view key) const;
  /// The value of a key, which may be null; nullptr if the key is missing.
  const Json* find(std::string_view key) const;
  /// The value of a key. Throws if the key is missing.
  JsonValue at(std::string_view key) const;
  /// The value of a key; nothing if it is missing or null.
  std::optional<JsonValue> get(std::string_view key) const;
  template <class T>
  std::optional<T> get(std::string_view key) const;
  template <class T>
  T get_or(std::string_view key, T otherwise) const;
  /// The value of a key. Throws if the key is missing or the value is not a T.
  template <class T>
  T require(std::string_view key) const;
  /// Keys and values. Throws if this is not an object.
  std::vector<Item> items() const;
  /// Throws if this is not an object.
  void require_object() const;

  /// The elements of a list. All three throw if this is not a list.
  std::size_t size() const;
  std::vector<JsonValue> elements() const;
  JsonValue at(std::size_t index) const;

  bool is_null() const;
  bool is_list() const;
  bool is_object() const;
  bool is_string() const;
  /// Throws unless the value is a T. Whole numbers are numbers, too; true is not a number, and 8.0
  /// is not a whole number.
  template <class T>
  T as() const;
  /// A whole number in a range; the message states the range.
  std::int64_t whole_number(std::int64_t least,
                            std::int64_t most = std::numeric_limits<std::int64_t>::max()) const;

  const Json& json() const { return *json_; }
  /// The document and the path to this value: FILE, or FILE: "a.b[2]".
  std::string where() const;
  /// Throws WHERE: what.
  [[noreturn]] void fail(const std::string& what) const;
  /// Throws WHERE: expected what, found VALUE.
  [[noreturn]] void expected(std::string_view what) const;

 protected:
  JsonValue(const Json& document, std::string where, detail::MakeError error);

 private:
  struct Document;
  JsonValue(const Json& json, std::shared_ptr<const Document> document)
      : json_(&json), document_(std::move(document)) {}

  void read(bool& value) const;
  void read(std::int64_t& value) const;
  void read(std::uint64_t& value) const;
  void read(double& value) const;
  void read(std::string& value) const;
  [[noreturn]] void fail_missing(std::string_view key, std::string_view kind) const;

  const Json* json_;
  std::shared_ptr<const Document> document_;
};

/// A whole document, with errors of type E; `where` names it in messages.
template <class E>
class JsonReader : public JsonValue {
 public:
  JsonReader(const Json& document, std::string where)
      : JsonValue(document, std::move(where), detail::make_error<E>) {}
};

struct JsonValue::Item {
  const std::string& key;
  JsonValue value;
};

template <class T>
T JsonValue::as() const {
  T result{};
  if constexpr (detail::is_vector<T>::value) {
    for (const JsonValue& element : elements()) {
      result.push_back(element.as<typename T::value_type>());
    }
  } else {
    read(result);
  }
  return result;
}

template <class T>
std::optional<T> JsonValue::get(std::string_view key) const {
  const auto found = get(key);
  return found ? std::optional<T>(found->as<T>()) : std::nullopt;
}

template <class T>
T JsonValue::get_or(std::string_view key, T otherwise) const {
  const auto found = get(key);
  return found ? found->as<T>() : otherwise;
}

template <class T>
T JsonValue::require(std::string_view key) const {
  if (find(key) == nullptr) fail_missing(key, detail::json_kind<T>());
  return at(key).as<T>();
}

}  // namespace instructblip
