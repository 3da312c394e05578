// Writes a checkpoint with weights of 8 and 4 bits, which then loads without its large original.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

#include "instructblip/core/export.h"
#include "instructblip/core/index.h"
#include "instructblip/core/progress.h"
#include "instructblip/core/quantization.h"

namespace instructblip {

struct QuantizeOptions {
  /// Folder of a LoRA adapter of PEFT that is merged into the weights first. Unset: the one that
  /// lies in the source folder, if any; an empty path: none.
  std::optional<std::filesystem::path> adapter = {};
  /// The most bytes of tensors in a file, unless a single tensor has more. They are held in memory
  /// until the file is written.
  std::size_t max_shard_bytes = 1'000'000'000;
  /// Called for each tensor; counts bytes of the source.
  ProgressCallback progress = {};
};

/// What quantize_checkpoint did.
struct QuantizeReport {
  Index quantized_matrices = 0;
  Index shards = 0, resumed_shards = 0;     // the latter had been written by an interrupted call
  std::size_t source_bytes = 0, bytes = 0;  // of all tensors
};

/// Quantises the linear layers of the InstructBLIP checkpoint in the folder `source` as `recipe`
/// says, and writes a folder `target` in the format of compressed-tensors (8 bits "int-quantized",
/// 4 bits "pack-quantized"), which this library and transformers read. Other tensors are as in the
/// source, and so are all files but the weights and config.json. A model that is loaded from it
/// computes the same bits as one from the source with LoadOptions::quantization.
///
/// The folder is written as TARGET.partial and renamed at the end, so that `target` is always
/// complete. After an interruption, the same call goes on where the last complete file ended.
/// Memory: about max_shard_bytes, and the largest tensor in float32.
///
/// Throws InputError if `target` exists, if `recipe` quantises nothing, or if a group of inputs
/// does not divide a layer's (the format has none); ConfigError if the source is quantised already;
/// CheckpointError if TARGET.partial belongs to another recipe or source, if the disk is too full,
/// and for what loading the source would throw. Two calls with the same target must not run at the
/// same time.
INSTRUCTBLIP_EXPORT QuantizeReport quantize_checkpoint(const std::filesystem::path& source,
                                                       const std::filesystem::path& target,
                                                       const QuantizationRecipe& recipe,
                                                       const QuantizeOptions& options = {});

}  // namespace instructblip
