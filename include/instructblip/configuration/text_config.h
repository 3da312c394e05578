// The configuration of the language model inside an InstructBLIP checkpoint, independent of its
// type.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "instructblip/configuration/pretrained_config.h"
#include "instructblip/core/error.h"

namespace instructblip {

/// Base of OPTConfig, T5Config and LlamaConfig. To add a language model, derive from TextConfigOf
/// in a new file and add one line to src/configuration/text_config.cpp.
class INSTRUCTBLIP_EXPORT TextConfig : public PretrainedConfig {
 public:
  ~TextConfig() override;

  /// Number of rows of the embedding table and the head.
  Index vocab_size = 0;
  // Default ids for `generate`. Unset: the model has none.
  std::optional<std::int64_t> bos_token_id;
  /// Each of these ids ends a text. Empty: none does.
  std::vector<std::int64_t> eos_token_id;
  std::optional<std::int64_t> pad_token_id;
  /// First id of the decoder (T5).
  std::optional<std::int64_t> decoder_start_token_id;
  /// Whether the head shares the embedding table, unless the checkpoint has a head of its own.
  bool tie_word_embeddings = true;
  /// Kept for saving; the models use `is_decoder_only`.
  bool is_encoder_decoder = false;

  // Values that all types have, under different field names.
  /// Width of the hidden states, to which image features are projected.
  virtual Index get_hidden_size() const = 0;
  /// Maximum sequence length; unset: unlimited (T5).
  virtual std::optional<Index> get_max_position_embeddings() const = 0;
  /// Whether prompt and answer form one sequence (OPT, LLaMA): `use_decoder_only_language_model`.
  virtual bool is_decoder_only() const = 0;
  virtual std::unique_ptr<TextConfig> clone() const = 0;

 protected:
  TextConfig();
  TextConfig(const TextConfig&);
  TextConfig& operator=(const TextConfig&);
};

/// Common members of all text configuration classes.
template <class T>
class INSTRUCTBLIP_EXPORT TextConfigOf : public ConfigOf<T, TextConfig> {
 public:
  std::unique_ptr<TextConfig> clone() const override {
    return std::make_unique<T>(static_cast<const T&>(*this));
  }
};

/// Owns a text configuration of any type; never empty. Copies are deep.
///   config.text_config = LlamaConfig();
///   config.text_config->eos_token_id = {2};
///   config.text_config.as<LlamaConfig>().hidden_size
class TextConfigHolder {
 public:
  explicit TextConfigHolder(std::unique_ptr<TextConfig> config) : config_(std::move(config)) {
    if (config_ == nullptr) throw ConfigError("text_config: the configuration is null");
  }
  template <class T>
  requires std::is_base_of_v<TextConfig, T> TextConfigHolder(const T& config)
      : config_(config.clone()) {}  // NOLINT: implicit, so that a config can be assigned
  TextConfigHolder(const TextConfigHolder& other) : config_(other.config_->clone()) {}
  TextConfigHolder& operator=(const TextConfigHolder& other) {
    config_ = other.config_->clone();
    return *this;
  }

  TextConfig& operator*() { return *config_; }
  const TextConfig& operator*() const { return *config_; }
  TextConfig* operator->() { return config_.get(); }
  const TextConfig* operator->() const { return config_.get(); }

  /// The configuration as a T; nullptr if it has another type.
  template <class T>
  const T* get_if() const {
    return dynamic_cast<const T*>(config_.get());
  }
  /// The configuration as a T. Throws ConfigError if it has another type.
  template <class T>
  const T& as() const {
    if (const T* config = get_if<T>()) return *config;
    throw ConfigError("text_config: expected model_type \"" + std::string(T::kModelType) +
                      "\", found \"" + std::string(config_->model_type()) + "\"");
  }
  template <class T>
  T& as() {
    return const_cast<T&>(std::as_const(*this).template as<T>());
  }

 private:
  std::unique_ptr<TextConfig> config_;
};

/// The supported model types: "llama", "opt", "t5".
INSTRUCTBLIP_EXPORT std::vector<std::string> text_config_types();
/// A configuration of this type with default values. Throws ConfigError if the type is not
/// supported.
INSTRUCTBLIP_EXPORT std::unique_ptr<TextConfig> make_text_config(std::string_view model_type);
/// Reads the text configuration from the folder of a language model or of a whole checkpoint. If
/// the file names no model_type, it is read as OPT. Throws ConfigError.
INSTRUCTBLIP_EXPORT TextConfigHolder load_text_config(const std::filesystem::path& path);

}  // namespace instructblip
