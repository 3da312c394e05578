// InstructBlipVideoConfig and its parts. Mirrors transformers' configuration_instructblipvideo.py.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "instructblip/configuration/configuration_instructblip.h"

namespace instructblip {

/// The vision tower, the same as InstructBLIP's.
class INSTRUCTBLIP_EXPORT InstructBlipVideoVisionConfig
    : public ConfigOf<InstructBlipVideoVisionConfig, InstructBlipVisionConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblipvideo_vision_model";
};

/// The Q-Former, the same as InstructBLIP's.
class INSTRUCTBLIP_EXPORT InstructBlipVideoQFormerConfig
    : public ConfigOf<InstructBlipVideoQFormerConfig, InstructBlipQFormerConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblipvideo_qformer";
};

/// The whole model. Its field `image_token_index`, the id of the placeholders, is
/// `video_token_index` or `video_token_id` in a file. Defaults: those of transformers.
class INSTRUCTBLIP_EXPORT InstructBlipVideoConfig
    : public ConfigOf<InstructBlipVideoConfig, ImageTextToTextConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblipvideo";

  InstructBlipVideoVisionConfig vision_config;
  InstructBlipVideoQFormerConfig qformer_config;

  std::optional<std::int64_t> video_token_index() const { return image_token_index; }

  const InstructBlipVisionConfig& vision() const override { return vision_config; }
  const InstructBlipQFormerConfig& qformer() const override { return qformer_config; }
  bool qformer_reads_text() const override { return true; }
  std::string modality() const override { return "video"; }
  std::unique_ptr<ImageTextToTextConfig> clone() const override {
    return std::make_unique<InstructBlipVideoConfig>(*this);
  }

 private:
  void read(detail::ConfigReader& reader) override {
    read_all(reader, vision_config, qformer_config);
  }
};

}  // namespace instructblip
