// Processors that change the scores of the next id before one is chosen. Mirrors
// transformers/generation/logits_process.py; names and formulas are the reference's. Here, s is the
// score of an id and p its probability. Processors that only compare ids are defined in the class;
// arithmetic is compiled in the library, so that the program's compiler flags do not change it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"
#include "instructblip/generation/generation_config.h"

namespace instructblip {
namespace detail {
/// The score of an id that is never chosen.
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Throws InputError, "`argument` has to be <expected>, but is <found>", unless `condition` holds.
INSTRUCTBLIP_EXPORT void require(bool condition, std::string_view argument,
                                 std::string_view expected, const std::string& found);
/// Sets the scores of `ids`; ids outside the vocabulary are ignored.
INSTRUCTBLIP_EXPORT void set_scores(std::span<float> scores, std::span<const std::int64_t> ids,
                                    float value);
/// 0 for `ids`, -inf for all others. Throws InputError on an id outside the vocabulary.
INSTRUCTBLIP_EXPORT void force_tokens(std::span<float> scores, std::span<const std::int64_t> ids,
                                      std::string_view argument);
inline void require_tokens_to_keep(Index min_tokens_to_keep) {
  require(min_tokens_to_keep >= 1, "min_tokens_to_keep", "a positive integer",
          std::to_string(min_tokens_to_keep));
}
}  // namespace detail

/// One sequence that is about to get its next id. This is a view: `scores` belong to the call of
/// `generate`, and processors change them in place, even through a const ScoreRow.
struct ScoreRow {
  /// Ids so far. Decoder-only: the prompt with image placeholders and padding, and the new ids;
  /// encoder-decoder: the decoder's ids.
  std::span<const std::int64_t> input_ids;
  /// One score per id of the vocabulary.
  std::span<float> scores;
  /// Row of the batch, and beam (or returned sequence) within it.
  Index batch_index = 0;
  Index beam = 0;

  Index length() const { return static_cast<Index>(input_ids.size()); }
};

/// Derive from it to write a processor; pass it in GenerateCallbacks::logits_processor. It runs on
/// the thread that calls `generate`. If several threads generate with it, it must be thread-safe.
class INSTRUCTBLIP_EXPORT LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  /// Changes the scores of all rows of one step. By default, calls process_row for each.
  virtual void process(std::span<const ScoreRow> rows) const {
    for (const ScoreRow& row : rows) process_row(row);
  }
  virtual void process_row(const ScoreRow&) const {}
};

using LogitsProcessorList = std::vector<std::shared_ptr<const LogitsProcessor>>;

/// A processor from a function: `logits_processor([](const ScoreRow& row) { row.scores[7] = 0; })`.
INSTRUCTBLIP_EXPORT std::shared_ptr<const LogitsProcessor> logits_processor(
    std::function<void(const ScoreRow&)> body);

// The reference's processors. Their constructors throw InputError on values that the reference
// rejects.

/// Adds the bias of each sequence to the score of its last id if the row ends with the ids before
/// it. Throws InputError on an empty list or sequence and on ids outside the vocabulary.
class INSTRUCTBLIP_EXPORT SequenceBiasLogitsProcessor : public LogitsProcessor {
 public:
  explicit SequenceBiasLogitsProcessor(std::vector<SequenceBias> sequence_bias);
  void process_row(const ScoreRow& row) const override;

 protected:
  SequenceBiasLogitsProcessor(std::vector<SequenceBias> sequence_bias, std::string_view argument);

 private:
  std::vector<SequenceBias> sequence_bias_;
  std::string_view argument_;
};

/// A bias of -inf for each word, except for words that consist of one eos id.
class INSTRUCTBLIP_EXPORT NoBadWordsLogitsProcessor : public SequenceBiasLogitsProcessor {
 public:
  NoBadWordsLogitsProcessor(const std::vector<std::vector<std::int64_t>>& bad_words_ids,
                            const std::vector<std::int64_t>& eos_token_id);
};

/// s < 0 ? s * penalty : s / penalty, once for every id that the row contains. The first
/// `prompt_ignore_length[batch_index]` ids of a row, its padding, are ignored; if the list is
/// empty, none are. Throws InputError unless penalty > 0.
class INSTRUCTBLIP_EXPORT RepetitionPenaltyLogitsProcessor : public LogitsProcessor {
 public:
  explicit RepetitionPenaltyLogitsProcessor(double penalty,
                                            std::vector<Index> prompt_ignore_length = {})
      : penalty_(static_cast<float>(penalty)),
        prompt_ignore_length_(std::move(prompt_ignore_length)) {
    detail::require(penalty > 0, "repetition_penalty", "above 0", std::to_string(penalty));
  }
  void process_row(const ScoreRow& row) const override;

 private:
  float penalty_;
  std::vector<Index> prompt_ignore_length_;
};

/// -inf for ids that would complete an n-gram of `ngram_size` ids that the row already contains.
class INSTRUCTBLIP_EXPORT NoRepeatNGramLogitsProcessor : public LogitsProcessor {
 public:
  explicit NoRepeatNGramLogitsProcessor(Index ngram_size) : ngram_size_(ngram_size) {
    detail::require(ngram_size > 0, "no_repeat_ngram_size", "above 0", std::to_string(ngram_size));
  }
  void process_row(const ScoreRow& row) const override;

 private:
  Index ngram_size_;
};

/// -inf for the eos ids while the row is shorter than `min_length`.
class INSTRUCTBLIP_EXPORT MinLengthLogitsProcessor : public LogitsProcessor {
 public:
  MinLengthLogitsProcessor(Index min_length, std::vector<std::int64_t> eos_token_id)
      : min_length_(min_length), eos_token_id_(std::move(eos_token_id)) {
    detail::require(min_length >= 0, "min_length", "0 or more", std::to_string(min_length));
  }
  void process_row(const ScoreRow& row) const override {
    if (row.length() >= min_length_) return;
    detail::set_scores(row.scores, eos_token_id_, detail::kMinusInfinity);
  }

 private:
  Index min_length_;
  std::vector<std::int64_t> eos_token_id_;
};

/// -inf for the eos ids while there are fewer than `min_new_tokens` ids after the prompt.
class INSTRUCTBLIP_EXPORT MinNewTokensLengthLogitsProcessor : public LogitsProcessor {
 public:
  MinNewTokensLengthLogitsProcessor(Index prompt_length_to_skip, Index min_new_tokens,
                                    std::vector<std::int64_t> eos_token_id)
      : prompt_length_to_skip_(prompt_length_to_skip),
        min_new_tokens_(min_new_tokens),
        eos_token_id_(std::move(eos_token_id)) {
    detail::require(min_new_tokens >= 0, "min_new_tokens", "0 or more",
                    std::to_string(min_new_tokens));
  }
  void process_row(const ScoreRow& row) const override {
    if (row.length() - prompt_length_to_skip_ >= min_new_tokens_) return;
    detail::set_scores(row.scores, eos_token_id_, detail::kMinusInfinity);
  }

 private:
  Index prompt_length_to_skip_, min_new_tokens_;
  std::vector<std::int64_t> eos_token_id_;
};

/// The ids allowed next: prefix_allowed_tokens_fn(batch_index, input_ids).
using PrefixAllowedTokens =
    std::function<std::vector<std::int64_t>(Index, std::span<const std::int64_t>)>;

/// -inf for all ids that the function does not return. If every score of every beam of a batch row
/// is then -inf, the returned ids get 0. Throws InputError if the function returns no id or an id
/// outside the vocabulary.
class INSTRUCTBLIP_EXPORT PrefixConstrainedLogitsProcessor : public LogitsProcessor {
 public:
  explicit PrefixConstrainedLogitsProcessor(PrefixAllowedTokens prefix_allowed_tokens_fn)
      : prefix_allowed_tokens_fn_(std::move(prefix_allowed_tokens_fn)) {}
  void process(std::span<const ScoreRow> rows) const override;

 private:
  PrefixAllowedTokens prefix_allowed_tokens_fn_;
};

/// In a row of one id: 0 for `bos_token_id`, -inf for the others.
class INSTRUCTBLIP_EXPORT ForcedBOSTokenLogitsProcessor : public LogitsProcessor {
 public:
  explicit ForcedBOSTokenLogitsProcessor(std::int64_t bos_token_id) : bos_token_id_(bos_token_id) {}
  void process_row(const ScoreRow& row) const override {
    if (row.length() != 1) return;
    detail::force_tokens(row.scores, {&bos_token_id_, 1}, "forced_bos_token_id");
  }

 private:
  std::int64_t bos_token_id_;
};

/// In a row of max_length - 1 ids: 0 for the eos ids, -inf for the others.
class INSTRUCTBLIP_EXPORT ForcedEOSTokenLogitsProcessor : public LogitsProcessor {
 public:
  ForcedEOSTokenLogitsProcessor(Index max_length, std::vector<std::int64_t> eos_token_id)
      : max_length_(max_length), eos_token_id_(std::move(eos_token_id)) {}
  void process_row(const ScoreRow& row) const override {
    if (row.length() != max_length_ - 1) return;
    detail::force_tokens(row.scores, eos_token_id_, "forced_eos_token_id");
  }

 private:
  Index max_length_;
  std::vector<std::int64_t> eos_token_id_;
};

/// NaN -> 0, inf -> the largest float, -inf -> the smallest.
class INSTRUCTBLIP_EXPORT InfNanRemoveLogitsProcessor : public LogitsProcessor {
 public:
  void process_row(const ScoreRow& row) const override;
};

/// s(eos) += |s(eos)| * (decay_factor^n - 1) if n > 0, where n = ids after the prompt -
/// start_index.
class INSTRUCTBLIP_EXPORT ExponentialDecayLengthPenalty : public LogitsProcessor {
 public:
  ExponentialDecayLengthPenalty(ExponentialDecay decay, std::vector<std::int64_t> eos_token_id,
                                Index input_ids_seq_length)
      : regulation_start_(saturating_add(decay.start_index, input_ids_seq_length)),
        regulation_factor_(decay.decay_factor),
        eos_token_id_(std::move(eos_token_id)) {
    detail::require(!eos_token_id_.empty(), "eos_token_id",
                    "set where exponential_decay_length_penalty is", "unset");
  }
  void process_row(const ScoreRow& row) const override;

 private:
  Index regulation_start_;
  double regulation_factor_;
  std::vector<std::int64_t> eos_token_id_;
};

/// -inf at every step.
class INSTRUCTBLIP_EXPORT SuppressTokensLogitsProcessor : public LogitsProcessor {
 public:
  explicit SuppressTokensLogitsProcessor(std::vector<std::int64_t> suppress_tokens)
      : suppress_tokens_(std::move(suppress_tokens)) {}
  void process_row(const ScoreRow& row) const override {
    detail::set_scores(row.scores, suppress_tokens_, detail::kMinusInfinity);
  }

 private:
  std::vector<std::int64_t> suppress_tokens_;
};

/// -inf in rows of `begin_index` ids.
class INSTRUCTBLIP_EXPORT SuppressTokensAtBeginLogitsProcessor : public LogitsProcessor {
 public:
  SuppressTokensAtBeginLogitsProcessor(std::vector<std::int64_t> begin_suppress_tokens,
                                       Index begin_index)
      : begin_suppress_tokens_(std::move(begin_suppress_tokens)), begin_index_(begin_index) {}
  void process_row(const ScoreRow& row) const override {
    if (row.length() != begin_index_) return;
    detail::set_scores(row.scores, begin_suppress_tokens_, detail::kMinusInfinity);
  }

 private:
  std::vector<std::int64_t> begin_suppress_tokens_;
  Index begin_index_;
};

/// s / temperature. Throws InputError unless temperature > 0.
class INSTRUCTBLIP_EXPORT TemperatureLogitsWarper : public LogitsProcessor {
 public:
  explicit TemperatureLogitsWarper(double temperature)
      : temperature_(static_cast<float>(temperature)) {
    detail::require(temperature > 0, "temperature", "above 0 (do_sample = false is greedy)",
                    std::to_string(temperature));
  }
  void process_row(const ScoreRow& row) const override;

 private:
  float temperature_;
};

// The warpers below set the score of every dropped id to -inf and keep at least the best
// `min_tokens_to_keep` ids.

/// Keeps the most probable ids, at least one, while the sum of their -p log p is at most top_h *
/// entropy. Both consider only the 100 most probable ids.
class INSTRUCTBLIP_EXPORT TopHLogitsWarper : public LogitsProcessor {
 public:
  explicit TopHLogitsWarper(double top_h) : top_h_(top_h) {
    detail::require(top_h > 0 && top_h <= 1, "top_h", "in (0, 1]", std::to_string(top_h));
  }
  void process_row(const ScoreRow& row) const override;

 private:
  double top_h_;
};

/// Keeps ids whose score is not below the k-th largest, k = max(top_k, min_tokens_to_keep).
class INSTRUCTBLIP_EXPORT TopKLogitsWarper : public LogitsProcessor {
 public:
  explicit TopKLogitsWarper(Index top_k, Index min_tokens_to_keep = 1)
      : top_k_((std::max)(top_k, min_tokens_to_keep)) {
    detail::require(top_k > 0, "top_k", "above 0", std::to_string(top_k));
  }
  void process_row(const ScoreRow& row) const override;

 private:
  Index top_k_;
};

/// Drops the least probable ids while their p add up to at most 1 - top_p.
class INSTRUCTBLIP_EXPORT TopPLogitsWarper : public LogitsProcessor {
 public:
  explicit TopPLogitsWarper(double top_p, Index min_tokens_to_keep = 1)
      : top_p_(top_p), min_tokens_to_keep_(min_tokens_to_keep) {
    detail::require(top_p >= 0 && top_p <= 1, "top_p", "in [0, 1]", std::to_string(top_p));
    detail::require_tokens_to_keep(min_tokens_to_keep);
  }
  void process_row(const ScoreRow& row) const override;

 private:
  double top_p_;
  Index min_tokens_to_keep_;
};

/// Drops ids with p < min_p * largest p.
class INSTRUCTBLIP_EXPORT MinPLogitsWarper : public LogitsProcessor {
 public:
  explicit MinPLogitsWarper(double min_p, Index min_tokens_to_keep = 1)
      : min_p_(min_p), min_tokens_to_keep_(min_tokens_to_keep) {
    detail::require(min_p >= 0 && min_p <= 1, "min_p", "in [0, 1]", std::to_string(min_p));
    detail::require_tokens_to_keep(min_tokens_to_keep);
  }
  void process_row(const ScoreRow& row) const override;

 private:
  double min_p_;
  Index min_tokens_to_keep_;
};

/// Keeps the ids with the smallest |-log p - entropy| until their p add up to `mass`.
class INSTRUCTBLIP_EXPORT TypicalLogitsWarper : public LogitsProcessor {
 public:
  explicit TypicalLogitsWarper(double mass, Index min_tokens_to_keep = 1)
      : mass_(mass), min_tokens_to_keep_(min_tokens_to_keep) {
    detail::require(mass > 0 && mass < 1, "typical_p", "in (0, 1)", std::to_string(mass));
    detail::require_tokens_to_keep(min_tokens_to_keep);
  }
  void process_row(const ScoreRow& row) const override;

 private:
  double mass_;
  Index min_tokens_to_keep_;
};

/// Drops ids with p < epsilon.
class INSTRUCTBLIP_EXPORT EpsilonLogitsWarper : public LogitsProcessor {
 public:
  explicit EpsilonLogitsWarper(double epsilon, Index min_tokens_to_keep = 1)
      : epsilon_(epsilon), min_tokens_to_keep_(min_tokens_to_keep) {
    detail::require(epsilon > 0 && epsilon < 1, "epsilon_cutoff", "in (0, 1)",
                    std::to_string(epsilon));
    detail::require_tokens_to_keep(min_tokens_to_keep);
  }
  void process_row(const ScoreRow& row) const override;

 private:
  double epsilon_;
  Index min_tokens_to_keep_;
};

/// Drops ids with p < min(epsilon, sqrt(epsilon) * exp(-entropy)).
class INSTRUCTBLIP_EXPORT EtaLogitsWarper : public LogitsProcessor {
 public:
  explicit EtaLogitsWarper(double epsilon, Index min_tokens_to_keep = 1)
      : epsilon_(epsilon), min_tokens_to_keep_(min_tokens_to_keep) {
    detail::require(epsilon > 0 && epsilon < 1, "eta_cutoff", "in (0, 1)", std::to_string(epsilon));
    detail::require_tokens_to_keep(min_tokens_to_keep);
  }
  void process_row(const ScoreRow& row) const override;

 private:
  double epsilon_;
  Index min_tokens_to_keep_;
};

/// log_softmax.
class INSTRUCTBLIP_EXPORT LogitNormalization : public LogitsProcessor {
 public:
  void process_row(const ScoreRow& row) const override;
};

}  // namespace instructblip
