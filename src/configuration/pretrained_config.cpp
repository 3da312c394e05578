#include "instructblip/configuration/pretrained_config.h"

#include <array>
#include <cmath>
#include <system_error>

#include "configuration/config_io.h"
#include "instructblip/core/log.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

// Settings of `generate` in old files, which the reference drops on load.
constexpr std::string_view kGenerationKeys[] = {"assistant_confidence_threshold",
                                                "assistant_lookbehind",
                                                "bad_words_ids",
                                                "begin_suppress_tokens",
                                                "diversity_penalty",
                                                "do_sample",
                                                "early_stopping",
                                                "encoder_no_repeat_ngram_size",
                                                "encoder_repetition_penalty",
                                                "epsilon_cutoff",
                                                "eta_cutoff",
                                                "exponential_decay_length_penalty",
                                                "forced_bos_token_id",
                                                "forced_eos_token_id",
                                                "length_penalty",
                                                "max_length",
                                                "min_length",
                                                "no_repeat_ngram_size",
                                                "num_assistant_tokens",
                                                "num_assistant_tokens_schedule",
                                                "num_beam_groups",
                                                "num_beams",
                                                "num_return_sequences",
                                                "output_scores",
                                                "remove_invalid_values",
                                                "repetition_penalty",
                                                "return_dict_in_generate",
                                                "suppress_tokens",
                                                "target_lookbehind",
                                                "temperature",
                                                "top_k",
                                                "top_p",
                                                "typical_p",
                                                "use_cache"};

// All names, each with the canonical name of its function.
constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kActivations{{
    {"gelu", "gelu"},
    {"gelu_python", "gelu"},
    {"gelu_new", "gelu_new"},
    {"gelu_fast", "gelu_new"},
    {"gelu_accurate", "gelu_new"},
    {"quick_gelu", "quick_gelu"},
    {"relu", "relu"},
    {"gelu_pytorch_tanh", "gelu_new"},
    {"silu", "silu"},
    {"gelu_python_tanh", "gelu_new"},
    {"swish", "silu"},
    {"linear", "linear"},
}};

constexpr auto kActivationNames = [] {
  std::array<std::string_view, kActivations.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kActivations[i].first;
  return names;
}();

constexpr DType kSavedTypes[] = {DType::Float32, DType::BFloat16, DType::Float16};

bool is_generation_key(std::string_view key) {
  return std::find(std::begin(kGenerationKeys), std::end(kGenerationKeys), key) !=
         std::end(kGenerationKeys);
}

// In an object with one type per part, the reference uses that of the key "" for the whole model and
// ignores the others.
std::optional<DType> read_dtype(detail::ConfigReader& reader) {
  const auto older = reader.find("torch_dtype"), newer = reader.find("dtype");
  auto found = newer && !newer->is_null() ? newer : older;
  if (found && found->is_object()) found = found->get("");
  if (!found || found->is_null()) return std::nullopt;
  std::string name = found->as<std::string>();
  if (name.starts_with("torch.")) name.erase(0, 6);
  for (const DType dtype : kSavedTypes) {
    if (name == name_of(dtype)) return dtype;
  }
  found->expected("\"float32\", \"bfloat16\" or \"float16\"");
}

}  // namespace

PretrainedConfig::PretrainedConfig() = default;
PretrainedConfig::PretrainedConfig(const PretrainedConfig&) = default;
PretrainedConfig& PretrainedConfig::operator=(const PretrainedConfig&) = default;
PretrainedConfig::~PretrainedConfig() = default;

std::string PretrainedConfig::to_json() const { return detail::ConfigWriter::run(*this).dump(2); }

void PretrainedConfig::validate() const { check(std::string(model_type())); }

void PretrainedConfig::read_file(const fs::path& path, std::string_view section) {
  const detail::ConfigSource source = detail::open_config(path, section, model_type());
  detail::ConfigReader(source.json()).run(*this);
}

void PretrainedConfig::read_text(std::string_view text) {
  const std::string where = std::string(model_type()) + " configuration";
  const Json json = parse_json(text, where);
  detail::ConfigReader(JsonReader<ConfigError>(json, where)).run(*this);
}

void PretrainedConfig::save_pretrained(const fs::path& folder) const {
  write_text_file(folder / "config.json", to_json() + "\n");
}

std::span<const std::string_view> activation_names() { return kActivationNames; }

std::string_view activation_function(std::string_view name, std::string_view key) {
  std::string known;
  for (const auto& [candidate, function] : kActivations) {
    if (candidate == name) return function;
    known += (known.empty() ? "" : ", ") + std::string(candidate);
  }
  throw ConfigError(std::string(key) + " is \"" + std::string(name) + "\", expected one of " +
                    known);
}

namespace detail {

void ConfigReader::run(PretrainedConfig& config) {
  find("model_type");
  find("_commit_hash");
  config.dtype = read_dtype(*this);
  config.read(*this);
  for (auto& [key, value] : unread()) {
    if (!is_generation_key(key)) config.other[key] = std::move(value);
  }
  config.check(json_.where());
}

std::optional<JsonValue> ConfigReader::find(const char* key) {
  read_.insert(key);
  return json_.find(key) == nullptr ? std::nullopt : std::optional(json_.at(key));
}

std::map<std::string, std::string> ConfigReader::unread() const {
  std::map<std::string, std::string> keys;
  for (const auto& [key, value] : json_.items()) {
    if (!read_.contains(key)) keys[key] = value.json().dump();
  }
  return keys;
}

void ConfigReader::ids(const char* key, std::vector<std::int64_t>& value) {
  const auto found = find(key);
  if (!found) return;
  if (found->is_null()) {
    value.clear();
  } else if (found->is_list()) {
    value = found->as<std::vector<std::int64_t>>();
  } else {
    value = {found->as<std::int64_t>()};
  }
}

void ConfigReader::part(const char* key, PretrainedConfig& config) {
  const auto found = find(key);
  if (found && !found->is_null()) ConfigReader(*found).run(config);
}

Json ConfigWriter::run(const PretrainedConfig& config) {
  ConfigWriter writer;
  writer.json_["model_type"] = config.model_type();
  if (config.dtype) writer.json_["dtype"] = name_of(*config.dtype);
  config.write(writer);
  writer.keep(config.other);
  return std::move(writer.json_);
}

void ConfigWriter::ids(const char* key, const std::vector<std::int64_t>& value) {
  if (value.empty()) {
    json_[key] = nullptr;
  } else if (value.size() == 1) {
    json_[key] = value[0];
  } else {
    json_[key] = value;
  }
}

void ConfigWriter::keep(const std::map<std::string, std::string>& other) {
  for (const auto& [key, text] : other) {
    if (!json_.contains(key)) json_[key] = parse_json<ConfigError>(text, "the value of " + key);
  }
}

ConfigSource open_config(const fs::path& path, std::string_view section,
                         std::string_view model_type) {
  require_path<ConfigError>(path);
  std::error_code ignored;
  const fs::path file = fs::is_directory(path, ignored) ? path / "config.json" : path;
  ConfigSource source{read_json_file<ConfigError>(file), file.string(), ""};
  const JsonValue whole = source.json();
  const auto type_of = [](const JsonValue& json) -> std::string {
    const auto found = json.is_object() ? json.get("model_type") : std::nullopt;
    return found && found->is_string() ? found->as<std::string>() : "";
  };
  if (!section.empty() && whole.find(section) != nullptr) {
    source.section = section;
  } else if (const std::string found = type_of(whole);
             !found.empty() && !model_type.empty() && found != model_type) {
    for (const auto& [key, value] : whole.items()) {
      if (type_of(value) != model_type) continue;
      source.section = key;
      return source;
    }
    log_warning(source.where + ": reading a configuration of model_type \"" + found + "\" as \"" +
                std::string(model_type) + "\"");
  }
  return source;
}

namespace {

[[noreturn]] void fail(const std::string& where, const char* key, const std::string& what) {
  throw ConfigError(where + ": \"" + key + "\" " + what);
}

}  // namespace

void check_part(const std::string& where, const PretrainedConfig& config) {
  ConfigWriter::check(where, config);
}

void check_range(const std::string& where, const char* key, Index value, Index least, Index most) {
  if (value >= least && value <= most) return;
  fail(where, key,
       "must be from " + std::to_string(least) + " to " + std::to_string(most) + ", found " +
           std::to_string(value));
}

void check_size(const std::string& where, const char* key, Index value) {
  check_range(where, key, value, 1, Index{1} << 28);
}

void check_layers(const std::string& where, const char* key, Index value) {
  check_range(where, key, value, 1, 4096);
}

void check_positions(const std::string& where, const char* key, Index value) {
  check_range(where, key, value, 1, Index{1} << 24);
}

void check_divides(const std::string& where, const char* divisor_key, Index divisor,
                   const char* key, Index value) {
  if (value % divisor == 0) return;
  fail(where, key,
       std::to_string(value) + " must be a multiple of \"" + divisor_key + "\", " +
           std::to_string(divisor));
}

void check_activation(const std::string& where, const char* key, const std::string& name) {
  try {
    activation_function(name, key);
  } catch (const ConfigError& error) {
    throw ConfigError(where + ": " + error.what());
  }
}

void check_positive(const std::string& where, const char* key, double value) {
  if (std::isfinite(value) && value > 0) return;
  fail(where, key, "must be a positive number, found " + std::to_string(value));
}

}  // namespace detail
}  // namespace instructblip
