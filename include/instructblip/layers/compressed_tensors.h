// Weights that are quantised in the checkpoint, in the format of the `compressed-tensors` package
// (https://github.com/vllm-project/compressed-tensors), which transformers and vLLM read. Below the
// scope of a layer [out, in] lie:
//
//   weight_packed      int32 [out, in * bits / 32], value + 2^(bits - 1), the first inputs in the
//                      low bits ("pack-quantized"), with weight_shape int64 [2] = [out, in]
//   or weight          int8 [out, in] ("int-quantized", "naive-quantized")
//   weight_scale       floating-point [out, groups]
//   weight_zero_point  with codes of 4 bits, optional: int32 [out / 8, groups], packed along the
//                      outputs, or int8 [out, groups]
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/kernels/quantized_matrix.h"

namespace instructblip {

/// Whether the weight of this scope is stored in fewer bits than a floating-point type that layers
/// read.
INSTRUCTBLIP_EXPORT bool is_compressed(const Weights& weights);

/// The weight [out_features, in_features] of this scope, or nothing if it is not compressed. Bits
/// and groups are those that the types and shapes of the tensors say. A tensor that is missing, or
/// does not fit the others, and a kind of quantisation that QuantizedMatrix cannot hold, are
/// recorded in `weights` and reported by `finish`; the result then has codes without data. Thread-
/// safe.
INSTRUCTBLIP_EXPORT std::optional<QuantizedMatrix> compressed_matrix(const Weights& weights,
                                                                     Index out_features,
                                                                     Index in_features);

/// Whether the `count` parts of one product are all among `matrices`, with data, and can be
/// stacked. If they have data but differ, records it as a fault of `first`; `names` is all of them.
INSTRUCTBLIP_EXPORT bool are_quantized_alike(std::span<const QuantizedMatrix> matrices,
                                             std::size_t count, const Weights& first,
                                             const std::string& names);

/// The tensors that store `matrix`, by their names below the layer's scope: 8 bits "int-quantized",
/// 4 bits "pack-quantized". The scales are bfloat16, if that is exact, else float32.
INSTRUCTBLIP_EXPORT std::vector<std::pair<std::string, Tensor>> to_compressed_tensors(
    const QuantizedMatrix& matrix);

}  // namespace instructblip
