// Loading a model from a checkpoint folder. In the comments of this folder, the reference is
// transformers 5.24.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/dtype.h"
#include "instructblip/core/error.h"
#include "instructblip/core/export.h"
#include "instructblip/core/progress.h"
#include "instructblip/core/quantization.h"

namespace instructblip {

/// Options of every model's `from_pretrained`, and of `load`.
struct LoadOptions {
  /// The type of the weight matrices in memory: Float32 or BFloat16; any other is an InputError.
  /// Tensors stored in another type are converted while loading, one at a time. Unset: BFloat16 if
  /// most of the checkpoint is stored as that, else Float32.
  std::optional<DType> dtype = {};
  /// Called once per tensor as it is read; counts bytes. Also called with the stage "writing FILE"
  /// before `quantization_cache` writes a file.
  ProgressCallback progress = {};
  /// Only for `load`: check the folder and log its inconsistencies as warnings
  /// (tasks/folder_check.h).
  bool check_folder = true;
  /// Folder of a LoRA adapter of PEFT, which is merged while loading (Checkpoint::with_adapter).
  /// Unset: the one that lies in the model's own folder, if any, as in the reference; an empty
  /// path: none.
  std::optional<std::filesystem::path> adapter = {};
  /// Map the files of weights into memory: tensors are used in place and shared with other
  /// processes, but a process that truncates such a file (a download over it) ends this one with
  /// SIGBUS, and so may a network file system. false: read the tensors into memory of their own;
  /// loading takes longer, and afterwards the files may change.
  bool memory_map = true;
  /// Read tensors that are used in place in the mapped file from the disk now, so that the first
  /// answer does not wait for it. Unset it if the weights are larger than the memory.
  bool prefetch = true;
  /// The type of the activations that bfloat16 matrices are multiplied with, on a CPU that
  /// multiplies bfloat16: Float32, or BFloat16, which rounds them as PyTorch does and needs half
  /// the multiplications (PreparePolicy::activations). Attention in the vision tower and the
  /// Q-Former then rounds them, too (AttentionShape::activations). Any other is an InputError.
  DType activations = DType::Float32;
  /// Which parts are quantised while loading, tensor by tensor (quantization_recipe). Weights that
  /// are quantised in the folder (layers/quantized_form.h) are used as they are; to ask for
  /// more is a ConfigError.
  QuantizationRecipe quantization = {};
  /// Folder in which the matrices that `quantization` makes are kept, one file for a checkpoint and
  /// its recipe (quantization_cache_file), such as default_cache_folder(); empty: nowhere. The
  /// first load writes the file, and later ones map it, or read it without `memory_map`, instead of
  /// quantising. They give the same bits. A file that is damaged is written anew, with a warning,
  /// and so is one of weights that have changed since (by their files' sizes, times, headers and
  /// samples). If it cannot be written, a warning says why, and loading goes on. Several processes
  /// may use the folder at once.
  std::filesystem::path quantization_cache = {};
};

/// The folder for files that can be made again: $INSTRUCTBLIP_CACHE, else
/// $XDG_CACHE_HOME/instructblip, else $HOME/.cache/instructblip. Empty, which stands for none, if
/// INSTRUCTBLIP_CACHE is set to nothing or no variable is set.
INSTRUCTBLIP_EXPORT std::filesystem::path default_cache_folder();

/// The file in which `options.quantization_cache` keeps the quantised matrices of the checkpoint at
/// `path`; empty if nothing is kept. It may be deleted at any time.
INSTRUCTBLIP_EXPORT std::filesystem::path quantization_cache_file(const std::filesystem::path& path,
                                                                  const LoadOptions& options);

/// The type that `options` select for this checkpoint. Throws InputError if options.dtype is
/// neither Float32 nor BFloat16.
inline DType resolve_dtype(const LoadOptions& options, const Checkpoint& checkpoint) {
  if (!options.dtype) {
    return checkpoint.dtype() == DType::BFloat16 ? DType::BFloat16 : DType::Float32;
  }
  if (*options.dtype != DType::Float32 && *options.dtype != DType::BFloat16) {
    throw InputError(
        "dtype is " + std::string(name_of(*options.dtype)) +
        ", expected float32 or bfloat16 (a float16 checkpoint can be computed in either)");
  }
  return *options.dtype;
}

/// options.activations. Throws InputError if it is neither Float32 nor BFloat16.
inline DType resolve_activations(const LoadOptions& options) {
  if (options.activations != DType::Float32 && options.activations != DType::BFloat16) {
    throw InputError("activations is " + std::string(name_of(options.activations)) +
                     ", expected float32 or bfloat16");
  }
  return options.activations;
}

namespace detail {

/// A tensor of InstructBLIP that none of its parts has.
inline constexpr std::string_view kQueryTokens = "query_tokens";

/// How the settings of the folder at `path` say that its weights are quantised
/// (WeightsOptions::stored_quantization). Throws ConfigError if that is a way that cannot be read,
/// or if they are quantised and `options` ask for it once more.
INSTRUCTBLIP_EXPORT StoredQuantization stored_quantization(const std::filesystem::path& path,
                                                           const LoadOptions& options);

/// The checkpoint at `path`, with the bare model's names and the adapter merged. Throws
/// CheckpointError or ConfigError like Checkpoint::open, unwrapped and with_adapter.
INSTRUCTBLIP_EXPORT std::shared_ptr<const Checkpoint> open_checkpoint(
    const std::filesystem::path& path, const LoadOptions& options);

/// The matrices of `options.quantization_cache`, or nullptr. Throws CheckpointError if a file of
/// the checkpoint cannot be read.
INSTRUCTBLIP_EXPORT std::shared_ptr<TensorCache> open_cache(const Checkpoint& checkpoint,
                                                            const LoadOptions& options);

/// The weights of a checkpoint, loaded as `options` say; `stored`: its stored_quantization.
inline Weights weights_of(std::shared_ptr<const Checkpoint> checkpoint, const LoadOptions& options,
                          StoredQuantization stored) {
  const DType dtype = resolve_dtype(options, *checkpoint);
  auto cache = open_cache(*checkpoint, options);
  return Weights(std::move(checkpoint), {.dtype = dtype,
                                         .activations = resolve_activations(options),
                                         .quantization = options.quantization,
                                         .stored_quantization = std::move(stored),
                                         .progress = options.progress,
                                         .prefetch = options.prefetch,
                                         .cache = std::move(cache)});
}

/// The weights of the checkpoint at `path`. Throws like stored_quantization and open_checkpoint.
inline Weights open_weights(const std::filesystem::path& path, const LoadOptions& options) {
  StoredQuantization stored = stored_quantization(path, options);
  return weights_of(open_checkpoint(path, options), options, std::move(stored));
}

/// Loads a model from the folder at `path`. Its tensors have the first of `prefixes` under which
/// `probe` exists; all of them must be used, but for those of `others`. Throws ConfigError or
/// CheckpointError.
template <class Model>
Model load_model(const std::filesystem::path& path, const LoadOptions& options,
                 std::initializer_list<std::string_view> prefixes, std::string_view probe,
                 std::initializer_list<std::string_view> others = {}) {
  const auto config = Model::Config::from_pretrained(path);
  const Weights weights = open_weights(path, options).at_first_prefix(prefixes, probe);
  for (const std::string_view name : others) weights[name].ignore();
  Model model(weights, config);
  weights.finish();
  return model;
}

}  // namespace detail

}  // namespace instructblip
