// Writes the safetensors format tensor by tensor.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "instructblip/core/tensor.h"

namespace instructblip {

/// A tensor that is to be written.
struct UnwrittenTensor {
  std::string name;
  DType dtype = DType::Float32;
  Shape shape;
  /// Returns the elements when it is their turn; they may then be freed again.
  std::function<SharedTensor()> read;

  std::size_t bytes() const { return to_size(element_count(shape)) * size_of(dtype); }
};

/// save_safetensors (checkpoint/safetensors.h), for tensors that need not all be in memory. Those
/// whose bytes are a multiple of 64 begin at a multiple of 64 in the file, as long as they have no
/// narrower elements than others. Throws what `read` throws, too.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<UnwrittenTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace instructblip
