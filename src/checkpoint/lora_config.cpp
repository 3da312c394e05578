#include "checkpoint/lora_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/json_reader.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

// Settings whose adapters are more than W + B A, or that change the base model.
constexpr std::array kRefused = {"fan_in_fan_out", "layer_replication", "target_parameters",
                                 "use_qalora",     "use_bdlora",        "alora_invocation_tokens",
                                 "arrow_config",   "velora_config",     "monteclora_config",
                                 "kasa_config"};

// Initialisations after which the base model's weights are no longer those of its checkpoint.
constexpr std::array<std::string_view, 5> kRefusedInitialisations = {"pissa", "olora", "corda",
                                                                     "loftq", "lora_ga"};

bool is_set(const Json& value) {
  if (value.is_null() || value == Json(false)) return false;
  return !((value.is_structured() || value.is_string()) && value.empty());
}

bool ends_with_name(std::string_view module, std::string_view name) {
  return module == name || (module.size() > name.size() && module.ends_with(name) &&
                            module[module.size() - name.size() - 1] == '.');
}

bool is_one_of(std::string_view module, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return ends_with_name(module, name); });
}

// Whether the module is called `name` or lies in one that is.
bool is_inside(std::string_view module, std::string_view name) {
  for (std::size_t begin = 0; begin < module.size();) {
    const std::string_view rest = module.substr(begin);
    if (rest == name || (rest.starts_with(name) && rest[name.size()] == '.')) return true;
    const std::size_t dot = module.find('.', begin);
    begin = dot == std::string_view::npos ? module.size() : dot + 1;
  }
  return false;
}

// A text or a list of texts.
std::vector<std::string> names_of(const JsonValue& json) {
  return json.is_string() ? std::vector{json.as<std::string>()}
                          : json.as<std::vector<std::string>>();
}

double positive(const JsonValue& json) {
  const double value = json.as<double>();
  if (!std::isfinite(value) || value <= 0) json.expected("a positive number");
  return value;
}

}  // namespace

LoraConfig::LoraConfig(const std::filesystem::path& file, const std::string& merge_by_hand)
    : where_(file.string()) {
  const Json document = read_json_file<ConfigError>(file);
  const JsonReader<ConfigError> json(document, where_);
  refuse_other_kinds(json, merge_by_hand);
  base_model_ = json.get_or<std::string>("base_model_name_or_path", "");
  if (const auto rank = json.get("r")) rank_ = positive(*rank);
  if (const auto alpha = json.get("lora_alpha")) alpha_ = alpha->as<double>();
  use_rslora_ = json.get_or<bool>("use_rslora", false);
  use_dora_ = json.get_or<bool>("use_dora", false);
  ranks_ = read_patterns(json, "rank_pattern");
  alphas_ = read_patterns(json, "alpha_pattern");
  read_targets(json);
  read_layers(json);
  read_rows(json);
}

void LoraConfig::refuse_other_kinds(const JsonValue& json, const std::string& merge_by_hand) const {
  const std::string remedy = " is not supported; merge the adapter with peft:\n  " + merge_by_hand;
  const auto kind = json.require<std::string>("peft_type");
  if (kind != "LORA") json.at("peft_type").fail("an adapter of the kind " + kind + remedy);
  for (const char* key : kRefused) {
    const auto value = json.get(key);
    if (value && is_set(value->json())) value->fail("an adapter with this setting" + remedy);
  }
  const auto start = json.get("init_lora_weights");
  if (!start || !start->is_string()) return;
  const auto name = start->as<std::string>();
  for (const std::string_view refused : kRefusedInitialisations) {
    if (name.starts_with(refused)) {
      start->fail("\"" + name + "\" changed the base model before training, so that merging into " +
                  "its checkpoint" + remedy);
    }
  }
}

LoraConfig::Patterns LoraConfig::read_patterns(const JsonValue& json, const char* key) const {
  Patterns patterns;
  const auto found = json.get(key);
  if (!found) return patterns;
  for (const auto& [pattern, value] : found->items()) {
    patterns.emplace_back(ModulePattern("(.*\\.)?(" + pattern + ")$", value.where()),
                          positive(value));
  }
  return patterns;
}

void LoraConfig::read_targets(const JsonValue& json) {
  if (const auto targets = json.get("target_modules")) {
    const bool is_all = targets->is_string() && targets->as<std::string>() == "all-linear";
    targets_everything_ = is_all;
    if (targets->is_string() && !is_all) {
      target_pattern_.emplace(targets->as<std::string>(), targets->where());
    } else if (!is_all) {
      targets_ = targets->as<std::vector<std::string>>();
    }
  }
  if (const auto excluded = json.get("exclude_modules"); excluded && is_set(excluded->json())) {
    if (excluded->is_string()) {
      excluded_pattern_.emplace(excluded->as<std::string>(), excluded->where());
    } else {
      excluded_ = excluded->as<std::vector<std::string>>();
    }
  }
  if (const auto saved = json.get("modules_to_save")) saved_ = names_of(*saved);
}

void LoraConfig::read_layers(const JsonValue& json) {
  const auto layers = json.get("layers_to_transform");
  if (!layers || target_pattern_) return;
  layers_ = layers->is_list() ? layers->as<std::vector<Index>>() : std::vector{layers->as<Index>()};
  std::vector<std::string> names;
  if (const auto given = json.get("layers_pattern")) names = names_of(*given);
  for (const std::string& name : names) {
    if (name.empty()) continue;
    layer_patterns_.emplace_back("(.*?\\.)?(" + name + ")", where_ + ": \"layers_pattern\"");
  }
}

void LoraConfig::read_rows(const JsonValue& json) {
  const auto rows = json.get("trainable_token_indices");
  if (!rows) return;
  if (rows->is_list()) {
    rows_.emplace("", rows->as<std::vector<Index>>());
    return;
  }
  for (const auto& [module, value] : rows->items()) {
    rows_.emplace(module, value.as<std::vector<Index>>());
  }
}

double LoraConfig::of_pattern(const Patterns& patterns, std::string_view module, double otherwise) {
  for (const auto& [pattern, value] : patterns) {
    if (pattern.matches(module)) return value;
  }
  return otherwise;
}

double LoraConfig::rank(std::string_view module) const { return of_pattern(ranks_, module, rank_); }

float LoraConfig::scale(std::string_view module) const {
  const double alpha = of_pattern(alphas_, module, alpha_);
  return static_cast<float>(alpha / (use_rslora_ ? std::sqrt(rank(module)) : rank(module)));
}

// The layer of a module is the first number between dots in its name, after one of the names that
// layers_pattern gives if it does.
bool LoraConfig::is_in_layers(std::string_view module) const {
  if (layers_.empty()) return true;
  for (std::size_t dot = module.find('.'); dot != std::string_view::npos;
       dot = module.find('.', dot + 1)) {
    const std::size_t end = std::min(module.find('.', dot + 1), module.size());
    const std::string number(module.substr(dot + 1, end - dot - 1));
    if (number.empty() || number.size() > 9 || end == module.size() ||
        number.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    const std::string_view before = module.substr(0, dot);
    const bool fits = layer_patterns_.empty()
                          ? before.find('.') != std::string_view::npos
                          : std::any_of(layer_patterns_.begin(), layer_patterns_.end(),
                                        [&](const auto& name) { return name.matches(before); });
    if (fits) return std::count(layers_.begin(), layers_.end(), std::stol(number)) > 0;
  }
  return false;
}

bool LoraConfig::saves(std::string_view module) const {
  return std::any_of(saved_.begin(), saved_.end(),
                     [&](const std::string& name) { return is_inside(module, name); });
}

bool LoraConfig::targets(std::string_view module) const {
  if (excluded_pattern_ && excluded_pattern_->matches(module)) return false;
  if (is_one_of(module, excluded_) || saves(module)) return false;
  if (targets_everything_) return true;
  if (target_pattern_) return target_pattern_->matches(module);
  // A full name is taken whatever its layer is.
  if (std::find(targets_.begin(), targets_.end(), module) != targets_.end()) return true;
  return is_one_of(module, targets_) && is_in_layers(module);
}

std::optional<std::vector<Index>> LoraConfig::trained_rows(std::string_view module) const {
  for (const auto& [name, rows] : rows_) {
    if (name.empty() || ends_with_name(module, name)) return rows;
  }
  return std::nullopt;
}

}  // namespace instructblip
