#include "models/quantization_config.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "core/json_reader.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip::detail {
namespace {

constexpr std::string_view kAdvice =
    "load the checkpoint that this one was made from (LoadOptions::quantization, or --weights "
    "int8 or int4, quantises it while loading), or one in compressed-tensors with weights of 8 or "
    "4 bits";

constexpr std::array<std::string_view, 4> kFormats = {"pack-quantized", "int-quantized",
                                                      "naive-quantized", "mixed-precision"};

[[noreturn]] void refuse(const JsonValue& settings, const std::string& what) {
  settings.fail(what + ", which is not supported; " + std::string(kAdvice));
}

void check_format(const JsonValue& settings, const std::string& format) {
  if (std::find(kFormats.begin(), kFormats.end(), format) != kFormats.end()) return;
  refuse(settings, "the weights are in the format \"" + format + "\" of compressed-tensors");
}

// Whether a section is present and says anything.
bool is_set(const JsonValue& settings, std::string_view key) {
  const std::optional<JsonValue> value = settings.get(key);
  return value && !(value->is_object() && value->items().empty());
}

void check_group(const JsonValue& group, const std::string& method_format) {
  if (const auto format = group.get<std::string>("format")) check_format(group, *format);
  const std::optional<JsonValue> weights = group.get("weights");
  if (!weights) return;
  const auto type = weights->get_or<std::string>("type", "int");
  const auto bits = weights->get_or<std::int64_t>("num_bits", 8);
  if (type != "int") {
    refuse(*weights, "the weights are of type \"" + type + "\" with " + std::to_string(bits) +
                         " bits (" + method_format + ")");
  }
  if (bits != 8 && bits != 4) {
    refuse(*weights, "the weights have " + std::to_string(bits) + " bits");
  }
}

// Activations are multiplied as they are, which only makes answers more exact.
void warn_of_activations(const JsonValue& settings, const JsonValue& groups) {
  std::string kept;
  const auto keep = [&](const char* name) {
    if (kept.find(name) == std::string::npos)
      kept += (kept.empty() ? "" : " and ") + std::string(name);
  };
  for (const auto& group : groups.items()) {
    if (is_set(group.value, "input_activations")) keep("input_activations");
    if (is_set(group.value, "output_activations")) keep("output_activations");
  }
  if (is_set(settings, "kv_cache_scheme")) keep("kv_cache_scheme");
  if (kept.empty()) return;
  log_warning(settings.where() + ": " + kept +
              ": only weights are quantised here, so answers may differ from those of programs "
              "that also round activations");
}

std::string read_settings(const JsonValue& settings) {
  settings.require_object();
  const auto method = settings.get_or<std::string>("quant_method", "");
  if (method != "compressed-tensors") {
    const bool is_bitsandbytes = settings.has("load_in_4bit") || settings.has("load_in_8bit");
    refuse(settings, "the weights are quantised by " +
                         (!method.empty()   ? "\"" + method + "\""
                          : is_bitsandbytes ? std::string("\"bitsandbytes\"")
                                            : std::string("an unnamed method (no quant_method)")));
  }
  const auto format = settings.get_or<std::string>("format", "");
  check_format(settings, format);
  const auto status = settings.get_or<std::string>("quantization_status", "compressed");
  if (status != "compressed") {
    refuse(settings, "quantization_status is \"" + status + "\", expected \"compressed\": the " +
                         "weights are not stored in few bits");
  }
  if (const auto sparsity = settings.get("sparsity_config")) {
    const auto kind = sparsity->get_or<std::string>("format", "dense");
    if (kind != "dense") refuse(*sparsity, "the weights are sparse (\"" + kind + "\")");
  }
  if (const auto transform = settings.get("transform_config")) {
    if (is_set(*transform, "config_groups")) {
      refuse(*transform, "activations are transformed before they are multiplied");
    }
  }
  if (const auto groups = settings.get("config_groups")) {
    for (const auto& group : groups->items()) check_group(group.value, format);
    warn_of_activations(settings, *groups);
  }
  return method + " " + format;
}

}  // namespace

std::string quantization_of_folder(const std::filesystem::path& path) {
  const std::filesystem::path file = path / "config.json";
  if (!is_file(file)) return "";
  const Json json = read_json_file<ConfigError>(file);
  const JsonReader<ConfigError> config(json, file.string());
  if (!config.is_object()) return "";  // the reader of the configuration reports it
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (const auto settings = config.get(key)) return read_settings(*settings);
    const auto text = config.get("text_config");
    if (!text || !text->is_object()) continue;
    if (const auto settings = text->get(key)) return read_settings(*settings);
  }
  return "";
}

void refuse_second_quantization(const std::filesystem::path& path, const std::string& found,
                                const QuantizationRecipe& recipe) {
  if (found.empty() || recipe == QuantizationRecipe{}) return;
  throw ConfigError(path.string() + ": the weights are quantised already (" + found +
                    "); leave LoadOptions::quantization (--weights) unset to use them, or give the "
                    "folder that this one was made from");
}

}  // namespace instructblip::detail
