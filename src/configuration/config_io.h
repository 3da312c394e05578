// How configurations are read from and written to JSON: each names its fields once, in a function
// that a reader or a writer walks through.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json_reader.h"
#include "instructblip/configuration/pretrained_config.h"
#include "instructblip/configuration/text_config.h"
#include "instructblip/core/error.h"

namespace instructblip::detail {

/// Reads the fields of one configuration.
class ConfigReader {
 public:
  explicit ConfigReader(JsonValue json) : json_(std::move(json)) { json_.require_object(); }

  /// Reads, checks, and keeps the keys that no field has.
  void run(PretrainedConfig& config);

  const JsonValue& json() const { return json_; }

  /// The value under a key, null included; nothing if it is absent. Counts as read.
  std::optional<JsonValue> find(const char* key);
  /// Absent or null: nothing.
  template <class T>
  std::optional<T> get(const char* key) {
    const auto found = find(key);
    return found && !found->is_null() ? std::optional<T>(found->as<T>()) : std::nullopt;
  }
  /// Keys that were not read, with their values as JSON text.
  std::map<std::string, std::string> unread() const;

  /// A field with a default: absent leaves it, null is an error.
  template <class T>
  void operator()(const char* key, T& value) {
    if (const auto found = find(key)) value = found->as<T>();
  }
  /// A field that may be null.
  template <class T>
  void operator()(const char* key, std::optional<T>& value) {
    if (find(key)) value = get<T>(key);
  }
  /// A field that a file only has where it is not `usual`.
  template <class T>
  void unusual(const char* key, T& value, const T&) {
    (*this)(key, value);
  }
  /// eos_token_id: an id, a list of ids, or null.
  void ids(const char* key, std::vector<std::int64_t>& value);
  /// A configuration inside this one; absent or null leaves its defaults.
  void part(const char* key, PretrainedConfig& config);
  void part(const char* key, TextConfigHolder& config);

 private:
  JsonValue json_;
  std::set<std::string, std::less<>> read_;
};

/// Writes the fields of one configuration.
class ConfigWriter {
 public:
  static Json run(const PretrainedConfig& config);
  static void check(const std::string& where, const PretrainedConfig& config) {
    config.check(where);
  }

  template <class T>
  void operator()(const char* key, const T& value) {
    json_[key] = value;
  }
  template <class T>
  void operator()(const char* key, const std::optional<T>& value) {
    json_[key] = value ? Json(*value) : Json();
  }
  template <class T>
  void unusual(const char* key, const T& value, const T& usual) {
    if (value != usual) (*this)(key, value);
  }
  void ids(const char* key, const std::vector<std::int64_t>& value);
  void part(const char* key, const PretrainedConfig& config) { json_[key] = run(config); }
  void part(const char* key, const TextConfigHolder& config) { part(key, *config); }
  /// `other`, unless a field has the key.
  void keep(const std::map<std::string, std::string>& other);
  const Json& json() const { return json_; }

 private:
  Json json_ = Json::object();
};

/// What every language model has.
template <class Config, class Visitor>
void text_fields(Config& config, Visitor& visit) {
  visit("vocab_size", config.vocab_size);
  visit.ids("eos_token_id", config.eos_token_id);
  visit("pad_token_id", config.pad_token_id);
  visit.unusual("decoder_start_token_id", config.decoder_start_token_id, {});
}

/// A text configuration, of the kind that its model_type names.
TextConfigHolder read_text_config(const JsonValue& json);

/// The object for a class in the file at `path` (a folder's config.json, or a file): the section
/// `section` if there is one, else a section whose model_type is `model_type`, else the whole.
struct ConfigSource {
  Json file;
  std::string where;
  std::string section;

  JsonValue json() const {
    const JsonReader<ConfigError> whole(file, where);
    if (section.empty()) return whole;
    return whole.at(section);
  }
};
ConfigSource open_config(const std::filesystem::path& path, std::string_view section,
                         std::string_view model_type);

/// Checks a configuration inside another.
void check_part(const std::string& where, const PretrainedConfig& config);
/// Throws ConfigError unless least <= value <= most.
void check_range(const std::string& where, const char* key, Index value, Index least, Index most);
/// A size: positive, and small enough that products of two of them can be computed.
void check_size(const std::string& where, const char* key, Index value);
/// Layers are built one by one, so their number is bounded more tightly.
void check_layers(const std::string& where, const char* key, Index value);
void check_positions(const std::string& where, const char* key, Index value);
void check_divides(const std::string& where, const char* divisor_key, Index divisor,
                   const char* key, Index value);
void check_activation(const std::string& where, const char* key, const std::string& name);
/// Whether this kind of RopeParameters knows the length of the pretraining.
bool has_original_length(std::string_view rope_type);
/// An epsilon or base: finite and positive.
void check_positive(const std::string& where, const char* key, double value);

}  // namespace instructblip::detail
