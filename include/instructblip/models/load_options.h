// How a model is loaded from a folder.
#pragma once

#include <optional>
#include <string>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/core/dtype.h"
#include "instructblip/core/error.h"
#include "instructblip/core/progress.h"

namespace instructblip {

struct LoadOptions {
  /// The type that matrices are computed in, Float32 or BFloat16; tensors stored in another type
  /// are converted one by one. Unset: BFloat16 where the checkpoint holds mostly that, else
  /// Float32.
  std::optional<DType> dtype = {};
  /// Told of each tensor as it is read.
  ProgressCallback progress = {};
  /// InstructBlipForConditionalGeneration only: after loading, log as warnings what in the folder's
  /// processor, tokenizers and generation settings disagrees with the model (folder_check.h).
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

}  // namespace instructblip
