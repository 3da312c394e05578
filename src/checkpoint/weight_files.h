// Finds the files that hold a checkpoint's weights.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace instructblip {

/// The safetensors files of a checkpoint.
struct WeightFiles {
  std::vector<std::filesystem::path> files;
  /// The index of the shards; empty if there is none.
  std::filesystem::path index;
  /// Tensor -> name of its shard, from the index.
  std::map<std::string, std::string> shard_of;
};

/// Of a folder: model.safetensors, otherwise the shards of model.safetensors.index.json, otherwise
/// all model-NNNNN-of-NNNNN.safetensors. Of a file: the shards of an index, otherwise the file
/// itself. Throws CheckpointError if there are none, which says what was found instead, or if a
/// shard is missing.
WeightFiles find_weight_files(const std::filesystem::path& path);

}  // namespace instructblip
