// The base of all configurations: reads and writes config.json. Mirrors transformers'
// configuration_utils.py (PreTrainedConfig). "The reference" means transformers 5.24.
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

/// Base of every configuration. ConfigOf describes how one is read. Generation settings in old
/// files (`num_beams`, `max_length`, ...) are dropped, as in the reference.
class INSTRUCTBLIP_EXPORT PretrainedConfig {
 public:
  virtual ~PretrainedConfig();

  /// The type of the saved weights: `dtype`, or `torch_dtype` in older files.
  std::optional<DType> dtype;
  /// Unknown keys of the file with their values as JSON text. Saving writes them back.
  std::map<std::string, std::string> other;

  /// "instructblip", "llama", ...
  virtual std::string_view model_type() const = 0;
  /// The configuration as JSON with sorted keys, as the reference writes it.
  std::string to_json() const;
  /// Writes `folder`/config.json; creates the folder if necessary. Throws ConfigError on failure.
  void save_pretrained(const std::filesystem::path& folder) const;
  /// Throws ConfigError if the configuration is invalid: a size that is not positive, heads that do
  /// not divide the hidden size, an unknown activation. Reading a file and building a model call
  /// it.
  void validate() const;

 protected:
  PretrainedConfig();
  PretrainedConfig(const PretrainedConfig&);
  PretrainedConfig& operator=(const PretrainedConfig&);

  /// The key of this configuration in the config.json of a whole checkpoint. "": the section with
  /// the right model_type is used.
  static constexpr std::string_view kSection = "";
  void read_file(const std::filesystem::path& path, std::string_view section);
  void read_text(std::string_view json);

 private:
  friend class detail::ConfigReader;
  friend class detail::ConfigWriter;
  virtual void read(detail::ConfigReader& reader) = 0;
  virtual void write(detail::ConfigWriter& writer) const = 0;
  /// `where` names the configuration in messages.
  virtual void check(const std::string& where) const = 0;
};

/// Common members of all configuration classes. T defines `kModelType` and, for a part of
/// InstructBlipConfig, `kSection`.
template <class T, class Base = PretrainedConfig>
class INSTRUCTBLIP_EXPORT ConfigOf : public Base {
 public:
  /// Reads a file or the config.json of a folder. A part of a model finds its own section in the
  /// file of a whole checkpoint. A file with another model_type is read with a warning. Throws
  /// ConfigError that names the file, the key, what was expected and what was found.
  static T from_pretrained(const std::filesystem::path& path) {
    T config;
    config.read_file(path, T::kSection);
    return config;
  }
  /// Reads the contents of such a file.
  static T from_json(std::string_view json) {
    T config;
    config.read_text(json);
    return config;
  }
  std::string_view model_type() const override { return T::kModelType; }
};

/// Returns `config` after calling validate() on it, for use in member initialisers.
template <class Config>
const Config& validated(const Config& config) {
  config.validate();
  return config;
}

/// The names of all supported activation functions ("gelu", "relu", "silu", ...).
INSTRUCTBLIP_EXPORT std::span<const std::string_view> activation_names();
/// The canonical name of an activation function: "gelu_new" for "gelu_fast". Throws ConfigError
/// that names `key` and lists the supported names.
INSTRUCTBLIP_EXPORT std::string_view activation_function(std::string_view name,
                                                         std::string_view key);

}  // namespace instructblip
