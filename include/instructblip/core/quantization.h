// How weights are stored in 8 and 4 bits.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "instructblip/core/export.h"
#include "instructblip/core/index.h"

namespace instructblip {

/// How a weight is quantised.
struct Quantization {
  /// 8 or 4.
  int bits = 8;
  /// The number of inputs of an output that share a scale: 32, 64, 128, 256, 512, 1024, or 0 for
  /// all of them. 8 bits: 0.
  Index group_size = 0;
  /// Whether 0 is the middle of the range. If not, each group has a zero point. 8 bits: true.
  bool symmetric = true;
  /// The whole numbers to which activations are rounded before they are multiplied. 16 bits:
  /// relative to the largest of every 256 inputs (or of a group of fewer), which costs no accuracy.
  /// 8 bits: relative to the largest of a row; only for weights of 8 bits. On CPUs that multiply
  /// bytes (the kernel levels "avx512_vnni", "neon_dotprod" and better ones), this halves the work.
  int activation_bits = 16;
  /// The name of the 16 values that codes of 4 bits stand for, "nf4" or "fp4"; empty: they are
  /// whole numbers. Only for weights that are stored so; the text must outlive the struct.
  std::string_view codebook = {};

  bool operator==(const Quantization&) const = default;
};

/// How the linear layers of each part of a model are quantised; unset: not at all. Embeddings, the
/// patch embedding and the projection between the parts are never quantised, nor is a head that is
/// tied to the embeddings (OPT's, as a rule).
struct QuantizationRecipe {
  std::optional<Quantization> vision_model = {}, qformer = {}, language_model = {};
  /// The language model's output layer.
  std::optional<Quantization> lm_head = {};

  bool operator==(const QuantizationRecipe&) const = default;
};

/// The recipe that a name stands for: "int8" (vision and language model in 8 bits), "int4" (the
/// language model in 4 bits with groups of 128, its head and the vision model in 8), "w8a8" (as
/// "int8", with activations of 8 bits in the vision model; those of language models are too uneven
/// for it), "none", or parts one by one, "vision=w8a8,qformer=int8,language=int4-g32,head=int8".
/// "int4-g32" has groups of 32 inputs, and "int4-g32-zero" also a zero point for each. Throws
/// InputError for anything else.
INSTRUCTBLIP_EXPORT QuantizationRecipe quantization_recipe(std::string_view name);

/// How the settings of a folder say that its matrices are quantised.
struct StoredQuantization {
  /// The method's name and its variant ("gptq_v2", "bitsandbytes nf4"); empty: not, or unknown.
  std::string method = {};
  /// Whether the activations of a module's matrix of 8 bits are rounded to 8 bits, too; if not set,
  /// those of none.
  std::function<bool(std::string_view module)> rounds_activations = {};
};

/// "int8", "w8a8", "int4-g128", "int4-g32-zero", "int4" (one scale per output), "nf4-g64", or
/// "none".
INSTRUCTBLIP_EXPORT std::string to_string(const std::optional<Quantization>& quantization);
/// The parts that are quantised, "vision=int8,language=int4-g128", or "none".
INSTRUCTBLIP_EXPORT std::string to_string(const QuantizationRecipe& recipe);

}  // namespace instructblip
