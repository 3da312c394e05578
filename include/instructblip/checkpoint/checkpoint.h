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
