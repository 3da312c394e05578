// How a model is loaded from a folder.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/dtype.h"
#include "instructblip/core/error.h"
#include "instructblip/core/progress.h"

namespace instructblip {

/// What `from_pretrained` of every model takes besides the path.
struct LoadOptions {
  /// The type that matrices are computed in, Float32 or BFloat16 (InputError on another); tensors
  /// stored in another type are converted one by one. Unset: BFloat16 where the checkpoint holds
  /// mostly that, else Float32.
  std::optional<DType> dtype = {};
  /// Told of each tensor as it is read.
  ProgressCallback progress = {};
  /// `load` only: log as warnings what in the folder's processor, tokenizers and generation
  /// settings disagrees with the model (tasks/folder_check.h).
  bool check_folder = true;
};

/// The type that `options` mean for this checkpoint. Throws InputError for a type that matrices
/// cannot be computed in.
inline DType resolve_dtype(const LoadOptions& options, const Checkpoint& checkpoint) {
  if (!options.dtype) {
    return checkpoint.dtype() == DType::BFloat16 ? DType::BFloat16 : DType::Float32;
  }
  if (*options.dtype != DType::Float32 && *options.dtype != DType::BFloat16) {
    throw InputError("dtype is " + std::string(name_of(*options.dtype)) +
                     ", expected float32 or bfloat16 (float16 checkpoints are computed in either)");
  }
  return *options.dtype;
}

namespace detail {

/// The weights of the checkpoint at `path`. Throws CheckpointError as Checkpoint::open.
inline Weights open_weights(const std::filesystem::path& path, const LoadOptions& options) {
  const auto checkpoint = Checkpoint::open(path);
  return Weights(checkpoint, resolve_dtype(options, *checkpoint), options.progress);
}

/// A model that lies in the folder at `path` below the first of `prefixes` under which `probe`
/// exists, and reads all that is there. Throws ConfigError or CheckpointError.
template <class Model, class Config>
Model load_model(const std::filesystem::path& path, const LoadOptions& options,
                 std::initializer_list<std::string_view> prefixes, std::string_view probe) {
  const Config config = Config::from_pretrained(path);
  const Weights weights = open_weights(path, options).at_first_prefix(prefixes, probe);
  Model model(weights, config);
  weights.finish();
  return model;
}

}  // namespace detail

}  // namespace instructblip
