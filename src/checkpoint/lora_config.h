// The adapter_config.json of a PEFT adapter. Mirrors peft's LoraConfig and the rules by which it
// finds modules (peft 0.21, tuners/tuners_utils.py, check_target_module_exists).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/module_pattern.h"
#include "core/json_value.h"
#include "instructblip/core/dtype.h"

namespace instructblip {

/// The settings of a LoRA adapter that merging needs.
class LoraConfig {
 public:
  /// Reads the file. Throws ConfigError if it is malformed, or if the adapter is of a kind that
  /// cannot be merged; the message names the setting and `merge_by_hand`, a command.
  LoraConfig(const std::filesystem::path& file, const std::string& merge_by_hand);

  const std::string& base_model() const { return base_model_; }
  bool use_dora() const { return use_dora_; }
  /// The rank and the factor on B A for a module.
  double rank(std::string_view module) const;
  float scale(std::string_view module) const;
  /// Whether the settings select this module. Always true if they do not list modules.
  bool targets(std::string_view module) const;
  /// Whether modules_to_save has this module, or one that it lies in.
  bool saves(std::string_view module) const;
  /// Whether `targets` decides which modules have tensors; not for "all-linear", which depends on
  /// the classes of the modules.
  bool lists_modules() const { return !targets_everything_; }
  /// The rows of this module's table that are replaced one by one; nothing if there are none.
  std::optional<std::vector<Index>> trained_rows(std::string_view module) const;
  const std::string& where() const { return where_; }

 private:
  using Patterns = std::vector<std::pair<ModulePattern, double>>;

  void refuse_other_kinds(const JsonValue& json, const std::string& merge_by_hand) const;
  void read_targets(const JsonValue& json);
  void read_layers(const JsonValue& json);
  void read_rows(const JsonValue& json);
  Patterns read_patterns(const JsonValue& json, const char* key) const;
  bool is_in_layers(std::string_view module) const;
  static double of_pattern(const Patterns& patterns, std::string_view module, double otherwise);

  std::string where_, base_model_;
  double rank_ = 8, alpha_ = 8;
  bool use_rslora_ = false, use_dora_ = false;
  Patterns ranks_, alphas_;
  // The modules: everything, an expression, or names (each is also the end of a name).
  bool targets_everything_ = true;
  std::optional<ModulePattern> target_pattern_, excluded_pattern_;
  std::vector<std::string> targets_, excluded_, saved_;
  std::vector<Index> layers_;
  std::vector<ModulePattern> layer_patterns_;  // of what precedes the number of a layer
  std::map<std::string, std::vector<Index>, std::less<>> rows_;  // by the end of the module's name
};

}  // namespace instructblip
