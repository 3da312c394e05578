#include "instructblip/models/auto_language_model.h"

#include <string_view>

#include "instructblip/core/error.h"
#include "instructblip/models/modeling_llama.h"
#include "instructblip/models/modeling_opt.h"
#include "instructblip/models/modeling_t5.h"

namespace instructblip {
namespace detail {

struct LanguageModelKind {
  std::string_view model_type;
  std::unique_ptr<LanguageModel> (*make)(const Weights& weights, const TextConfig& config,
                                         bool with_head);
  std::unique_ptr<LanguageModel> (*load)(const std::filesystem::path& path,
                                         const LoadOptions& options);
};

template <class Model, class Config>
constexpr LanguageModelKind language_model_kind(std::string_view model_type) {
  return {model_type,
          [](const Weights& weights, const TextConfig& config,
             bool with_head) -> std::unique_ptr<LanguageModel> {
            const auto* own = dynamic_cast<const Config*>(&config);
            if (own == nullptr) {
              throw ConfigError("text_config: model_type \"" + std::string(config.model_type()) +
                                "\" belongs to a configuration of another class");
            }
            return std::make_unique<Model>(weights, *own, with_head);
          },
          [](const std::filesystem::path& path,
             const LoadOptions& options) -> std::unique_ptr<LanguageModel> {
            return std::make_unique<Model>(Model::from_pretrained(path, options));
          }};
}

inline constexpr LanguageModelKind kLanguageModelKinds[] = {
    language_model_kind<LlamaForCausalLM, LlamaConfig>("llama"),
    language_model_kind<OPTForCausalLM, OPTConfig>("opt"),
    language_model_kind<T5ForConditionalGeneration, T5Config>("t5"),
};

const LanguageModelKind& find_language_model_kind(std::string_view model_type) {
  std::string known;
  for (const LanguageModelKind& kind : kLanguageModelKinds) {
    if (kind.model_type == model_type) return kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.model_type);
  }
  throw ConfigError("text_config: there is no language model of model_type \"" +
                    std::string(model_type) + "\"; known are " + known);
}

}  // namespace detail

std::unique_ptr<LanguageModel> AutoLanguageModel::from_config(const Weights& weights,
                                                              const TextConfig& config,
                                                              bool with_head) {
  return detail::find_language_model_kind(config.model_type()).make(weights, config, with_head);
}

std::unique_ptr<LanguageModel> AutoLanguageModel::from_pretrained(const std::filesystem::path& path,
                                                                  const LoadOptions& options) {
  const TextConfigHolder config = load_text_config(path);
  return detail::find_language_model_kind(config->model_type()).load(path, options);
}

std::vector<std::string> AutoLanguageModel::model_types() {
  std::vector<std::string> types;
  for (const detail::LanguageModelKind& kind : detail::kLanguageModelKinds) {
    types.emplace_back(kind.model_type);
  }
  return types;
}

}  // namespace instructblip
