#include "generation/resolved_config.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "core/available_memory.h"
#include "generation/prompt.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/core/log.h"

namespace instructblip::detail {

namespace {

// How many ids at the beginning of each row are padding, which repetition_penalty does not count.
std::vector<Index> padding_before_ids(const Prompt& prompt) {
  std::vector<Index> counts(to_size(prompt.size()), 0);
  if (prompt.is_encoder_decoder) return counts;  // the padding is the encoder's
  const Index before_ids = prompt.batch.length - prompt.length();
  for (Index b = 0; b < prompt.size(); ++b) {
    const Index first_column = prompt.batch.column(prompt.batch.rows.begin(b));
    at(counts, b) = std::max<Index>(first_column - before_ids, 0);
  }
  return counts;
}

// The processors of sampling.
LogitsProcessorList make_warpers(const ResolvedConfig& resolved) {
  const GenerationConfig& config = resolved.config;
  LogitsProcessorList list;
  const auto add = [&list]<class P>(P warper) {
    list.push_back(std::make_shared<const P>(std::move(warper)));
  };
  // Beams need at least one id that does not end them.
  const Index keep = resolved.num_beams > 1
                         ? std::max<Index>(static_cast<Index>(resolved.eos_token_id.size()), 1) + 1
                         : 1;
  if (config.temperature.value_or(1) != 1) add(TemperatureLogitsWarper(*config.temperature));
  if (config.top_h) add(TopHLogitsWarper(*config.top_h));
  if (config.top_k.value_or(50) != 0) add(TopKLogitsWarper(config.top_k.value_or(50), keep));
  if (config.top_p.value_or(1) < 1) add(TopPLogitsWarper(*config.top_p, keep));
  if (config.min_p) add(MinPLogitsWarper(*config.min_p, keep));
  if (config.typical_p.value_or(1) < 1) add(TypicalLogitsWarper(*config.typical_p, keep));
  const auto is_cutoff = [](double value) { return value > 0 && value < 1; };
  if (is_cutoff(config.epsilon_cutoff.value_or(0))) {
    add(EpsilonLogitsWarper(*config.epsilon_cutoff, keep));
  }
  if (is_cutoff(config.eta_cutoff.value_or(0))) add(EtaLogitsWarper(*config.eta_cutoff, keep));
  return list;
}

// Appends the caller's own. Throws InputError on a null pointer.
template <class List>
void append_own(List& list, const List& own, std::string_view argument) {
  if (std::find(own.begin(), own.end(), nullptr) != own.end()) {
    throw InputError("`" + std::string(argument) + "` holds a null pointer");
  }
  list.insert(list.end(), own.begin(), own.end());
}

}  // namespace

ResolvedConfig resolve(const GenerationConfig& config, const LanguageModelTraits& traits) {
  config.validate();
  config.validate_ids(traits.vocab_size);
  ResolvedConfig resolved;
  resolved.config = config;
  resolved.max_position_embeddings = traits.max_position_embeddings;
  resolved.do_sample = config.do_sample.value_or(false);
  resolved.num_beams = config.num_beams.value_or(1);
  resolved.num_return_sequences = config.num_return_sequences.value_or(1);
  resolved.early_stopping = config.early_stopping.value_or(EarlyStopping(false));
  resolved.length_penalty = config.length_penalty.value_or(1.0);
  resolved.remove_invalid_values = config.remove_invalid_values.value_or(false);
  resolved.output_scores = config.output_scores.value_or(false);
  resolved.output_logits = config.output_logits.value_or(false);
  resolved.output_hidden_states = config.output_hidden_states.value_or(false);
  resolved.output_attentions = config.output_attentions.value_or(false);
  resolved.eos_token_id =
      config.eos_token_id.has_value() ? *config.eos_token_id : traits.eos_token_id;
  resolved.pad_token_id = config.pad_token_id ? config.pad_token_id : traits.pad_token_id;
  resolved.bos_token_id = config.bos_token_id ? config.bos_token_id : traits.bos_token_id;
  if (config.decoder_start_token_id.has_value()) {
    resolved.decoder_start_token_id = *config.decoder_start_token_id;
  } else if (traits.decoder_start_token_id) {
    resolved.decoder_start_token_id = {{*traits.decoder_start_token_id}};
  } else if (resolved.bos_token_id) {
    resolved.decoder_start_token_id = {{*resolved.bos_token_id}};
  }
  if (!resolved.pad_token_id && !resolved.eos_token_id.empty()) {
    resolved.pad_token_id = resolved.eos_token_id.front();
  }
  for (const std::int64_t id : resolved.eos_token_id) {
    if (id >= 0) continue;
    log_warning("`eos_token_id` contains " + std::to_string(id) +
                ", which is negative and ends no row");
  }
  if (resolved.do_sample) {
    std::random_device device;
    resolved.random.seed =
        config.seed ? *config.seed : (std::uint64_t{device()} << 32 | std::uint64_t{device()});
  }
  return resolved;
}

void resolve_lengths(ResolvedConfig& resolved, const Prompt& prompt,
                     const LanguageModelTraits& traits) {
  const GenerationConfig& config = resolved.config;
  const Index length = prompt.length();
  // If embeddings have no ids, the reference subtracts the length of the prompt from max_length and
  // min_length. It does so too if only some have ids, which are then counted twice.
  const Index unseen =
      !prompt.is_encoder_decoder && length != prompt.batch.length ? prompt.batch.length : 0;
  if (config.max_new_tokens) {
    if (config.max_length) {
      log_warning("`max_new_tokens` (" + std::to_string(*config.max_new_tokens) +
                  ") and `max_length` (" + std::to_string(*config.max_length) +
                  ") are both set; `max_new_tokens` takes precedence");
    }
    resolved.max_length = saturating_add(length, *config.max_new_tokens);
  } else if (config.max_length) {
    resolved.max_length = saturating_add(*config.max_length, -unseen);
  } else {
    constexpr Index kDefaultNewTokens = 20;
    resolved.max_length = length + kDefaultNewTokens;
    if (traits.max_position_embeddings) {
      resolved.max_length = std::min(resolved.max_length, *traits.max_position_embeddings);
    }
    log_warning("generating at most " + std::to_string(resolved.max_length - length) +
                " new ids, the default; set `max_new_tokens` to change the number");
  }
  if (config.min_new_tokens) {
    if (config.min_length) {
      log_warning("`min_new_tokens` (" + std::to_string(*config.min_new_tokens) +
                  ") and `min_length` (" + std::to_string(*config.min_length) +
                  ") are both set; `min_new_tokens` takes precedence");
    }
    resolved.min_length = saturating_add(length, *config.min_new_tokens);
  } else {
    resolved.min_length =
        std::max<Index>(saturating_add(config.min_length.value_or(0), -unseen), 0);
  }

  if (length >= resolved.max_length) {
    const Index taken_off = length == 0 ? unseen : 0;
    throw InputError("Input length of " +
                     std::string(prompt.is_encoder_decoder ? "decoder_input_ids" : "input_ids") +
                     " is " + std::to_string(length + taken_off) + ", but `max_length` is set to " +
                     std::to_string(saturating_add(resolved.max_length, taken_off)) +
                     ": nothing can be generated; increase `max_length` or set `max_new_tokens`");
  }
  if (resolved.min_length > resolved.max_length) {
    log_warning("`min_length` (" + std::to_string(resolved.min_length) +
                ") is above the longest possible length (" + std::to_string(resolved.max_length) +
                "); generation stops at the latter");
  }
}

void check_memory(const ResolvedConfig& resolved, Index prompts,
                  const LanguageModelTraits& traits) {
  const Index copies = resolved.expand_size();
  const double buffers = resolved.num_beams > 1 ? 3 : 2;  // logits and scores; and candidates
  const double bytes_per_row = static_cast<double>(traits.vocab_size) * sizeof(float) * buffers +
                               static_cast<double>(traits.bytes_per_sequence);
  const double rows = static_cast<double>(prompts) * static_cast<double>(copies);
  const double needed = rows * bytes_per_row;
  constexpr double kMostRows = 0x1p31;  // beam indices are 32 bits wide
  constexpr double kAlwaysFits = 0x1p26;
  if (needed <= kAlwaysFits && rows < kMostRows) return;
  const std::optional<double> available = available_memory();
  if (needed <= available.value_or(needed) && rows < kMostRows) return;
  const std::string field = resolved.num_beams > 1 ? "num_beams" : "num_return_sequences";
  throw InputError(std::to_string(prompts) + (prompts == 1 ? " prompt" : " prompts") +
                   (copies == 1 ? "" : " with `" + field + "` = " + std::to_string(copies)) +
                   (prompts == 1 ? " needs " : " need ") + gigabytes(needed) +
                   " of memory at least" +
                   (available ? ", but only " + gigabytes(*available) + " are available" : "") +
                   "; generate in several calls with fewer rows each" +
                   (resolved.do_sample ? " and different seeds" : ""));
}

void warn_of_unseen_ids(const GenerationConfig& config, const Prompt& prompt) {
  const auto ignored = [](const std::string& name) {
    log_warning("`" + name +
                "` needs the encoder's ids, but it is fed embeddings; the argument is ignored");
  };
  if (config.encoder_repetition_penalty.value_or(1) != 1) ignored("encoder_repetition_penalty");
  if (config.encoder_no_repeat_ngram_size.value_or(0) > 0) ignored("encoder_no_repeat_ngram_size");
  if (prompt.is_encoder_decoder || prompt.length() > 0) return;
  const auto partial = [](const std::string& name) {
    log_warning("`" + name +
                "` ignores the prompt and considers only new ids, as `input_ids` are not given");
  };
  if (config.repetition_penalty.value_or(1) != 1) partial("repetition_penalty");
  if (config.no_repeat_ngram_size.value_or(0) > 0) partial("no_repeat_ngram_size");
}

void check_processors(const GenerationConfig& config) {
  ResolvedConfig resolved;
  resolved.config = config;
  resolved.do_sample = config.do_sample.value_or(false);
  resolved.num_beams = config.num_beams.value_or(1);
  resolved.eos_token_id = {0};
  Prompt prompt;
  prompt.is_encoder_decoder = true;  // without padding, which is looked up in `batch`
  prompt.ids = Tensor(DType::Int64, {0, 0});
  make_processors(resolved, prompt, {}, {});
}

LogitsProcessorList make_processors(const ResolvedConfig& resolved, const Prompt& prompt,
                                    const LogitsProcessorList& own,
                                    const PrefixAllowedTokens& prefix_allowed_tokens_fn) {
  const GenerationConfig& config = resolved.config;
  const std::vector<std::int64_t>& eos = resolved.eos_token_id;
  LogitsProcessorList list;
  const auto add = [&list]<class P>(P processor) {
    list.push_back(std::make_shared<const P>(std::move(processor)));
  };

  if (!config.sequence_bias.empty()) add(SequenceBiasLogitsProcessor(config.sequence_bias));
  if (config.repetition_penalty.value_or(1) != 1) {
    add(RepetitionPenaltyLogitsProcessor(*config.repetition_penalty, padding_before_ids(prompt)));
  }
  if (config.no_repeat_ngram_size.value_or(0) > 0) {
    add(NoRepeatNGramLogitsProcessor(*config.no_repeat_ngram_size));
  }
  if (!config.bad_words_ids.empty()) add(NoBadWordsLogitsProcessor(config.bad_words_ids, eos));
  if (resolved.min_length > 0 && !eos.empty()) {
    add(MinLengthLogitsProcessor(resolved.min_length, eos));
  }
  if (config.min_new_tokens.value_or(0) > 0 && !eos.empty()) {
    add(MinNewTokensLengthLogitsProcessor(prompt.length(), *config.min_new_tokens, eos));
  }
  if (prefix_allowed_tokens_fn) add(PrefixConstrainedLogitsProcessor(prefix_allowed_tokens_fn));
  if (config.forced_bos_token_id) add(ForcedBOSTokenLogitsProcessor(*config.forced_bos_token_id));
  if (config.forced_eos_token_id.has_value() && !(*config.forced_eos_token_id).empty()) {
    add(ForcedEOSTokenLogitsProcessor(resolved.max_length, *config.forced_eos_token_id));
  }
  if (resolved.remove_invalid_values) add(InfNanRemoveLogitsProcessor());
  if (config.exponential_decay_length_penalty) {
    add(ExponentialDecayLengthPenalty(*config.exponential_decay_length_penalty, eos,
                                      prompt.length()));
  }
  if (!config.suppress_tokens.empty()) add(SuppressTokensLogitsProcessor(config.suppress_tokens));
  if (!config.begin_suppress_tokens.empty()) {
    // If the first new id is forced, the second one is suppressed.
    const bool after_forced = prompt.length() <= 1 && config.forced_bos_token_id;
    add(SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens,
                                             prompt.length() + (after_forced ? 1 : 0)));
  }
  append_own(list, own, "logits_processor");

  if (resolved.do_sample) {
    const LogitsProcessorList warpers = make_warpers(resolved);
    list.insert(list.end(), warpers.begin(), warpers.end());
  }
  if (config.renormalize_logits.value_or(false)) add(LogitNormalization());
  return list;
}

StoppingCriteriaList make_criteria(const ResolvedConfig& resolved, const Tokenizer* tokenizer,
                                   const std::atomic<bool>* cancelled,
                                   const StoppingCriteriaList& own) {
  const GenerationConfig& config = resolved.config;
  StoppingCriteriaList list;
  // In order of precedence: the first criterion that is met gives the reason.
  if (!resolved.eos_token_id.empty()) {
    list.push_back(std::make_shared<const EosTokenCriteria>(resolved.eos_token_id));
  }
  if (!config.stop_strings.empty()) {
    if (tokenizer == nullptr) {
      throw InputError(
          "`stop_strings` are set, but GenerateCallbacks::tokenizer is not: the "
          "model's tokenizer is needed to find them");
    }
    list.push_back(std::make_shared<const StopStringCriteria>(*tokenizer, config.stop_strings));
  }
  append_own(list, own, "stopping_criteria");
  list.push_back(std::make_shared<const MaxLengthCriteria>(resolved.max_length,
                                                           resolved.max_position_embeddings));
  if (cancelled) list.push_back(std::make_shared<const CancellationCriteria>(*cancelled));
  if (config.max_time) list.push_back(std::make_shared<const MaxTimeCriteria>(*config.max_time));
  return list;
}

std::vector<std::optional<FinishReason>> evaluate(const StoppingCriteriaList& criteria,
                                                  std::span<const StoppingRow> rows) {
  std::vector<std::optional<FinishReason>> reasons(rows.size());
  for (const auto& criterion : criteria) {
    const std::vector<bool> done = (*criterion)(rows);
    if (done.size() != rows.size()) {
      throw InputError("a stopping criterion returned results for " + std::to_string(done.size()) +
                       " rows, expected " + std::to_string(rows.size()));
    }
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (done[r] && !reasons[r]) reasons[r] = criterion->reason();
    }
  }
  return reasons;
}

void apply(const LogitsProcessorList& processors, std::span<const ScoreRow> rows, Index step) {
  for (const auto& processor : processors) processor->process(rows);
  for (const ScoreRow& row : rows) {
    const auto wrong = std::find_if(row.scores.begin(), row.scores.end(),
                                    [](float score) { return std::isnan(score); });
    if (wrong != row.scores.end()) {
      throw InputError("step " + std::to_string(step) + ", row " + std::to_string(row.batch_index) +
                       ": the score of id " + std::to_string(wrong - row.scores.begin()) +
                       " is not a number after the logits processors");
    }
  }
}

void check_finite(std::span<const float> logits, Index step, Index batch_index) {
  const auto wrong =
      std::find_if(logits.begin(), logits.end(), [](float logit) { return !std::isfinite(logit); });
  if (wrong == logits.end()) return;
  throw InputError("step " + std::to_string(step) + ", row " + std::to_string(batch_index) +
                   ": the model's logit of id " + std::to_string(wrong - logits.begin()) + " is " +
                   std::to_string(*wrong) +
                   ", expected a finite number; the weights are damaged or their type overflows "
                   "(set `remove_invalid_values` to generate anyway)");
}

}  // namespace instructblip::detail
