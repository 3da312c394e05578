#include "instructblip/tasks/load.h"

#include <utility>

#include "instructblip/core/log.h"
#include "instructblip/tasks/folder_check.h"
#include "tasks/end_of_text.h"
#include "tasks/opened_folder.h"

namespace instructblip {

InstructBlip load(const std::filesystem::path& folder, const LoadOptions& options,
                  const TokenizerOptions& tokenizer) {
  InstructBlipProcessor processor = InstructBlipProcessor::from_pretrained(folder, tokenizer);
  InstructBlipConfig config = InstructBlipConfig::from_pretrained(folder);
  config.text_config->eos_token_id =
      detail::end_of_text(*config.text_config, processor.tokenizer().eos_token_id());
  const auto checkpoint = detail::open_checkpoint(folder, options);
  const Weights weights = detail::weights_of(checkpoint, options);
  InstructBlipForConditionalGeneration model(weights, config);
  weights.finish();
  if (options.check_folder) {
    const FolderReport report = detail::check_opened_folder(folder, [&] { return checkpoint; });
    for (const FolderFinding& finding : report.findings) {
      if (!finding.settled_by_load) log_warning((folder / to_string(finding)).string());
    }
  }
  return {std::move(processor), std::move(model)};
}

}  // namespace instructblip
