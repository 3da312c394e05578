// What a GenerationConfig means for one call: defaults, special ids and lengths filled in, and the
// processors and criteria that follow from it. Used by generate; not meant for callers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "instructblip/generation/generation_config.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/generation/logits_process.h"
#include "instructblip/generation/sampling.h"
#include "instructblip/generation/stopping_criteria.h"

namespace instructblip::detail {

struct Prompt;

struct ResolvedConfig {
  GenerationConfig config;  // as given
  bool do_sample = false;
  Index num_beams = 1;
  Index num_return_sequences = 1;
  EarlyStopping early_stopping;
  double length_penalty = 1;
  bool remove_invalid_values = false;
  bool output_scores = false, output_logits = false;
  bool output_hidden_states = false, output_attentions = false;
  std::vector<std::int64_t> eos_token_id;  // empty: none
  std::optional<std::int64_t> pad_token_id;
  std::optional<std::int64_t> bos_token_id;
  std::optional<std::vector<std::int64_t>> decoder_start_token_id;
  Index max_length = 0, min_length = 0;
  std::optional<Index> max_position_embeddings;
  RandomNumbers random;

  /// Rows that decode together for each prompt.
  Index expand_size() const { return std::max(num_beams, num_return_sequences); }
  /// Whether tensors of every step are returned, so that rows that have ended must go on.
  bool records_steps() const { return output_scores || output_logits || records_states(); }
  bool records_states() const { return output_hidden_states || output_attentions; }
};

/// Defaults and special ids; checks what can be checked without the prompt.
ResolvedConfig resolve(const GenerationConfig& config, const LanguageModelTraits& traits);
/// Fills in max_length and min_length; throws InputError if no id can be generated.
void resolve_lengths(ResolvedConfig& resolved, const Prompt& prompt,
                     const LanguageModelTraits& traits);
/// In the reference's order; `own` come before those of sampling.
LogitsProcessorList make_processors(const ResolvedConfig& resolved, const Prompt& prompt,
                                    const LogitsProcessorList& own,
                                    const PrefixAllowedTokens& prefix_allowed_tokens_fn);
StoppingCriteriaList make_criteria(const ResolvedConfig& resolved, const Tokenizer* tokenizer,
                                   const std::atomic<bool>* cancelled,
                                   const StoppingCriteriaList& own);

/// Why each row ends with this step; nothing for those that go on.
std::vector<std::optional<FinishReason>> evaluate(const StoppingCriteriaList& criteria,
                                                  std::span<const StoppingRow> rows);
/// Runs the processors over the rows of one step; throws InputError where a score is not a number
/// afterwards.
void apply(const LogitsProcessorList& processors, std::span<const ScoreRow> rows, Index step);
/// Throws InputError naming step, row and id of a logit that is not finite.
void check_finite(std::span<const float> logits, Index step, Index batch_index);

}  // namespace instructblip::detail
