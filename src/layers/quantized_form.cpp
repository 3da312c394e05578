#include "instructblip/layers/quantized_form.h"

#include <algorithm>

#include "layers/form_reader.h"

namespace instructblip {
namespace {

// In this order, the first that fits.
constexpr const QuantizedForm* kForms[] = {
    &kBitsAndBytes8Bits,       &kBitsAndBytes4Bits,      &kGptq, &kAwq,
    &kPackedCompressedTensors, &kPlainCompressedTensors,
};

std::string described(const QuantizedMatrix& matrix) {
  return to_string(Quantization{.bits = matrix.bits,
                                .group_size = matrix.group_size,
                                .symmetric = !matrix.zero_points.has_value(),
                                .codebook = matrix.codebook ? matrix.codebook->name : ""});
}

}  // namespace

const QuantizedForm* quantized_form(const Weights& layer) {
  const std::string& stored = layer.stored_quantization().method;
  for (const QuantizedForm* form : kForms) {
    if ((stored.empty() || stored.starts_with(form->method)) && form->is_stored(layer)) return form;
  }
  return nullptr;
}

std::optional<QuantizedMatrix> quantized_matrix(const Weights& layer, Index out_features,
                                                Index in_features) {
  const QuantizedForm* const form = quantized_form(layer);
  if (form == nullptr) return std::nullopt;
  return form->read(layer, out_features, in_features);
}

bool are_quantized_alike(std::span<const QuantizedMatrix> matrices, std::size_t count,
                         const Weights& first, const std::string& names) {
  const auto has_no_data = [](const QuantizedMatrix& matrix) {
    return matrix.codes.data == nullptr || matrix.scales.data == nullptr;
  };
  if (matrices.size() == count && std::any_of(matrices.begin(), matrices.end(), has_no_data)) {
    return false;  // noted, or a checkpoint without data
  }
  std::string found = described(matrices[0]);
  bool alike = true;
  for (const QuantizedMatrix& matrix : matrices.subspan(1)) {
    alike &= described(matrix) == described(matrices[0]) && matrix.codebook == matrices[0].codebook;
    found += ", " + described(matrix);
  }
  if (matrices.size() == count && alike) return true;
  if (matrices.size() < count) found += ", and some not at all";
  first.fault("the layers " + names +
              " are multiplied together and must be quantised alike; found " + found);
  return false;
}

}  // namespace instructblip
