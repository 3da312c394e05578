// The forms in which a layer's weight may be stored quantised. A form is one object in a file of
// its own (src/layers/compressed_tensors.cpp, bitsandbytes.cpp, gptq.cpp, awq.cpp) and a line in
// src/layers/quantized_form.cpp.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/export.h"
#include "instructblip/kernels/quantized_matrix.h"

namespace instructblip {

/// How one program stores a quantised layer. Names of tensors are relative to the layer's scope.
struct QuantizedForm {
  /// The "quant_method" of a folder's settings.
  std::string_view method;
  /// The tensors of the layer besides its bias: codes, scales, and all others.
  std::string_view codes, scales;
  std::span<const std::string_view> others;
  /// Whether the layer of this scope is stored so.
  bool (*is_stored)(const Weights& layer);
  /// As quantized_matrix, of a layer that is stored so.
  QuantizedMatrix (*read)(const Weights& layer, Index out_features, Index in_features);
};

/// The form in which the layer of this scope is stored, or nullptr if it is not quantised. Where
/// the folder says how its layers are quantised (Weights::stored_quantization), only forms of this
/// method are considered.
INSTRUCTBLIP_EXPORT const QuantizedForm* quantized_form(const Weights& layer);

/// The weight [out_features, in_features] of this scope in this library's own form, or nothing if
/// it is not quantised. Bits and groups are those that the types and shapes of the tensors say. A
/// tensor that is missing, or does not fit the others, and a kind of quantisation that
/// QuantizedMatrix cannot hold, are recorded in `layer` and reported by `finish`; the result then
/// has codes without data. Thread-safe.
INSTRUCTBLIP_EXPORT std::optional<QuantizedMatrix> quantized_matrix(const Weights& layer,
                                                                    Index out_features,
                                                                    Index in_features);

/// Whether the `count` parts of one product are all among `matrices`, with data, and can be
/// stacked. If they have data but differ, records it as a fault of `first`; `names` is all of them.
INSTRUCTBLIP_EXPORT bool are_quantized_alike(std::span<const QuantizedMatrix> matrices,
                                             std::size_t count, const Weights& first,
                                             const std::string& names);

}  // namespace instructblip
