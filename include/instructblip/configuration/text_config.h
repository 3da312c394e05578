// The configuration of a language model inside an InstructBLIP checkpoint, whatever its kind.
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

/// Base of OPTConfig, T5Config and LlamaConfig. A new kind of language model derives from it in a
/// file of its own and gets one line in src/configuration/text_config.cpp.
class INSTRUCTBLIP_EXPORT TextConfig : public PretrainedConfig {
 public:
  ~TextConfig() override;

  /// Rows of the embedding table and of the head.
  Index vocab_size = 0;
  // Ids that `generate` uses unless it is told otherwise. Unset: the model has none.
  std::optional<std::int64_t> bos_token_id;
  /// Any of these ends a text; empty: none does.
  std::vector<std::int64_t> eos_token_id;
  std::optional<std::int64_t> pad_token_id;
  /// First id of a decoder (T5).
  std::optional<std::int64_t> decoder_start_token_id;
  /// Whether the head shares the embedding table, where the checkpoint does not say otherwise.
  bool tie_word_embeddings = true;
  /// Kept for the file; `is_decoder_only` is what counts.
  bool is_encoder_decoder = false;

  // The same for every kind, under whatever names its fields have.
  /// Width of the hidden states, and of what the image features are projected to.
  virtual Index get_hidden_size() const = 0;
  /// Longest sequence that the positions allow; unset: no bound (T5).
  virtual std::optional<Index> get_max_position_embeddings() const = 0;
  /// Whether prompt and answer are one row (OPT, LLaMA): `use_decoder_only_language_model`.
  virtual bool is_decoder_only() const = 0;
  virtual std::unique_ptr<TextConfig> clone() const = 0;

 protected:
  TextConfig();
  TextConfig(const TextConfig&);
  TextConfig& operator=(const TextConfig&);
};

/// What every text configuration has besides.
template <class T>
class INSTRUCTBLIP_EXPORT TextConfigOf : public ConfigOf<T, TextConfig> {
 public:
  std::unique_ptr<TextConfig> clone() const override {
    return std::make_unique<T>(static_cast<const T&>(*this));
  }
};

/// Holds a text configuration of any kind; never empty. A copy copies it.
///   config.text_config = LlamaConfig();
///   config.text_config->eos_token_id = {2};
///   config.text_config.as<LlamaConfig>().hidden_size
class TextConfigHolder {
 public:
  explicit TextConfigHolder(std::unique_ptr<TextConfig> config) : config_(std::move(config)) {
    if (config_ == nullptr) throw ConfigError("text_config: there is none");
  }
  template <class T>
  requires std::is_base_of_v<TextConfig, T> TextConfigHolder(const T& config)
      : config_(config.clone()) {}  // NOLINT: as a plain value
  TextConfigHolder(const TextConfigHolder& other) : config_(other.config_->clone()) {}
  TextConfigHolder& operator=(const TextConfigHolder& other) {
    config_ = other.config_->clone();
    return *this;
  }

  TextConfig& operator*() { return *config_; }
  const TextConfig& operator*() const { return *config_; }
  TextConfig* operator->() { return config_.get(); }
  const TextConfig* operator->() const { return config_.get(); }

  /// As its own kind; nullptr if it is another.
  template <class T>
  const T* get_if() const {
    return dynamic_cast<const T*>(config_.get());
  }
  /// As its own kind; throws ConfigError if it is another.
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

/// The kinds that can be read: "llama", "opt", "t5".
INSTRUCTBLIP_EXPORT std::vector<std::string> text_config_types();
/// A configuration of this kind with its defaults. Throws ConfigError for one that is not known.
INSTRUCTBLIP_EXPORT std::unique_ptr<TextConfig> make_text_config(std::string_view model_type);
/// Reads the text configuration of a language model's own folder, or that of a whole checkpoint's;
/// OPT's where the file names no model_type. Throws ConfigError.
INSTRUCTBLIP_EXPORT TextConfigHolder load_text_config(const std::filesystem::path& path);

}  // namespace instructblip
