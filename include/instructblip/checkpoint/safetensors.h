// The safetensors format: one file, mapped into memory or read, whose header is validated before
// use. Mirrors the `safetensors` package (https://github.com/huggingface/safetensors).
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// Description of one tensor, from the header.
struct SafetensorsEntry {
  std::string dtype;  // as written: "F32", "BF16", "F8_E4M3", ...
  Shape shape;
  std::size_t offset = 0;  // of the first byte, from the start of the file
  std::size_t bytes = 0;
};

/// One safetensors file. Copies are cheap and share the mapping. Immutable, so concurrent reads are
/// safe.
class INSTRUCTBLIP_EXPORT SafetensorsFile {
 public:
  /// Opens the file and reads its header, but no tensor data. With `memory_map`, tensors are used
  /// in place: other processes share them, and a process that truncates the file ends this one
  /// with SIGBUS. Without, `find` reads a tensor into memory of its own. Throws CheckpointError if
  /// the file cannot be read, if the header is malformed, or if it does not match the file: offsets
  /// out of range, overlaps, gaps, or a byte range that differs from the product of shape and
  /// element size.
  explicit SafetensorsFile(const std::filesystem::path& path, bool memory_map = true);

  const std::filesystem::path& path() const;
  /// In alphabetical order.
  std::vector<std::string> names() const;
  const std::map<std::string, SafetensorsEntry, std::less<>>& entries() const;
  /// The tensor of this name, or nothing. Its owner keeps the file mapped, and with the owner the
  /// tensor's pages leave this process's memory; a misaligned tensor is copied. Throws
  /// CheckpointError for an unsupported element type (any but F32, F16, BF16, I64, I32, U8 and
  /// BOOL), and if the file is not mapped and can no longer be read.
  std::optional<SharedTensor> find(std::string_view name) const;
  /// The `__metadata__` of the header ("format": "pt").
  const std::map<std::string, std::string, std::less<>>& metadata() const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

/// The element type for its name in a header ("F32"); nothing if it is not supported.
INSTRUCTBLIP_EXPORT std::optional<DType> dtype_from_safetensors(std::string_view name);
/// The name of an element type in a header: "F32".
INSTRUCTBLIP_EXPORT std::string_view safetensors_name_of(DType dtype);

/// Writes `tensors` to one file. An existing file is replaced atomically, after everything is
/// written. Tensors with wider elements come first, so that all are aligned. The default `metadata`
/// is what transformers expects. Throws CheckpointError if the file cannot be written, InputError
/// if a name is duplicated, reserved (`__metadata__`) or not UTF-8.
INSTRUCTBLIP_EXPORT void save_safetensors(
    const std::filesystem::path& path,
    const std::vector<std::pair<std::string, TensorView>>& tensors,
    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace instructblip
