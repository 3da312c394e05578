// The vision tower and the Q-Former of InstructBLIP-Video, the same as InstructBLIP's
// (modeling_instructblip_vision.h, modeling_instructblip_qformer.h): an image is a frame. Mirrors
// the first parts of transformers' models/instructblipvideo/modeling_instructblipvideo.py.
#pragma once

#include <filesystem>

#include "instructblip/configuration/configuration_instructblipvideo.h"
#include "instructblip/models/modeling_instructblip_qformer.h"
#include "instructblip/models/modeling_instructblip_vision.h"

namespace instructblip {

/// The vision tower. Immutable; safe to call from several threads.
class InstructBlipVideoVisionModel : public InstructBlipVisionModel {
 public:
  using Config = InstructBlipVideoVisionConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  InstructBlipVideoVisionModel(const Weights& weights, const InstructBlipVideoVisionConfig& config)
      : InstructBlipVisionModel(weights, config), config_(config) {}
  /// Loads the vision tower's own folder, or its part of an InstructBLIP-Video checkpoint. Throws
  /// ConfigError or CheckpointError.
  static InstructBlipVideoVisionModel from_pretrained(const std::filesystem::path& path,
                                                      const LoadOptions& options = {}) {
    return detail::load_model<InstructBlipVideoVisionModel>(path, options, {"", "vision_model"},
                                                            "embeddings.class_embedding");
  }

  const InstructBlipVideoVisionConfig& config() const { return config_; }

 private:
  InstructBlipVideoVisionConfig config_;
};

/// The Q-Former. Immutable; safe to call from several threads.
class InstructBlipVideoQFormerModel : public InstructBlipQFormerModel {
 public:
  using Config = InstructBlipVideoQFormerConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  InstructBlipVideoQFormerModel(const Weights& weights,
                                const InstructBlipVideoQFormerConfig& config)
      : InstructBlipQFormerModel(weights, config), config_(config) {}
  /// Loads the Q-Former's own folder, or its part of an InstructBLIP-Video checkpoint. Throws
  /// ConfigError or CheckpointError.
  static InstructBlipVideoQFormerModel from_pretrained(const std::filesystem::path& path,
                                                       const LoadOptions& options = {}) {
    return detail::load_model<InstructBlipVideoQFormerModel>(path, options, {"", "qformer"},
                                                             "embeddings.layernorm.weight");
  }

  const InstructBlipVideoQFormerConfig& config() const { return config_; }

 private:
  InstructBlipVideoQFormerConfig config_;
};

}  // namespace instructblip
