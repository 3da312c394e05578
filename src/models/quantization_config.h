// The "quantization_config" of a folder's config.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "instructblip/configuration/image_text_to_text_config.h"
#include "instructblip/core/quantization.h"

namespace instructblip::detail {

/// The `quant_method` and variant of the folder's weights: "compressed-tensors pack-quantized",
/// "bitsandbytes nf4", "gptq_v2", "awq gemm"; empty if they are not quantised. Throws ConfigError,
/// naming the method or the setting and what to do, for a kind that is not read
/// (layers/quantized_form.h). Logs a warning if the settings also quantise the cache of keys and
/// values, or activations in another way than "w8a8" (each row as it comes, symmetrically), which
/// this library does not. `path` may be anything that Checkpoint::open takes; only a folder has
/// settings.
StoredQuantization quantization_of_folder(const std::filesystem::path& path);
/// The same for a configuration that was read from the folder already.
StoredQuantization quantization_of(const ImageTextToTextConfig& config,
                                   const std::filesystem::path& folder);

/// Throws ConfigError if `recipe` asks to quantise the weights of such a folder once more.
void refuse_second_quantization(const std::filesystem::path& path, const std::string& found,
                                const QuantizationRecipe& recipe);

/// A linear layer of a checkpoint that is to be written: its module's name, and its scheme, with a
/// group size that divides its inputs; unset: it stays as it is.
struct LayerScheme {
  std::string module;
  std::optional<Quantization> quantization;
};

/// The text of `config`, a config.json, with the "quantization_config" of a checkpoint whose layers
/// are stored as to_compressed_tensors does. Each scheme is a group whose targets are expressions
/// for the names of the layers; the other layers are listed under "ignore".
std::string with_quantization_config(const std::string& config, const std::string& where,
                                     const std::vector<LayerScheme>& layers);

}  // namespace instructblip::detail
