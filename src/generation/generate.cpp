#include "instructblip/generation/generate.h"

#include <string>

#include "generation/beam_search.h"
#include "generation/decoding.h"
#include "generation/drafts.h"
#include "generation/prompt.h"
#include "generation/resolved_config.h"
#include "generation/sampler.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip {

GenerateOutput generate(const LanguageModel& model, const GenerateInputs& inputs,
                        const GenerationConfig& config, const GenerateCallbacks& callbacks) {
  detail::ResolvedConfig resolved = detail::resolve(config, model.traits());
  if (callbacks.streamer && resolved.num_beams > 1) {
    throw InputError("`streamer` cannot be used with beam search: set `num_beams` to 1");
  }
  GenerateOutput output;
  detail::Decoding decoding(model, resolved, output);
  const detail::Prompt prompt = detail::prepare_prompt(model, inputs, resolved);
  detail::resolve_lengths(resolved, prompt, model.traits());
  detail::check_memory(resolved, prompt.size(), model.traits());
  if (resolved.pad_token_id.value_or(0) < 0 && prompt.size() > 1) {
    log_warning("`pad_token_id` is " + std::to_string(*resolved.pad_token_id) +
                ": rows that end early are filled with it, and it cannot be decoded; set " +
                "`pad_token_id` in the GenerationConfig or the text_config");
  }
  detail::warn_of_unseen_ids(config, prompt);
  const LogitsProcessorList processors = detail::make_processors(
      resolved, prompt, callbacks.logits_processor, callbacks.prefix_allowed_tokens_fn);
  const StoppingCriteriaList criteria = detail::make_criteria(
      resolved, callbacks.tokenizer, callbacks.cancelled, callbacks.stopping_criteria);

  decoding.use_drafts(detail::make_drafter(model, resolved, prompt, callbacks));
  const detail::DecodingRun run{resolved, prompt, processors, criteria, decoding, output};
  if (resolved.num_beams > 1) {
    detail::beam_search(run);
  } else {
    detail::sample(run, callbacks.streamer);
  }
  output.prompt_length = prompt.length();
  output.seed = resolved.random.seed;
  return output;
}

}  // namespace instructblip
