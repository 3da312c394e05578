// InstructBlipConfig and its parts. Mirrors transformers' configuration_instructblip.py.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "instructblip/configuration/image_text_to_text_config.h"
#include "instructblip/configuration/pretrained_config.h"
#include "instructblip/configuration/text_config.h"

namespace instructblip {

/// The vision tower, a ViT. Defaults: those of Salesforce/instructblip-flan-t5-xl.
class INSTRUCTBLIP_EXPORT InstructBlipVisionConfig : public ConfigOf<InstructBlipVisionConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblip_vision_model";
  static constexpr std::string_view kSection = "vision_config";

  Index hidden_size = 1408;
  /// Width inside the feed-forward layers.
  Index intermediate_size = 6144;
  Index num_hidden_layers = 39;
  Index num_attention_heads = 16;
  /// Height and width of the (square) image in pixels.
  Index image_size = 224;
  /// Height and width of a patch in pixels.
  Index patch_size = 14;
  std::string hidden_act = "gelu";
  double layer_norm_eps = 1e-6;
  /// Whether the joint query, key and value projection has a bias.
  bool qkv_bias = true;
  // Not used by this library; kept for saving.
  double attention_dropout = 0.0;
  double initializer_range = 1e-10;

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

/// The Q-Former: a BERT whose learned queries attend to the image and the instruction. Defaults:
/// those of transformers.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerConfig : public ConfigOf<InstructBlipQFormerConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblip_qformer";
  static constexpr std::string_view kSection = "qformer_config";

  /// Vocabulary size of the Q-Former's tokenizer.
  Index vocab_size = 30522;
  Index hidden_size = 768;
  Index num_hidden_layers = 12;
  Index num_attention_heads = 12;
  /// Width inside the feed-forward layers.
  Index intermediate_size = 3072;
  std::string hidden_act = "gelu";
  /// Maximum length of the instruction in ids.
  Index max_position_embeddings = 512;
  double layer_norm_eps = 1e-12;
  std::optional<std::int64_t> pad_token_id = 0;
  /// Layers 0, n, 2n, ... have cross-attention to the image.
  Index cross_attention_frequency = 2;
  /// Width of the vision tower's hidden states. Inside an InstructBlipConfig, always that of
  /// vision_config.
  Index encoder_hidden_size = 1408;
  // Not used by this library; kept for saving.
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  double initializer_range = 0.02;

 protected:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;

 private:
  void check(const std::string& where) const override;
};

/// The whole model. Defaults: those of transformers.
class INSTRUCTBLIP_EXPORT InstructBlipConfig
    : public ConfigOf<InstructBlipConfig, ImageTextToTextConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblip";

  InstructBlipVisionConfig vision_config;
  InstructBlipQFormerConfig qformer_config;

  /// Combines the three parts; the Q-Former's encoder_hidden_size is set to the vision tower's
  /// width. Throws ConfigError if a part is invalid.
  static InstructBlipConfig from_vision_qformer_text_configs(
      const InstructBlipVisionConfig& vision_config,
      const InstructBlipQFormerConfig& qformer_config, const TextConfigHolder& text_config);

  const InstructBlipVisionConfig& vision() const override { return vision_config; }
  const InstructBlipQFormerConfig& qformer() const override { return qformer_config; }
  bool qformer_reads_text() const override { return true; }
  std::unique_ptr<ImageTextToTextConfig> clone() const override {
    return std::make_unique<InstructBlipConfig>(*this);
  }

 private:
  void read(detail::ConfigReader& reader) override;
};

}  // namespace instructblip
