// A checkpoint on disk: a folder with model.safetensors, a folder of shards, or a single file. Only
// headers are read; tensor data is paged in on first access.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// Description of one tensor, from the headers.
struct CheckpointTensor {
  std::string dtype;  // as the file writes it: "F32", "BF16", ...
  Shape shape;
  std::size_t bytes = 0;
  std::filesystem::path file;  // the shard; empty for tensors in memory
};

/// A PEFT adapter that is merged into a checkpoint.
struct AdapterInfo {
  std::filesystem::path folder;
  /// The base model that the adapter's settings name: a name on the hub, or a path. May be empty.
  std::string base_model_name_or_path;
  /// Number of modules that LoRA changes, and of tensors that are replaced as a whole.
  Index modules = 0, tensors = 0;
  /// The ranks of the modules; 0 if there are none.
  Index least_rank = 0, greatest_rank = 0;
  bool is_dora = false;
};

/// The tensors of a checkpoint. Immutable, so concurrent reads are safe.
class INSTRUCTBLIP_EXPORT Checkpoint {
 public:
  /// Opens a folder (model.safetensors, otherwise model.safetensors.index.json with its shards,
  /// otherwise all of its model-NNNNN-of-NNNNN.safetensors), an index, or a .safetensors file.
  /// Throws CheckpointError if there is no checkpoint, if a shard is missing, if two shards hold
  /// the same tensor, if the index names a tensor that is not in its shard, or if a header is
  /// malformed. For a folder with weights in another format, the message names it and says what to
  /// do. `memory_map`: see SafetensorsFile.
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& path,
                                                bool memory_map = true);

  /// Tensors in memory, for tests and for models created without files.
  static std::shared_ptr<const Checkpoint> from_tensors(std::map<std::string, Tensor> tensors);

  /// The same tensors under the names of the bare model. Wrappers of training tools put parts into
  /// names, such as "module." or "_orig_mod."; these are removed, and so is any other prefix of
  /// `probe`, a tensor of the bare model. A warning names what was removed. Throws CheckpointError
  /// if two tensors then have the same name, or if `probe` is found under several prefixes.
  static std::shared_ptr<const Checkpoint> unwrapped(std::shared_ptr<const Checkpoint> checkpoint,
                                                     std::string_view probe);

  /// The checkpoint with the LoRA adapter in `folder` (peft's adapter_config.json and
  /// adapter_model.safetensors) merged into it, as by peft's merge_and_unload: `find` computes a
  /// changed tensor, W + scale * B A in float32, when it is read; the others are unchanged. LoRA of
  /// linear, embedding and convolution layers with rslora, DoRA, rank and alpha patterns, biases,
  /// modules_to_save and trained tokens. Throws CheckpointError or ConfigError, naming the setting
  /// or the tensor, for adapters of other kinds (the message holds the command that merges them
  /// with peft), adapter_model.bin, and tensors that fit none of the checkpoint. An adapter of the
  /// language model alone is found a place by its names.
  static std::shared_ptr<const Checkpoint> with_adapter(
      std::shared_ptr<const Checkpoint> checkpoint, const std::filesystem::path& folder);

  /// The same names and shapes, but `find` returns views without data. Building a model from it
  /// reads no tensor data and still reports missing tensors and wrong shapes.
  static std::shared_ptr<const Checkpoint> without_data(
      std::shared_ptr<const Checkpoint> checkpoint);

  ~Checkpoint();
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  /// Name for messages: the path that was opened, or "tensors in memory".
  const std::string& where() const;
  /// The opened folder or file; empty for tensors in memory.
  const std::filesystem::path& path() const;
  /// The safetensors files, in alphabetical order.
  const std::vector<std::filesystem::path>& files() const;
  /// All tensors by name.
  const std::map<std::string, CheckpointTensor, std::less<>>& tensors() const;
  std::vector<std::string> names() const;
  /// The adapter of with_adapter, or nullptr.
  const AdapterInfo* adapter() const;
  /// Total size of all tensors in bytes.
  std::size_t bytes() const;
  /// The floating-point type of most elements; nothing if no tensor has a supported one.
  std::optional<DType> dtype() const;

  /// The tensor of this name, or nothing. Its owner keeps the file mapped. Throws CheckpointError
  /// for an unsupported element type.
  std::optional<SharedTensor> find(std::string_view name) const;

 private:
  struct Contents;
  explicit Checkpoint(std::unique_ptr<const Contents> contents);
  std::unique_ptr<const Contents> contents_;
};

}  // namespace instructblip
