// A weight matrix in the form that the kernels read.
#pragma once

#include <memory>
#include <span>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// How a weight is prepared.
struct PreparePolicy {
  /// The type that the weight is read in: Float32 or BFloat16, else `prepare` throws InputError. A
  /// tensor that a file holds in this type stays in the mapped file, and so does bfloat16 where
  /// Float32 is asked for (widening is exact); what else there is is converted, tensor by tensor.
  DType dtype = DType::Float32;
};

/// A weight [out_features, in_features] in a form of the kernels' own: mapped as stored, or
/// converted. Only `matmul` and `embedding_rows` look inside. Immutable and cheap to copy (copies
/// share the weight).
class INSTRUCTBLIP_EXPORT PreparedMatrix {
 public:
  struct Impl;

  /// Empty: stands for a weight whose tensor is missing, until loading reports it.
  PreparedMatrix();

  /// Prepares one tensor [out, in], or several [out_i, in] that are stacked along the output (q, k,
  /// v; gate, up) without a copy. Sources without data give an empty matrix. Throws InputError if a
  /// source is not two-dimensional and contiguous, if the inputs differ, or if its type is no
  /// floating-point type.
  static PreparedMatrix prepare(std::span<const SharedTensor> sources,
                                const PreparePolicy& policy = {});
  static PreparedMatrix prepare(const SharedTensor& source, const PreparePolicy& policy = {});

  bool empty() const { return impl_ == nullptr; }
  Index out_features() const;
  Index in_features() const;
  /// The type it is read in.
  DType dtype() const;
  /// Bytes of memory of its own; 0 when it reads from a mapped file.
  std::size_t owned_bytes() const;

  const Impl* impl() const { return impl_.get(); }

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace instructblip
