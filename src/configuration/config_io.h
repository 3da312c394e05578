// Reads configurations from JSON and writes them. Each configuration lists its fields once, in a
// function template that takes a reader or a writer.
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

  /// Reads and validates the configuration and keeps its unknown keys.
  void run(PretrainedConfig& config);

  const JsonValue& json() const { return json_; }

  /// The value of a key, which may be null; nothing if the key is missing. Marks the key as read.
  std::optional<JsonValue> find(const char* key);
  /// Nothing if the key is missing or null.
  template <class T>
  std::optional<T> get(const char* key) {
    const auto found = find(key);
    return found && !found->is_null() ? std::optional<T>(found->as<T>()) : std::nullopt;
  }
  /// Keys that were not read, with their values as JSON text.
  std::map<std::string, std::string> unread() const;

  /// A field with a default, which a missing key keeps. Null is an error.
  template <class T>
  void operator()(const char* key, T& value) {
    if (const auto found = find(key)) value = found->as<T>();
  }
  /// A field that may be null.
  template <class T>
  void operator()(const char* key, std::optional<T>& value) {
    if (find(key)) value = get<T>(key);
  }
  /// A field that is written only if its value differs from `usual`.
  template <class T>
  void unusual(const char* key, T& value, const T&) {
    (*this)(key, value);
  }
  /// eos_token_id: an id, a list of ids, or null.
  void ids(const char* key, std::vector<std::int64_t>& value);
  /// A nested configuration, which keeps its defaults if the key is missing or null.
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
  /// Adds the keys of `other` that are not written yet.
  void keep(const std::map<std::string, std::string>& other);
  const Json& json() const { return json_; }

 private:
  Json json_ = Json::object();
};

/// The fields of every language model.
template <class Config, class Visitor>
void text_fields(Config& config, Visitor& visit) {
  visit("vocab_size", config.vocab_size);
  visit.ids("eos_token_id", config.eos_token_id);
  visit("pad_token_id", config.pad_token_id);
  visit.unusual("decoder_start_token_id", config.decoder_start_token_id, {});
}

/// Reads a text configuration of the type that its model_type names.
TextConfigHolder read_text_config(const JsonValue& json);

/// The JSON object of a configuration in the file at `path` (or in the config.json of that folder):
/// the section named `section` if present, otherwise a section whose model_type is `model_type`,
/// otherwise the whole file.
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

/// Checks a nested configuration.
void check_part(const std::string& where, const PretrainedConfig& config);
/// Throws ConfigError unless least <= value <= most.
void check_range(const std::string& where, const char* key, Index value, Index least, Index most);
/// Checks a size: positive, and small enough that the product of two sizes does not overflow.
void check_size(const std::string& where, const char* key, Index value);
/// Checks a number of layers. They are built one by one, so the limit is lower.
void check_layers(const std::string& where, const char* key, Index value);
void check_positions(const std::string& where, const char* key, Index value);
void check_divides(const std::string& where, const char* divisor_key, Index divisor,
                   const char* key, Index value);
void check_activation(const std::string& where, const char* key, const std::string& name);
/// Whether this rope_type has an original_max_position_embeddings.
bool has_original_length(std::string_view rope_type);
/// Checks an epsilon or a base: finite and positive.
void check_positive(const std::string& where, const char* key, double value);

}  // namespace instructblip::detail
