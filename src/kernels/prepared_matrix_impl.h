// The contents of a PreparedMatrix.
#pragma once

#include <memory>
#include <vector>

#include "instructblip/kernels/prepared_matrix.h"
#include "kernels/kernel_table.h"

namespace instructblip {

inline Index round_up(Index n, Index multiple) { return (n + multiple - 1) / multiple * multiple; }

struct WeightFormat;

// A weight of 8 or 4 bits.
struct IntegerWeight {
  int bits = 8;
  int activation_bits = 16;
  Index depth = 0;             // inputs, rounded up to 32
  Index block = 0;             // inputs of x with a scale
  Index blocks_per_group = 1;  // of inputs of the weight with a scale
  // Of the tensors: codes [tiles of kIntegerOutputs outputs, kIntegerOutputs * depth * bits / 8]
  // (IntegerProduct::w), and [tiles, groups, kIntegerOutputs]. Codes of 8 bits are those of the
  // matrix plus 128.
  PreparedTiles tiles;

  // Of tile i.
  const std::uint8_t* codes(Index i) const {
    return static_cast<const std::uint8_t*>(tiles.codes.data) +
           i * kIntegerOutputs * depth * bits / 8;
  }
  const float* scales(Index i) const {
    return static_cast<const float*>(tiles.scales.data) + i * tiles.scales.dim(1) * kIntegerOutputs;
  }
  // Or nullptr, if all are alike.
  const std::uint8_t* zero_points(Index i) const {
    const auto* const zeros = static_cast<const std::uint8_t*>(tiles.zero_points.data);
    return zeros == nullptr ? nullptr : zeros + i * tiles.scales.dim(1) * kIntegerOutputs;
  }
};

// A weight of 4 bits whose codes stand for 16 values.
struct CodebookWeight {
  Codebook codebook;
  // Inputs with a scale: kCodeUnit, or a divisor of it.
  Index step = kCodeUnit;
  // [out, units of kCodeUnit inputs, kCodeUnit / 2], each in the order of code_byte; float32 [out,
  // inputs / step, rounded up].
  Tensor codes, scales;
};

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
  std::size_t bytes = 0;  // of all elements and scales
  std::vector<Part> parts;
  // Instead of parts, if the weight is packed (panels.h).
  std::shared_ptr<const Tensor> panels;
  // Instead of parts and a format, if the weight is quantised.
  std::shared_ptr<const IntegerWeight> integers;
  // Instead of parts, if the weight has the format kCodebookFormat.
  std::shared_ptr<const CodebookWeight> codebook;
  // A bfloat16 weight as a float32 matrix whose elements are pairs of inputs (PairKernels), if its
  // rows are rows of pairs.
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
