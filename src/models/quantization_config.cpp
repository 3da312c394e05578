#include "models/quantization_config.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "checkpoint/module_pattern.h"
#include "core/json_reader.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip::detail {
namespace {

constexpr std::string_view kAdvice =
    "load the checkpoint that this one was made from (LoadOptions::quantization, or --weights "
    "int8 or int4, quantises it while loading), or one of compressed-tensors, bitsandbytes, GPTQ "
    "or AWQ with weights of 8 or 4 bits";

constexpr std::array<const char*, 2> kKeys = {"quantization_config", "compression_config"};
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

// Whether activations are rounded as "w8a8" does it: each row as it comes, symmetrically, to 8
// bits. (The reference divides by the largest magnitude / 127.5, this library by that / 127.)
bool is_w8a8(const JsonValue& group) {
  const std::optional<JsonValue> inputs = group.get("input_activations");
  const std::optional<JsonValue> weights = group.get("weights");
  return inputs && weights && weights->get_or<std::int64_t>("num_bits", 8) == 8 &&
         inputs->get_or<std::string>("type", "int") == "int" &&
         inputs->get_or<std::int64_t>("num_bits", 8) == 8 && inputs->get_or("symmetric", true) &&
         inputs->get_or<std::string>("strategy", "") == "token" && inputs->get_or("dynamic", false);
}

// Other activations are multiplied as they are, which only makes answers more exact.
void warn_of_activations(const JsonValue& settings, const JsonValue& groups) {
  std::string kept;
  const auto keep = [&](const char* name) {
    if (kept.find(name) == std::string::npos)
      kept += (kept.empty() ? "" : " and ") + std::string(name);
  };
  for (const auto& group : groups.items()) {
    if (is_set(group.value, "input_activations") && !is_w8a8(group.value)) {
      keep("input_activations");
    }
    if (is_set(group.value, "output_activations")) keep("output_activations");
  }
  if (is_set(settings, "kv_cache_scheme")) keep("kv_cache_scheme");
  if (kept.empty()) return;
  log_warning(settings.where() + ": " + kept +
              ": not rounded here, so answers may differ from those of programs that do");
}

// A module that is named by a target of compressed-tensors: its class, its name, or an expression
// that matches the beginning of its name (utils/match.py).
class ModuleTarget {
 public:
  ModuleTarget(const std::string& target, const std::string& where) : name_(target) {
    if (target.starts_with("re:")) pattern_.emplace("(" + target.substr(3) + ").*", where);
  }
  bool names(std::string_view module) const {
    return pattern_ ? pattern_->matches(module) : name_ == "Linear" || name_ == module;
  }

 private:
  std::string name_;
  std::optional<ModulePattern> pattern_;
};

std::function<bool(std::string_view)> rounded_modules(const JsonValue& groups) {
  std::vector<ModuleTarget> targets;
  for (const auto& group : groups.items()) {
    if (!is_w8a8(group.value)) continue;
    for (const auto& target : group.value.get_or<std::vector<std::string>>("targets", {})) {
      targets.emplace_back(target, group.value.where());
    }
  }
  if (targets.empty()) return {};
  return [targets](std::string_view module) {
    return std::any_of(targets.begin(), targets.end(),
                       [&](const ModuleTarget& target) { return target.names(module); });
  };
}

StoredQuantization read_compressed_tensors(const JsonValue& settings) {
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
  StoredQuantization stored{.method = "compressed-tensors " + format};
  if (const auto groups = settings.get("config_groups")) {
    for (const auto& group : groups->items()) check_group(group.value, format);
    warn_of_activations(settings, *groups);
    stored.rounds_activations = rounded_modules(*groups);
  }
  return stored;
}

// How the layers are stored is read from the tensors themselves.
StoredQuantization read_bitsandbytes(const JsonValue& settings) {
  if (settings.get_or("load_in_8bit", false)) return {.method = "bitsandbytes int8"};
  if (!settings.get_or("load_in_4bit", false)) {
    settings.fail("neither load_in_8bit nor load_in_4bit is true, expected one of them");
  }
  const auto type = settings.get_or<std::string>("bnb_4bit_quant_type", "fp4");
  if (type != "nf4" && type != "fp4") {
    refuse(settings, "the weights are of the type \"" + type + "\" of bitsandbytes");
  }
  return {.method = "bitsandbytes " + type};
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// What GPTQ and AWQ have in common; `name` is for messages.
void check_groups_of_4_bits(const JsonValue& settings, const std::string& name) {
  const auto bits = settings.require<std::int64_t>("bits");
  if (bits != 4)
    refuse(settings, "the weights have " + std::to_string(bits) + " bits (" + name + ")");
  const auto size = settings.get_or<std::int64_t>("group_size", 128);
  constexpr std::int64_t kSizes[] = {-1, 32, 64, 128, 256, 512, 1024};
  if (std::find(std::begin(kSizes), std::end(kSizes), size) == std::end(kSizes)) {
    refuse(settings, "the weights have groups of " + std::to_string(size) + " inputs (" + name +
                         "; 32, 64, 128, 256, 512, 1024 and -1, all of them, are read)");
  }
}

// The order of the inputs (desc_act) is read from the tensors: it may be the usual one.
StoredQuantization read_gptq(const JsonValue& settings) {
  check_groups_of_4_bits(settings, "GPTQ");
  const auto older = settings.get_or<std::string>("format", "gptq");
  const std::string format = lower(settings.get_or<std::string>("checkpoint_format", older));
  if (format != "gptq" && format != "gptq_v2") {
    refuse(settings, "the weights are in the format \"" + format + "\" of GPTQ");
  }
  if (settings.get_or("is_marlin_format", false)) {
    refuse(settings, "the weights are in the format \"marlin\" of GPTQ");
  }
  return {.method = format};
}

StoredQuantization read_awq(const JsonValue& settings) {
  check_groups_of_4_bits(settings, "AWQ");
  const auto newer = settings.get_or<std::string>("format", "gemm");
  const std::string version = lower(settings.get_or<std::string>("version", newer));
  if (version != "gemm") {
    refuse(settings, "the weights are in the version \"" + version + "\" of AWQ");
  }
  if (settings.get_or<std::string>("backend", "") == "llm-awq") {
    refuse(settings, "the weights are in the form of llm-awq");
  }
  if (!settings.get_or("zero_point", true)) {
    refuse(settings, "the weights have no zero points (AWQ)");
  }
  return {.method = "awq gemm"};
}

// A method that is read: `quant_method`, and a function that checks its settings and says which
// variant they are. The tensors are read in layers/.
struct Method {
  std::string_view name;
  StoredQuantization (*read)(const JsonValue& settings);
};
constexpr Method kMethods[] = {{"compressed-tensors", read_compressed_tensors},
                               {"bitsandbytes", read_bitsandbytes},
                               {"gptq", read_gptq},
                               {"awq", read_awq}};

StoredQuantization read_settings(const JsonValue& settings) {
  settings.require_object();
  const bool is_bitsandbytes = settings.has("load_in_4bit") || settings.has("load_in_8bit");
  const auto name =
      settings.get_or<std::string>("quant_method", is_bitsandbytes ? "bitsandbytes" : "");
  for (const Method& method : kMethods) {
    if (name == method.name) return method.read(settings);
  }
  refuse(settings, "the weights are quantised by " +
                       (name.empty() ? "an unnamed method (no quant_method)" : "\"" + name + "\""));
}

// An expression for a module's name and those of the same module in other layers:
// "re:language_model\\.model\\.layers\\.\\d+\\.mlp\\.up_proj$".
std::string expression_for(const std::string& module) {
  std::string expression = "re:";
  for (std::size_t begin = 0; begin <= module.size();) {
    const std::size_t end = std::min(module.find('.', begin), module.size());
    const std::string part = module.substr(begin, end - begin);
    const bool is_number =
        !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    expression += (begin > 0 ? "\\." : "") + (is_number ? "\\d+" : part);
    begin = end + 1;
  }
  return expression + "$";
}

// 8 bits are not packed: T5 in transformers loads no packed weights, and others load them faster.
std::string format_of(const Quantization& quantization) {
  return quantization.bits == 8 ? "int-quantized" : "pack-quantized";
}

Json weights_json(const Quantization& quantization) {
  const bool grouped = quantization.group_size != 0;
  return {{"num_bits", quantization.bits},
          {"type", "int"},
          {"symmetric", quantization.symmetric},
          {"strategy", grouped ? "group" : "channel"},
          {"group_size", grouped ? Json(quantization.group_size) : Json()},
          {"dynamic", false}};
}

Json input_activations_json(const Quantization& quantization) {
  if (quantization.activation_bits != 8) return nullptr;
  return {{"num_bits", 8},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", "token"},
          {"dynamic", true}};
}

StoredQuantization quantization_in(const Json& json, const std::filesystem::path& file) {
  const JsonReader<ConfigError> config(json, file.string());
  if (!config.is_object()) return {};  // the reader of the configuration reports it
  for (const char* key : kKeys) {
    if (const auto settings = config.get(key)) return read_settings(*settings);
    const auto text = config.get("text_config");
    if (!text || !text->is_object()) continue;
    if (const auto settings = text->get(key)) return read_settings(*settings);
  }
  return {};
}

}  // namespace

StoredQuantization quantization_of_folder(const std::filesystem::path& path) {
  const std::filesystem::path file = path / "config.json";
  if (!is_file(file)) return {};
  const Json json = read_json_file<ConfigError>(file);
  return quantization_in(json, file);
}

StoredQuantization quantization_of(const ImageTextToTextConfig& config,
                                   const std::filesystem::path& folder) {
  Json json = Json::object(), text = Json::object();
  for (const char* key : kKeys) {
    const auto add = [key](const PretrainedConfig& part, Json& to) {
      const auto found = part.other.find(key);
      if (found != part.other.end()) to[key] = parse_json<ConfigError>(found->second, key);
    };
    add(config, json);
    add(*config.text_config, text);
  }
  json["text_config"] = text;
  return quantization_in(json, folder / "config.json");
}

void refuse_second_quantization(const std::filesystem::path& path, const std::string& found,
                                const QuantizationRecipe& recipe) {
  if (found.empty() || recipe == QuantizationRecipe{}) return;
  throw ConfigError(path.string() + ": the weights are quantised already (" + found +
                    "); leave LoadOptions::quantization (--weights) unset to use them, or give the "
                    "folder that this one was made from");
}

std::string with_quantization_config(const std::string& config, const std::string& where,
                                     const std::vector<LayerScheme>& layers) {
  std::map<std::string, std::set<std::string>> schemes_of;  // by expression
  for (const LayerScheme& layer : layers) {
    schemes_of[expression_for(layer.module)].insert(to_string(layer.quantization));
  }
  std::map<std::string, std::set<std::string>> targets;  // by scheme
  std::map<std::string, Quantization> schemes;
  for (const LayerScheme& layer : layers) {
    const std::string expression = expression_for(layer.module),
                      name = to_string(layer.quantization);
    // Where layers of one kind differ, each is listed by its own name.
    targets[name].insert(schemes_of.at(expression).size() == 1 ? expression : layer.module);
    if (layer.quantization) schemes.emplace(name, *layer.quantization);
  }
  Json groups = Json::object();
  std::set<std::string> formats;
  for (const auto& [name, scheme] : schemes) {
    groups["group_" + std::to_string(groups.size())] = {
        {"targets", targets.at(name)},
        {"weights", weights_json(scheme)},
        {"input_activations", input_activations_json(scheme)},
        {"output_activations", nullptr},
        {"format", format_of(scheme)}};
    formats.insert(format_of(scheme));
  }
  Json json = parse_json<ConfigError>(config, where);
  json["quantization_config"] = {
      {"quant_method", "compressed-tensors"},
      {"format", formats.size() == 1 ? *formats.begin() : "mixed-precision"},
      {"quantization_status", "compressed"},
      {"config_groups", groups},
      {"ignore", targets[to_string(std::nullopt)]},
      {"kv_cache_scheme", nullptr},
      {"global_compression_ratio", nullptr}};
  return json.dump(2) + "\n";
}

}  // namespace instructblip::detail
