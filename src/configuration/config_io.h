// How configurations are read from and written to JSON: each names its fields once, in a function
// that a reader or a writer walks through.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
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
  explicit ConfigReader(JsonReader<ConfigError> json) : json_(std::move(json)) {}

  /// Reads, checks, and keeps what no field asked for.
  void run(PretrainedConfig& config);

  JsonReader<ConfigError>& json() { return json_; }

  /// A field with a default: absent leaves it, null is an error.
  template <class T>
  void operator()(const char* key, T& value) {
    if (json_.find(key) != nullptr) value = json_.require<T>(key);
  }
  /// A field that may be null.
  template <class T>
  void operator()(const char* key, std::optional<T>& value) {
    if (json_.find(key) != nullptr) value = json_.get<T>(key);
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
  JsonReader<ConfigError> json_;
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
TextConfigHolder read_text_config(JsonReader<ConfigError> json);

/// The object for a class in the file at `path` (a folder's config.json, or a file): the section
/// `section` if there is one, else a section whose model_type is `model_type`, else the whole.
struct ConfigSource {
  Json json;
  std::string where;
  std::string section;
};
ConfigSource open_config(const std::filesystem::path& path, std::string_view section,
                         std::string_view model_type);

template <class Config>
Config config_from_pretrained(const std::filesystem::path& path, std::string_view section) {
  Config config;
  const ConfigSource source = open_config(path, section, config.model_type());
  ConfigReader(JsonReader<ConfigError>(source.json, source.where, source.section)).run(config);
  return config;
}

template <class Config>
Config config_from_json(std::string_view text) {
  Config config;
  const std::string where = std::string(config.model_type()) + " configuration";
  const Json json = parse_json<ConfigError>(text, where);
  ConfigReader(JsonReader<ConfigError>(json, where)).run(config);
  return config;
}

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
