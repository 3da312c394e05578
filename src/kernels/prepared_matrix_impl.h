// The contents of a PreparedMatrix.
#pragma once

#include <memory>
#include <vector>

#include "instructblip/kernels/prepared_matrix.h"

namespace instructblip {

inline Index round_up(Index n, Index multiple) { return (n + multiple - 1) / multiple * multiple; }

struct WeightFormat;

struct PreparedMatrix::Impl {
  // Rows [begin, end), contiguous and aligned to their elements.
  struct Part {
    const void* data = nullptr;
    Index begin = 0, end = 0;
    std::shared_ptr<const void> owner;
  };

  Index out_features = 0;
  Index in_features = 0;
  const WeightFormat* format = nullptr;
  // Whether a level may multiply in bfloat16, and with which activations.
  bool tiles = false;
  DType activations = DType::Float32;
  std::size_t owned_bytes = 0;
  std::vector<Part> parts;
  // Instead of parts, if the weight is packed (panels.h).
  std::shared_ptr<const Tensor> panels;
  // The same weight as a float32 matrix whose elements are pairs of inputs (PairKernels), if it is
  // to be multiplied with bfloat16 activations.
  std::shared_ptr<const Impl> pairs;

  // Row `o`, whose elements are stored as T.
  template <class T>
  const T* row(Index o) const {
    std::size_t p = 0;
    while (o >= parts[p].end) ++p;
    return static_cast<const T*>(parts[p].data) + (o - parts[p].begin) * in_features;
  }
};

}  // namespace instructblip
