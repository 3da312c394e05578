// VisionFeatures: the vision tower's hidden states, which can be kept, saved and used again.
#pragma once

#include <filesystem>
#include <utility>

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// The result of `encode_image`. The vision tower does most of the work and does not depend on the
/// instruction, so encode an image once and pass its features to `generate` or `get_image_features`
/// as often as needed. Copying this struct copies the tensor.
struct VisionFeatures {
  Tensor last_hidden_state;  // [images, 1 + patches, vision hidden_size] float32

  explicit VisionFeatures(Tensor states) : last_hidden_state(std::move(states)) {}

  Index images() const { return last_hidden_state.empty() ? 0 : last_hidden_state.dim(0); }

  /// Writes one safetensors file. Throws CheckpointError if it cannot be written.
  void save(const std::filesystem::path& path) const {
    save_safetensors(path, {{"last_hidden_state", last_hidden_state.view()}});
  }

  /// Reads a file written by `save`. Throws CheckpointError if the file cannot be read or holds
  /// something else.
  static VisionFeatures load(const std::filesystem::path& path) {
    const auto found = SafetensorsFile(path, false).find("last_hidden_state");
    if (!found || found->rank() != 3 || found->dtype != DType::Float32) {
      throw CheckpointError(
          path.string() +
          " holds no vision features: expected a float32 tensor last_hidden_state of "
          "shape [images, 1 + patches, hidden_size]");
    }
    return VisionFeatures(Tensor::copy_of(*found));
  }
};

}  // namespace instructblip
