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

#include <string>
#include <utility>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/kernels/quantized_matrix.h"

namespace instructblip {

/// The tensors that store `matrix`, by their names below the layer's scope: 8 bits "int-quantized",
/// 4 bits "pack-quantized". The scales are bfloat16, if that is exact, else float32.
INSTRUCTBLIP_EXPORT std::vector<std::pair<std::string, Tensor>> to_compressed_tensors(
    const QuantizedMatrix& matrix);

}  // namespace instructblip
