// What matmul and embedding_rows see of a PreparedMatrix.
#pragma once

#include <memory>
#include <vector>

#include "instructblip/kernels/prepared_matrix.h"

namespace instructblip {

struct PreparedMatrix::Impl {
  // Rows [begin, end) of the whole, row-major and contiguous, aligned to their element.
  struct Part {
    const void* data = nullptr;
    Index begin = 0, end = 0;
    std::shared_ptr<const void> owner;
  };

  Index out_features = 0;
  Index in_features = 0;
  DType dtype = DType::Float32;  // Float32 or BFloat16
  std::size_t owned_bytes = 0;
  std::vector<Part> parts;

  // Row `o` as stored.
  template <class T>
  const T* row(Index o) const {
    std::size_t p = 0;
    while (o >= parts[p].end) ++p;
    return static_cast<const T*>(parts[p].data) + (o - parts[p].begin) * in_features;
  }
};

}  // namespace instructblip
