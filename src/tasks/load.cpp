#include "instructblip/tasks/load.h"

#include <string>
#include <utility>

#include "instructblip/core/log.h"
#include "instructblip/tasks/folder_check.h"
#include "models/quantization_config.h"
#include "tasks/end_of_text.h"
#include "tasks/opened_folder.h"

namespace instructblip {

InstructBlip load(const std::filesystem::path& folder, const LoadOptions& options,
                  const TokenizerOptions& tokenizer) {
  std::unique_ptr<Tokenizer> own_tokenizer;  // before the processor adds its image token
  TokenizerOptions keeping = tokenizer;
  keeping.loader = [&](const std::filesystem::path& path, const TokenizerOptions&) {
    std::unique_ptr<Tokenizer> loaded = AutoTokenizer::from_pretrained(path, tokenizer);
    own_tokenizer = loaded->clone();
    return loaded;
  };
  const auto own_config = load_image_text_to_text_config(folder);
  auto processor = ImageTextToTextProcessor::from_pretrained(folder, keeping,
                                                             std::string(own_config->model_type()));
  const StoredQuantization stored = detail::quantization_of(*own_config, folder);
  detail::refuse_second_quantization(folder, stored.method, options.quantization);
  const auto config = own_config->clone();
  config->text_config->eos_token_id =
      detail::end_of_text(*config->text_config, processor.tokenizer().eos_token_id());
  const auto checkpoint = detail::open_checkpoint(folder, options);
  const Weights weights = detail::weights_of(checkpoint, options, stored);
  ImageTextToTextModel model(weights, *config);
  weights.finish();
  if (options.check_folder) {
    const FolderReport report = detail::check_opened_folder(
        folder, {.config = [&] { return own_config->clone(); },
                 .checkpoint = [&] { return checkpoint; },
                 .tokenizer = [&] { return std::move(own_tokenizer); },
                 .qformer_tokenizer = [&] { return processor.find_qformer_tokenizer()->clone(); }});
    for (const FolderFinding& finding : report.findings) {
      if (!finding.settled_by_load) log_warning((folder / to_string(finding)).string());
    }
  }
  return {std::move(processor), std::move(model)};
}

}  // namespace instructblip
