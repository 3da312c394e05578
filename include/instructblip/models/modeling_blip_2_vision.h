// The vision tower of BLIP-2, the same as InstructBLIP's (modeling_instructblip_vision.h). Mirrors
// the first part of transformers' models/blip_2/modeling_blip_2.py.
#pragma once

#include <filesystem>

#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/models/modeling_instructblip_vision.h"

namespace instructblip {

/// The vision tower. Immutable; safe to call from several threads.
class Blip2VisionModel : public InstructBlipVisionModel {
 public:
  using Config = Blip2VisionConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  Blip2VisionModel(const Weights& weights, const Blip2VisionConfig& config)
      : InstructBlipVisionModel(weights, config), config_(config) {}
  /// Loads the vision tower's own folder, or its part of a BLIP-2 checkpoint. Throws ConfigError or
  /// CheckpointError.
  static Blip2VisionModel from_pretrained(const std::filesystem::path& path,
                                          const LoadOptions& options = {}) {
    return detail::load_model<Blip2VisionModel>(path, options, {"", "vision_model"},
                                                "embeddings.class_embedding");
  }

  const Blip2VisionConfig& config() const { return config_; }

 private:
  Blip2VisionConfig config_;
};

}  // namespace instructblip
