// Blip2Config and its parts. Mirrors transformers' configuration_blip_2.py.
#pragma once

#include <memory>
#include <string_view>

#include "instructblip/configuration/configuration_instructblip.h"

namespace instructblip {

/// The vision tower, the same as InstructBLIP's.
class INSTRUCTBLIP_EXPORT Blip2VisionConfig
    : public ConfigOf<Blip2VisionConfig, InstructBlipVisionConfig> {
 public:
  static constexpr std::string_view kModelType = "blip_2_vision_model";
};

/// The Q-Former. `vocab_size`, `max_position_embeddings` and `pad_token_id` are only used by models
/// with a text embedding of their own.
class INSTRUCTBLIP_EXPORT Blip2QFormerConfig
    : public ConfigOf<Blip2QFormerConfig, InstructBlipQFormerConfig> {
 public:
  static constexpr std::string_view kModelType = "blip_2_qformer";

  /// Whether the layers have a feed-forward block for text. `qformer_text_input` in a file is the
  /// older spelling, which the reference ignores; this one takes precedence.
  bool use_qformer_text_input = false;

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
};

/// The whole model. Defaults: those of transformers.
class INSTRUCTBLIP_EXPORT Blip2Config : public ConfigOf<Blip2Config, ImageTextToTextConfig> {
 public:
  static constexpr std::string_view kModelType = "blip-2";

  Blip2VisionConfig vision_config;
  Blip2QFormerConfig qformer_config;
  /// Width of the space in which images and texts are compared.
  Index image_text_hidden_size = 256;

  const InstructBlipVisionConfig& vision() const override { return vision_config; }
  const InstructBlipQFormerConfig& qformer() const override { return qformer_config; }
  bool qformer_reads_text() const override { return false; }
  std::unique_ptr<ImageTextToTextConfig> clone() const override {
    return std::make_unique<Blip2Config>(*this);
  }

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

}  // namespace instructblip
