// How a scope of a checkpoint wants its matrices prepared.
#pragma once

#include <string>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/export.h"
#include "instructblip/kernels/prepared_matrix.h"

namespace instructblip {

inline PreparePolicy prepare_policy(const Weights& weights) {
  return {.dtype = weights.dtype(),
          .activations = weights.activations(),
          .packed = weights.is_packed(),
          .quantization = weights.quantization()};
}

/// The matrix `name` [out_features, in_features] of a scope that is quantised while it is read, if
/// an earlier load has kept it (WeightsOptions::cache); else an empty one.
INSTRUCTBLIP_EXPORT PreparedMatrix kept_matrix(const Weights& weights, const std::string& name,
                                               Index out_features, Index in_features);

/// Keeps the matrix `name` for later loads, if it was quantised and the scope has a cache.
INSTRUCTBLIP_EXPORT void keep_matrix(const Weights& weights, const std::string& name,
                                     const PreparedMatrix& matrix);

}  // namespace instructblip
