// GenerationConfig: all options of `generate`, with the reference's names and defaults.
// Mirrors transformers/generation/configuration_utils.py.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// One id or several: `= 2`, `= {2, 50118}`. Unset by default. `TokenIds::none()` is an explicit
/// empty list.
struct TokenIds {
  std::optional<std::vector<std::int64_t>> ids;

  TokenIds() = default;
  TokenIds(std::integral auto id) : ids{{static_cast<std::int64_t>(id)}} {}  // NOLINT: as a value
  TokenIds(std::initializer_list<std::int64_t> list) : ids(list) {}          // NOLINT
  TokenIds(std::vector<std::int64_t> list) : ids(std::move(list)) {}         // NOLINT
  static TokenIds none() { return std::vector<std::int64_t>{}; }

  bool has_value() const { return ids.has_value(); }
  const std::vector<std::int64_t>& operator*() const { return *ids; }
  bool operator==(const TokenIds&) const = default;
};

/// Condition that ends beam search: `= true`, `= false` or `= "never"`.
struct EarlyStopping {
  enum Value { False, True, Never } value = False;

  EarlyStopping() = default;
  EarlyStopping(std::same_as<bool> auto stop) : value(stop ? True : False) {}  // NOLINT
  /// Throws ConfigError unless it is "never".
  INSTRUCTBLIP_EXPORT EarlyStopping(const char* name);  // NOLINT
  bool operator==(const EarlyStopping&) const = default;
};

/// Adds `bias` to the score of the last id of `sequence` if the row ends with the ids before it.
struct SequenceBias {
  std::vector<std::int64_t> sequence;
  double bias = 0;
  bool operator==(const SequenceBias&) const = default;
};

/// See GenerationConfig::exponential_decay_length_penalty.
struct ExponentialDecay {
  Index start_index = 0;
  double decay_factor = 1;
  bool operator==(const ExponentialDecay&) const = default;
};

/// Options of `generate`: a plain struct for designated initialisers, whose order is frozen:
///
///   {.max_new_tokens = 64, .num_beams = 5, .repetition_penalty = 1.5}
///
/// An unset field has the default that its comment names; unset special ids come from the model's
/// text_config. A row is one sequence: the prompt (image placeholders, padding, text) and the new
/// ids of a decoder-only model, or the start id and the new ids of an encoder-decoder. p is the
/// probability of an id and s its score: a logit in greedy search and sampling, a log-probability
/// in beam search. `generate` checks all values and throws InputError.
struct GenerationConfig {
  // Length of the output
  /// Maximum length of a row, including the prompt. Default: prompt + 20, at most the model's
  /// max_position_embeddings.
  std::optional<Index> max_length{};
  /// Maximum number of new ids: max_length = prompt + max_new_tokens. Overrides max_length.
  std::optional<Index> max_new_tokens{};
  /// s(eos) = -inf while the row is shorter. Default 0.
  std::optional<Index> min_length{};
  /// s(eos) = -inf while there are fewer new ids. Overrides min_length.
  std::optional<Index> min_new_tokens{};
  /// When beam search stops. true: when num_beams answers are complete. false: when score /
  /// length^length_penalty of the best running beam is below that of the worst complete answer.
  /// "never": like false, but with the maximum length if length_penalty > 0. Default false.
  std::optional<EarlyStopping> early_stopping{};
  /// No further step begins after this many seconds.
  std::optional<double> max_time{};
  /// A row ends with the token that completes one of these texts; the token is kept. Needs
  /// GenerateCallbacks::tokenizer.
  std::vector<std::string> stop_strings{};

  // Strategy: greedy, sampling, beam search (num_beams > 1), beam sampling (both)
  /// Default false.
  std::optional<bool> do_sample{};
  /// Default 1.
  std::optional<Index> num_beams{};

  // Drafts of next ids, which the model verifies in one pass over its weights. They change the time
  // that an answer takes, never the answer. Beam search makes none, and neither does a generation
  // that returns hidden states or attentions.
  /// Drafts up to this many ids: what followed the row's last ids where they occurred before, in
  /// the prompt or the answer. Default: no such drafts.
  std::optional<Index> prompt_lookup_num_tokens{};
  /// So many last ids are looked up, or fewer if they did not occur. Default 2.
  std::optional<Index> max_matching_ngram_size{};
  /// GenerateCallbacks::assistant_model drafts up to this many ids. Default 20.
  std::optional<Index> num_assistant_tokens{};
  /// Its draft ends with an id whose p is smaller. In [0, 1]; default 0.4.
  std::optional<double> assistant_confidence_threshold{};

  // Scores
  /// Sampling: s / temperature. Above 0; default 1.
  std::optional<double> temperature{};
  /// Sampling: keeps ids whose s is not below the top_k-th largest; 0 keeps all. Default 50.
  std::optional<Index> top_k{};
  /// Sampling: keeps the smallest set of most probable ids whose p add up to top_p or more. Not
  /// below 0; default 1: off.
  std::optional<double> top_p{};
  /// Sampling: keeps ids with p >= min_p * largest p. In [0, 1].
  std::optional<double> min_p{};
  /// Sampling: keeps the most probable ids while the sum of their -p log p is at most top_h *
  /// entropy. Both consider only the 100 most probable ids. In (0, 1].
  std::optional<double> top_h{};
  /// Sampling: keeps the ids with the smallest |-log p - entropy| whose p add up to typical_p.
  /// Above 0; default 1: off.
  std::optional<double> typical_p{};
  /// Sampling: keeps ids with p >= epsilon_cutoff. Off unless in (0, 1); default 0.
  std::optional<double> epsilon_cutoff{};
  /// Sampling: keeps ids with p >= min(eta, sqrt(eta) * exp(-entropy)). Off unless in (0, 1);
  /// default 0.
  std::optional<double> eta_cutoff{};
  /// s of every id in the row: s > 0 ? s / penalty : s * penalty. Above 0; default 1: off.
  std::optional<double> repetition_penalty{};
  /// Ignored with a warning: the encoder is fed embeddings, not ids.
  std::optional<double> encoder_repetition_penalty{};
  /// Beams: an answer's score is (sum of s) / (new ids)^length_penalty. Above 0 favours long
  /// answers, below 0 short ones. Default 1.
  std::optional<double> length_penalty{};
  /// s = -inf for an id that would repeat an n-gram of this size in the row. Default 0: off.
  std::optional<Index> no_repeat_ngram_size{};
  /// s = -inf for the last id of each sequence if the row ends with the ids before it.
  std::vector<std::vector<std::int64_t>> bad_words_ids{};
  /// Applies log_softmax to the scores after all other processors. Default false.
  std::optional<bool> renormalize_logits{};
  /// Encoder-decoders: forces the first new id, if the row so far is one id long.
  std::optional<std::int64_t> forced_bos_token_id{};
  /// Forces one of these as the last id of a row that reaches max_length.
  TokenIds forced_eos_token_id{};
  /// NaN becomes 0, and infinities become the largest and smallest float. If false, logits that are
  /// not finite are an error. Default false.
  std::optional<bool> remove_invalid_values{};
  /// s(eos) += |s(eos)| * (decay_factor^n - 1), n = new ids - start_index, once n > 0.
  std::optional<ExponentialDecay> exponential_decay_length_penalty{};
  /// s = -inf, always.
  std::vector<std::int64_t> suppress_tokens{};
  /// s = -inf for the first new id.
  std::vector<std::int64_t> begin_suppress_tokens{};
  /// See SequenceBias.
  std::vector<SequenceBias> sequence_bias{};

  // What is returned
  /// Answers per prompt; beams: at most num_beams. Default 1.
  std::optional<Index> num_return_sequences{};
  /// Attention weights of every step. Default false, like the following.
  std::optional<bool> output_attentions{};
  std::optional<bool> output_hidden_states{};
  /// Scores of every step after all processors.
  std::optional<bool> output_scores{};
  /// The model's logits of every step.
  std::optional<bool> output_logits{};

  // Special ids; default: those of the text_config
  /// Fills rows that ended early. If the text_config has none either: the first eos id.
  std::optional<std::int64_t> pad_token_id{};
  std::optional<std::int64_t> bos_token_id{};
  /// Each of these ends a row. With `TokenIds::none()`, no id does.
  TokenIds eos_token_id{};
  /// Ignored with a warning: the encoder is fed embeddings, not ids.
  std::optional<Index> encoder_no_repeat_ngram_size{};
  /// Encoder-decoders: the first id, one for all rows or one per row. If the text_config has none
  /// either: bos_token_id.
  TokenIds decoder_start_token_id{};

  // Ours
  /// Seed of sampling. If unset, every call draws a new one and returns it in
  /// GenerateOutput::seed.
  std::optional<std::uint64_t> seed{};
  /// Keys of a generation_config.json that have no field here, as JSON text. `generate` throws
  /// InputError for those that would change its answer (num_beam_groups, penalty_alpha, ...) and
  /// ignores the rest.
  std::map<std::string, std::string> other{};

  bool operator==(const GenerationConfig&) const = default;

  /// Reads generation_config.json in a folder, or the file itself. Throws ConfigError if the file
  /// is missing, its JSON is malformed or a value has the wrong type.
  INSTRUCTBLIP_EXPORT static GenerationConfig from_pretrained(const std::filesystem::path& path);
  /// `json`: an object with the keys of a generation_config.json; null leaves a field unset. Throws
  /// ConfigError like from_pretrained.
  INSTRUCTBLIP_EXPORT static GenerationConfig from_json(std::string_view json);
  /// The fields that are set, in alphabetical order, indented by two spaces.
  INSTRUCTBLIP_EXPORT std::string to_json() const;
  /// Writes generation_config.json to `folder`, creating it if necessary. Throws ConfigError on
  /// failure.
  INSTRUCTBLIP_EXPORT void save_pretrained(const std::filesystem::path& folder) const;

  /// The checks of `generate` that need neither prompt nor model. Throws InputError on invalid or
  /// contradictory values and on methods that are not supported. Logs a warning that names the
  /// fields without effect.
  INSTRUCTBLIP_EXPORT void validate() const;
  /// The check of `generate` that needs only the size of the model's vocabulary: ids are from 0 to
  /// vocab_size - 1, except those that would merely have no effect, as in the reference: of
  /// `pad_token_id`, which is never fed, `eos_token_id` and the suppressed tokens. Throws
  /// InputError.
  INSTRUCTBLIP_EXPORT void validate_ids(Index vocab_size) const;

  /// A copy in which every field that `changes` sets is replaced.
  INSTRUCTBLIP_EXPORT GenerationConfig updated(const GenerationConfig& changes) const;
};

/// Calls visit(name, member pointer) for every field but `other`, in the order above.
template <class Visitor>
void visit_fields(Visitor&& visit) {
  using C = GenerationConfig;
  visit("max_length", &C::max_length);
  visit("max_new_tokens", &C::max_new_tokens);
  visit("min_length", &C::min_length);
  visit("min_new_tokens", &C::min_new_tokens);
  visit("early_stopping", &C::early_stopping);
  visit("max_time", &C::max_time);
  visit("stop_strings", &C::stop_strings);
  visit("do_sample", &C::do_sample);
  visit("num_beams", &C::num_beams);
  visit("prompt_lookup_num_tokens", &C::prompt_lookup_num_tokens);
  visit("max_matching_ngram_size", &C::max_matching_ngram_size);
  visit("num_assistant_tokens", &C::num_assistant_tokens);
  visit("assistant_confidence_threshold", &C::assistant_confidence_threshold);
  visit("temperature", &C::temperature);
  visit("top_k", &C::top_k);
  visit("top_p", &C::top_p);
  visit("min_p", &C::min_p);
  visit("top_h", &C::top_h);
  visit("typical_p", &C::typical_p);
  visit("epsilon_cutoff", &C::epsilon_cutoff);
  visit("eta_cutoff", &C::eta_cutoff);
  visit("repetition_penalty", &C::repetition_penalty);
  visit("encoder_repetition_penalty", &C::encoder_repetition_penalty);
  visit("length_penalty", &C::length_penalty);
  visit("no_repeat_ngram_size", &C::no_repeat_ngram_size);
  visit("bad_words_ids", &C::bad_words_ids);
  visit("renormalize_logits", &C::renormalize_logits);
  visit("forced_bos_token_id", &C::forced_bos_token_id);
  visit("forced_eos_token_id", &C::forced_eos_token_id);
  visit("remove_invalid_values", &C::remove_invalid_values);
  visit("exponential_decay_length_penalty", &C::exponential_decay_length_penalty);
  visit("suppress_tokens", &C::suppress_tokens);
  visit("begin_suppress_tokens", &C::begin_suppress_tokens);
  visit("sequence_bias", &C::sequence_bias);
  visit("num_return_sequences", &C::num_return_sequences);
  visit("output_attentions", &C::output_attentions);
  visit("output_hidden_states", &C::output_hidden_states);
  visit("output_scores", &C::output_scores);
  visit("output_logits", &C::output_logits);
  visit("pad_token_id", &C::pad_token_id);
  visit("bos_token_id", &C::bos_token_id);
  visit("eos_token_id", &C::eos_token_id);
  visit("encoder_no_repeat_ngram_size", &C::encoder_no_repeat_ngram_size);
  visit("decoder_start_token_id", &C::decoder_start_token_id);
  visit("seed", &C::seed);
}

}  // namespace instructblip
