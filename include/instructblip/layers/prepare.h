// How a scope of a checkpoint wants its matrices prepared.
#pragma once

#include "instructblip/checkpoint/weights.h"
#include "instructblip/kernels/prepared_matrix.h"

namespace instructblip {

inline PreparePolicy prepare_policy(const Weights& weights) {
  return {.dtype = weights.dtype(),
          .activations = weights.activations(),
          .packed = weights.is_packed(),
          .quantization = weights.quantization()};
}

}  // namespace instructblip
