#include "instructblip/configuration/text_config.h"

#include "configuration/config_io.h"
#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/configuration/configuration_t5.h"

namespace instructblip {
namespace {

struct TextConfigType {
  std::string_view name;
  std::unique_ptr<TextConfig> (*make)();
};

template <class Config>
constexpr TextConfigType type_of() {
  return {Config::kModelType,
          []() -> std::unique_ptr<TextConfig> { return std::make_unique<Config>(); }};
}

// One line per language model.
constexpr TextConfigType kTypes[] = {
    type_of<LlamaConfig>(),
    type_of<OPTConfig>(),
    type_of<T5Config>(),
};

}  // namespace

TextConfig::TextConfig() = default;
TextConfig::TextConfig(const TextConfig&) = default;
TextConfig& TextConfig::operator=(const TextConfig&) = default;
TextConfig::~TextConfig() = default;

std::vector<std::string> text_config_types() {
  std::vector<std::string> types;
  for (const TextConfigType& type : kTypes) types.emplace_back(type.name);
  return types;
}

std::unique_ptr<TextConfig> make_text_config(std::string_view model_type) {
  std::string known;
  for (const TextConfigType& type : kTypes) {
    if (type.name == model_type) return type.make();
    known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  throw ConfigError("language models of model_type \"" + std::string(model_type) +
                    "\" are not supported; supported are " + known);
}

TextConfigHolder load_text_config(const std::filesystem::path& path) {
  return detail::read_text_config(detail::open_config(path, "text_config", "").json());
}

TextConfigHolder detail::read_text_config(const JsonValue& json) {
  const std::string type =
      json.get_or<std::string>("model_type", std::string(OPTConfig::kModelType));
  std::unique_ptr<TextConfig> config;
  try {
    config = make_text_config(type);
  } catch (const ConfigError& error) {
    json.fail(error.what());
  }
  ConfigReader(json).run(*config);
  return TextConfigHolder(std::move(config));
}

void detail::ConfigReader::part(const char* key, TextConfigHolder& config) {
  const auto found = find(key);
  if (found && !found->is_null()) config = read_text_config(*found);
}

}  // namespace instructblip
