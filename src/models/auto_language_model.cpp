// The registry of language models. This is the only source file that compiles them.
#include "instructblip/models/auto_language_model.h"

#include <string_view>

#include "instructblip/core/error.h"
#include "instructblip/models/modeling_llama.h"
#include "instructblip/models/modeling_opt.h"
#include "instructblip/models/modeling_t5.h"

namespace instructblip {
namespace {

struct LanguageModelKind {
  std::string_view model_type;
  std::unique_ptr<LanguageModel> (*make)(const Weights& weights, const TextConfig& config,
                                         bool with_head);
  std::unique_ptr<LanguageModel> (*load)(const std::filesystem::path& path,
                                         const LoadOptions& options);
};

template <class Model>
constexpr LanguageModelKind kind() {
  return {Model::Config::kModelType,
          [](const Weights& weights, const TextConfig& config,
             bool with_head) -> std::unique_ptr<LanguageModel> {
            const auto* own = dynamic_cast<const typename Model::Config*>(&config);
            if (own == nullptr) {
              throw ConfigError("text_config: model_type \"" + std::string(config.model_type()) +
                                "\" belongs to a different configuration class");
            }
            if (with_head) return std::make_unique<Model>(weights, *own);
            using Headless = typename Model::Headless;
            return std::make_unique<Headless>(Headless::scope(weights), *own);
          },
          [](const std::filesystem::path& path,
             const LoadOptions& options) -> std::unique_ptr<LanguageModel> {
            return std::make_unique<Model>(Model::from_pretrained(path, options));
          }};
}

// One line per language model.
constexpr LanguageModelKind kKinds[] = {
    kind<LlamaForCausalLM>(),
    kind<OPTForCausalLM>(),
    kind<T5ForConditionalGeneration>(),
};

const LanguageModelKind& find_kind(std::string_view model_type) {
  std::string known;
  for (const LanguageModelKind& kind : kKinds) {
    if (kind.model_type == model_type) return kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.model_type);
  }
  throw ConfigError("text_config: unknown model_type \"" + std::string(model_type) +
                    "\", expected one of " + known);
}

}  // namespace

std::unique_ptr<LanguageModel> AutoLanguageModel::from_config(const Weights& weights,
                                                              const TextConfig& config,
                                                              bool with_head) {
  return find_kind(config.model_type()).make(weights, config, with_head);
}

std::unique_ptr<LanguageModel> AutoLanguageModel::from_pretrained(const std::filesystem::path& path,
                                                                  const LoadOptions& options) {
  const TextConfigHolder config = load_text_config(path);
  return find_kind(config->model_type()).load(path, options);
}

std::vector<std::string> AutoLanguageModel::model_types() {
  std::vector<std::string> types;
  for (const LanguageModelKind& kind : kKinds) types.emplace_back(kind.model_type);
  return types;
}

}  // namespace instructblip
