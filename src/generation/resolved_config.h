// A GenerationConfig with the defaults, special ids and lengths of one call, and the processors and
// criteria that follow from it. Internal to generation.
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

  /// Rows per prompt that are decoded together.
  Index expand_size() const { return std::max(num_beams, num_return_sequences); }
  /// Whether tensors of every step are returned. If so, rows that have ended stay in the batch.
  bool records_steps() const { return output_scores || output_logits || records_states(); }
  bool records_states() const { return output_hidden_states || output_attentions; }
};

/// Fills in defaults and special ids. Makes all checks that do not need the prompt.
ResolvedConfig resolve(const GenerationConfig& config, const LanguageModelTraits& traits);
/// Fills in max_length and min_length. Throws InputError if no id can be generated.
void resolve_lengths(ResolvedConfig& resolved, const Prompt& prompt,
                     const LanguageModelTraits& traits);
/// Logs a warning for each processor that does not see all ids it is meant for.
void warn_of_unseen_ids(const GenerationConfig& config, const Prompt& prompt);
/// Throws InputError if `make_processors` would, whatever prompt and model.
void check_processors(const GenerationConfig& config);
/// Throws InputError if the rows that are decoded together need more memory than is available. Only
/// what every row takes at once is counted.
void check_memory(const ResolvedConfig& resolved, Index prompts, const LanguageModelTraits& traits);
/// The processors in the reference's order. `own`, the caller's, come before those of sampling.
LogitsProcessorList make_processors(const ResolvedConfig& resolved, const Prompt& prompt,
                                    const LogitsProcessorList& own,
                                    const PrefixAllowedTokens& prefix_allowed_tokens_fn);
StoppingCriteriaList make_criteria(const ResolvedConfig& resolved, const Tokenizer* tokenizer,
                                   const std::atomic<bool>* cancelled,
                                   const StoppingCriteriaList& own);

/// The reason why each row ends in this step, or nothing if it continues.
std::vector<std::optional<FinishReason>> evaluate(const StoppingCriteriaList& criteria,
                                                  std::span<const StoppingRow> rows);
/// Runs the processors on the rows of one step. Throws InputError if a score is NaN afterwards.
void apply(const LogitsProcessorList& processors, std::span<const ScoreRow> rows, Index step);
/// Throws InputError with step, row and id if a logit is not finite.
void check_finite(std::span<const float> logits, Index step, Index batch_index);

}  // namespace instructblip::detail
