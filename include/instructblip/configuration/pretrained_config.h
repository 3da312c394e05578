// What all configurations share: reading and writing config.json.
// Mirrors transformers' configuration_utils.py (PreTrainedConfig).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

namespace detail {
class ConfigReader;
class ConfigWriter;
}  // namespace detail

/// Base of every configuration; see ConfigOf for how one is read. Generation settings of old files
/// (`num_beams`, `max_length`, ...) are dropped, as in the reference.
class INSTRUCTBLIP_EXPORT PretrainedConfig {
 public:
  virtual ~PretrainedConfig();

  /// The type that the weights were saved in: `dtype`, or `torch_dtype` of older files.
  std::optional<DType> dtype;
  /// Keys of the file that no field holds, with their values as JSON text. They are written again.
  std::map<std::string, std::string> other;

  /// "instructblip", "llama", ...
  virtual std::string_view model_type() const = 0;
  /// The whole configuration as JSON with sorted keys, as the reference writes it.
  std::string to_json() const;
  /// Writes `folder`/config.json; makes the folder if need be. Throws ConfigError if it cannot.
  void save_pretrained(const std::filesystem::path& folder) const;
  /// Throws ConfigError if the configuration is invalid: a size that is not positive, heads that do
  /// not divide the hidden size, an unknown activation. Reading a file and building a model call
  /// it.
  void validate() const;

 protected:
  PretrainedConfig();
  PretrainedConfig(const PretrainedConfig&);
  PretrainedConfig& operator=(const PretrainedConfig&);

  /// The key of a whole checkpoint's config.json that holds the configuration; "": found by its
  /// model_type.
  static constexpr std::string_view kSection = "";
  void read_file(const std::filesystem::path& path, std::string_view section);
  void read_text(std::string_view json);

 private:
  friend class detail::ConfigReader;
  friend class detail::ConfigWriter;
  virtual void read(detail::ConfigReader& reader) = 0;
  virtual void write(detail::ConfigWriter& writer) const = 0;
  /// `where` names the section in messages.
  virtual void check(const std::string& where) const = 0;
};

/// What every configuration class has. T names its `kModelType`, and its `kSection` if it has one.
template <class T, class Base = PretrainedConfig>
class INSTRUCTBLIP_EXPORT ConfigOf : public Base {
 public:
  /// Reads config.json of a folder, or a file; a part of a model finds its own section in a whole
  /// checkpoint's file. A part's file that names another model_type is read with a warning. Throws
  /// ConfigError, naming file, key, what was expected and what was found.
  static T from_pretrained(const std::filesystem::path& path) {
    T config;
    config.read_file(path, T::kSection);
    return config;
  }
  /// Reads the text of such a file.
  static T from_json(std::string_view json) {
    T config;
    config.read_text(json);
    return config;
  }
  std::string_view model_type() const override { return T::kModelType; }
};

/// The configuration itself, once it has passed `validate`: for initialisers of members.
template <class Config>
const Config& validated(const Config& config) {
  config.validate();
  return config;
}

/// The activation functions that a configuration may name ("gelu", "relu", "silu", ...).
INSTRUCTBLIP_EXPORT std::span<const std::string_view> activation_names();
/// The one name of an activation function that has several: "gelu_fast" and "gelu_new" give
/// "gelu_new". `key` is the configuration's key. Throws ConfigError that lists the known names.
INSTRUCTBLIP_EXPORT std::string_view activation_function(std::string_view name,
                                                         std::string_view key);

}  // namespace instructblip
