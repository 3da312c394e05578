// The safetensors format: one file mapped into memory, its header validated before anything is
// believed. Mirrors the `safetensors` package (https://github.com/huggingface/safetensors).
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

/// What a header says about one tensor.
struct SafetensorsEntry {
  std::string dtype;  // as written: "F32", "BF16", "F8_E4M3", ...
  Shape shape;
  std::size_t offset = 0;  // of the first byte, from the beginning of the file
  std::size_t bytes = 0;
};

/// One mapped safetensors file: a cheap copy shares the mapping. Immutable, so that reading from
/// several threads at once is safe.
class INSTRUCTBLIP_EXPORT SafetensorsFile {
 public:
  /// Maps the file and reads its header; no page of a tensor is touched. Throws CheckpointError if
  /// the file cannot be read, if the header is malformed, or if it contradicts the file: offsets
  /// outside, overlapping or with holes, a byte range that is not the product of shape and element
  /// size.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  /// In alphabetical order.
  std::vector<std::string> names() const;
  const std::map<std::string, SafetensorsEntry, std::less<>>& entries() const;
  /// The tensor, or nothing if the file has none of this name. Its owner keeps the file mapped. A
  /// tensor whose first byte does not lie at a multiple of its element's size is copied. Throws
  /// CheckpointError for an element type that the library cannot read (all but F32, F16, BF16, I64,
  /// I32, U8 and BOOL).
  std::optional<SharedTensor> find(std::string_view name) const;
  /// The `__metadata__` of the header ("format": "pt").
  const std::map<std::string, std::string, std::less<>>& metadata() const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

/// The element type for a header's name of it, or nothing for one that the library cannot read.
INSTRUCTBLIP_EXPORT std::optional<DType> dtype_from_safetensors(std::string_view name);
/// The header's name of an element type: "F32".
INSTRUCTBLIP_EXPORT std::string_view safetensors_name_of(DType dtype);

/// Writes `tensors` as one file, in one step: an existing file is replaced once all is written.
/// Tensors of wider elements come first, so that each lies aligned. `metadata` is what transformers
/// expects by default. Throws CheckpointError if it cannot be written, InputError on a name that is
/// given twice, reserved (`__metadata__`) or not UTF-8.
INSTRUCTBLIP_EXPORT void save_safetensors(
    const std::filesystem::path& path,
    const std::vector<std::pair<std::string, TensorView>>& tensors,
    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace instructblip
