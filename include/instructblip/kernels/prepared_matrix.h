// A weight matrix in the form that the kernels read.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/kernels/quantized_matrix.h"

namespace instructblip {

/// How a weight is prepared.
struct PreparePolicy {
  /// The type of the weight in memory, Float32 or BFloat16; `prepare` throws InputError for others.
  /// A tensor stored in this type is not copied and stays in the mapped file. The same holds for
  /// stored bfloat16 if Float32 is requested, because widening is exact; such a weight is then
  /// multiplied in float32 on every CPU. Other tensors are converted one at a time.
  DType dtype = DType::Float32;
  /// The type of the activations that a bfloat16 weight is multiplied with, on a CPU that
  /// multiplies bfloat16 (the levels "amx", "avx512_bf16" and "neon_bf16"). Float32: every
  /// activation is the sum of two bfloat16 numbers, to 2^-17 of itself. BFloat16: it is rounded to
  /// bfloat16, as PyTorch does, and needs half the multiplications. Activations stay float32 on
  /// other levels, with other weights, and, but for "amx", if the weight is not packed and has an
  /// odd number of inputs. `prepare` throws InputError for other types.
  DType activations = DType::Float32;
  /// Copy the weight into an order in which products with many rows are fastest. Sums then have
  /// another order than those of an unpacked weight. Not for tables of embeddings.
  bool packed = false;
  /// Quantise the weight, if `can_quantize` takes it; `dtype`, `activations` and `packed` then have
  /// no meaning. Not for tables of embeddings. A product rounds every 256 inputs of x (or a group
  /// of fewer) to whole numbers between -32512 and 32512, relative to the largest of them, or, with
  /// activations of 8 bits, every 32768 inputs to numbers between -127 and 127. It has the same
  /// bits on every CPU.
  std::optional<Quantization> quantization = {};
};

/// The tensors of a quantised weight in the order in which products read them, to be kept in a
/// file. `tiles` is the number of outputs divided by that of a tile, rounded up.
struct PreparedTiles {
  /// Another one if the same weight gives other tensors.
  static constexpr int kVersion = 1;
  /// The alignment of each tensor's memory in bytes that `from_tiles` requires.
  static constexpr std::size_t kAlignment = 16;

  /// UInt8 [tiles, bytes of a tile].
  SharedTensor codes;
  /// Float32 [tiles, groups of inputs, outputs of a tile].
  SharedTensor scales;
  /// UInt8, with the shape of the scales; without data if all zero points are alike.
  SharedTensor zero_points;
};

/// A weight [out_features, in_features], either mapped as stored or converted. Its form is private
/// to `matmul` and `embedding_rows`. Immutable and cheap to copy: copies share the weight.
class INSTRUCTBLIP_EXPORT PreparedMatrix {
 public:
  struct Impl;

  /// An empty matrix: the placeholder for a missing tensor until loading reports it.
  PreparedMatrix();

  /// Prepares one tensor [out, in], or several [out_i, in] stacked along the output without a copy
  /// (q, k, v; gate, up). The result is empty if a source has no data. Throws InputError if a
  /// source is not two-dimensional, contiguous and of a floating-point type, or if the numbers of
  /// inputs differ.
  static PreparedMatrix prepare(std::span<const SharedTensor> sources,
                                const PreparePolicy& policy = {});
  static PreparedMatrix prepare(const SharedTensor& source, const PreparePolicy& policy = {});
  /// Weights that are quantised already, all in the same way. They are copied into the order in
  /// which products read them. Throws InputError if the sources differ or their tensors do not have
  /// the types and shapes that QuantizedMatrix documents.
  static PreparedMatrix prepare(std::span<const QuantizedMatrix> sources);

  /// A matrix from the tiles of an equal one that was quantised with this policy. Throws InputError
  /// if they do not have the types, shapes and alignment of such tiles.
  static PreparedMatrix from_tiles(PreparedTiles tiles, Index out_features, Index in_features,
                                   const PreparePolicy& policy);
  /// The tiles of a quantised weight, which share its memory; nothing for others.
  std::optional<PreparedTiles> tiles() const;

  bool empty() const { return impl_ == nullptr; }
  Index out_features() const;
  Index in_features() const;
  /// The type of the weight in memory; of 8 bits Int8, of 4 bits UInt8.
  DType dtype() const;
  /// Bytes of the elements and scales in memory, mapped ones as well.
  std::size_t bytes() const;
  /// Bytes allocated for converted tensors; 0 if all are read from the mapped file.
  std::size_t owned_bytes() const;

  const Impl* impl() const { return impl_.get(); }

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace instructblip
