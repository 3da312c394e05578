// A checkpoint on disk: a folder with model.safetensors, a folder of shards with their index, or
// one file. Reads headers alone; tensors stay in the mapped files until somebody looks at their
// elements.
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

/// What the headers say about one tensor.
struct CheckpointTensor {
  std::string dtype;  // as the file writes it: "F32", "BF16", ...
  Shape shape;
  std::size_t bytes = 0;
  std::filesystem::path file;  // the shard that holds it; empty for tensors in memory
};

/// The tensors of a checkpoint. Immutable: reading from several threads at once is safe.
class INSTRUCTBLIP_EXPORT Checkpoint {
 public:
  /// Opens a folder (model.safetensors, else model.safetensors.index.json with its shards), an
  /// index, or a .safetensors file. Throws CheckpointError if there is none, if a shard is absent,
  /// if the index names a tensor that its shard lacks, or if a header is malformed. A folder with
  /// nothing but pytorch_model*.bin is refused with the command that converts it.
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& path);

  /// Tensors in memory, for tests and for models that are made without files.
  static std::shared_ptr<const Checkpoint> from_tensors(std::map<std::string, Tensor> tensors);

  /// The same names and shapes, but `find` gives views without data: a model that is built from it
  /// touches no page and says what is missing or misshapen.
  static std::shared_ptr<const Checkpoint> without_data(
      std::shared_ptr<const Checkpoint> checkpoint);

  ~Checkpoint();
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  /// What was opened, for messages: the path, or "tensors in memory".
  const std::string& where() const;
  /// The folder or file that was opened; empty for tensors in memory.
  const std::filesystem::path& path() const;
  /// The safetensors files, in alphabetical order.
  const std::vector<std::filesystem::path>& files() const;
  /// All tensors by name.
  const std::map<std::string, CheckpointTensor, std::less<>>& tensors() const;
  std::vector<std::string> names() const;
  /// Bytes of all tensors together.
  std::size_t bytes() const;
  /// The floating-point type that most elements are stored in; nothing if there is none that can be
  /// read.
  std::optional<DType> dtype() const;

  /// The tensor, or nothing if there is none of this name. Its owner keeps the file mapped. Throws
  /// CheckpointError for an element type that the library cannot read.
  std::optional<SharedTensor> find(std::string_view name) const;

 private:
  struct Contents;
  explicit Checkpoint(std::unique_ptr<const Contents> contents);
  std::unique_ptr<const Contents> contents_;
};

}  // namespace instructblip
