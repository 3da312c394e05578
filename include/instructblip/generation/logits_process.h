// What changes the scores of the next id before one is chosen. Mirrors
// transformers/generation/logits_process.py; names and formulas are the reference's.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"
#include "instructblip/generation/generation_config.h"

namespace instructblip {
namespace detail {
/// The score of a token that must not follow.
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
}  // namespace detail

/// One sequence that is about to get its next id.
struct ScoreRow {
  /// Ids so far. Decoder-only: the prompt as the reference sees it, image placeholders and padding
  /// included, and the new ids; encoder-decoder: the decoder's.
  std::span<const std::int64_t> input_ids;
  /// One score per id of the vocabulary; changed in place.
  std::span<float> scores;
  /// Row of the batch, and beam (or returned sequence) within it.
  Index batch_index = 0;
  Index beam = 0;
};

/// Derive from it to write one's own; pass it in GenerateCallbacks::logits_processor. It is called
/// on the thread that generates; one that several generations share is called by each.
class INSTRUCTBLIP_EXPORT LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  /// All rows of one step. By default each alone.
  virtual void process(std::span<const ScoreRow> rows) const {
    for (const ScoreRow& row : rows) process_row(row);
  }
  virtual void process_row(const ScoreRow&) const {}
};

using LogitsProcessorList = std::vector<std::shared_ptr<const LogitsProcessor>>;

/// A processor from a function: `logits_processor([](const ScoreRow& row) { row.scores[7] = 0; })`.
INSTRUCTBLIP_EXPORT std::shared_ptr<const LogitsProcessor> logits_processor(
    std::function<void(const ScoreRow&)> body);

// The reference's processors. Constructors throw InputError on values that the reference refuses.

/// Adds the bias of every sequence whose ids but the last end the row. Throws InputError on an
/// empty list or sequence and on ids outside the vocabulary.
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

/// A bias of -inf; words that are a single eos id are left out.
class INSTRUCTBLIP_EXPORT NoBadWordsLogitsProcessor : public SequenceBiasLogitsProcessor {
 public:
  NoBadWordsLogitsProcessor(const std::vector<std::vector<std::int64_t>>& bad_words_ids,
                            const std::vector<std::int64_t>& eos_token_id);
};

/// s < 0 ? s * penalty : s / penalty for every id in the row, once. The first
/// `prompt_ignore_length[r]` ids of row r (padding in front of the prompt) do not count; r =
/// batch_index, empty: all count. Throws InputError unless penalty > 0.
class INSTRUCTBLIP_EXPORT RepetitionPenaltyLogitsProcessor : public LogitsProcessor {
 public:
  explicit RepetitionPenaltyLogitsProcessor(double penalty,
                                            std::vector<Index> prompt_ignore_length = {});
  void process_row(const ScoreRow& row) const override;

 private:
  float penalty_;
  std::vector<Index> prompt_ignore_length_;
};

/// -inf for ids that would complete a run of `ngram_size` ids that the row already has.
class INSTRUCTBLIP_EXPORT NoRepeatNGramLogitsProcessor : public LogitsProcessor {
 public:
  explicit NoRepeatNGramLogitsProcessor(Index ngram_size);
  void process_row(const ScoreRow& row) const override;

 private:
  Index ngram_size_;
};

/// -inf for the eos ids while the row is shorter than `min_length`.
class INSTRUCTBLIP_EXPORT MinLengthLogitsProcessor : public LogitsProcessor {
 public:
  MinLengthLogitsProcessor(Index min_length, std::vector<std::int64_t> eos_token_id);
  void process_row(const ScoreRow& row) const override;

 private:
  Index min_length_;
  std::vector<std::int64_t> eos_token_id_;
};

/// -inf for the eos ids while there are fewer than `min_new_tokens` ids after the prompt.
class INSTRUCTBLIP_EXPORT MinNewTokensLengthLogitsProcessor : public LogitsProcessor {
 public:
  MinNewTokensLengthLogitsProcessor(Index prompt_length_to_skip, Index min_new_tokens,
                                    std::vector<std::int64_t> eos_token_id);
  void process_row(const ScoreRow& row) const override;

 private:
  Index prompt_length_to_skip_, min_new_tokens_;
  std::vector<std::int64_t> eos_token_id_;
};

/// Ids that may follow: prefix_allowed_tokens_fn(batch_index, input_ids).
using PrefixAllowedTokens =
    std::function<std::vector<std::int64_t>(Index, std::span<const std::int64_t>)>;

/// -inf for ids that the function does not name. Where that leaves no beam of a batch row anything
/// above -inf, the named ids get 0. Throws InputError if the function names none, or one outside
/// the vocabulary.
class INSTRUCTBLIP_EXPORT PrefixConstrainedLogitsProcessor : public LogitsProcessor {
 public:
  explicit PrefixConstrainedLogitsProcessor(PrefixAllowedTokens prefix_allowed_tokens_fn);
  void process(std::span<const ScoreRow> rows) const override;

 private:
  PrefixAllowedTokens prefix_allowed_tokens_fn_;
};

/// In a row of one id: 0 for `bos_token_id`, -inf for the others.
class INSTRUCTBLIP_EXPORT ForcedBOSTokenLogitsProcessor : public LogitsProcessor {
 public:
  explicit ForcedBOSTokenLogitsProcessor(std::int64_t bos_token_id);
  void process_row(const ScoreRow& row) const override;

 private:
  std::int64_t bos_token_id_;
};

/// At the last place before `max_length`: 0 for the eos ids, -inf for the others.
class INSTRUCTBLIP_EXPORT ForcedEOSTokenLogitsProcessor : public LogitsProcessor {
 public:
  ForcedEOSTokenLogitsProcessor(Index max_length, std::vector<std::int64_t> eos_token_id);
  void process_row(const ScoreRow& row) const override;

 private:
  Index max_length_;
  std::vector<std::int64_t> eos_token_id_;
};

/// NaN -> 0, inf -> the largest float, -inf -> the smallest.
class INSTRUCTBLIP_EXPORT InfNanRemoveLogitsProcessor : public LogitsProcessor {
 public:
  void process_row(const ScoreRow& row) const override;
};

/// s(eos) += |s(eos)| * (decay_factor^n - 1), n = ids after the prompt - start_index, once n > 0.
class INSTRUCTBLIP_EXPORT ExponentialDecayLengthPenalty : public LogitsProcessor {
 public:
  ExponentialDecayLengthPenalty(ExponentialDecay decay, std::vector<std::int64_t> eos_token_id,
                                Index input_ids_seq_length);
  void process_row(const ScoreRow& row) const override;

 private:
  Index regulation_start_;
  double regulation_factor_;
  std::vector<std::int64_t> eos_token_id_;
};

/// -inf, always.
class INSTRUCTBLIP_EXPORT SuppressTokensLogitsProcessor : public LogitsProcessor {
 public:
  explicit SuppressTokensLogitsProcessor(std::vector<std::int64_t> suppress_tokens);
  void process_row(const ScoreRow& row) const override;

 private:
  std::vector<std::int64_t> suppress_tokens_;
};

/// -inf where the row is `begin_index` long.
class INSTRUCTBLIP_EXPORT SuppressTokensAtBeginLogitsProcessor : public LogitsProcessor {
 public:
  SuppressTokensAtBeginLogitsProcessor(std::vector<std::int64_t> begin_suppress_tokens,
                                       Index begin_index);
  void process_row(const ScoreRow& row) const override;

 private:
  std::vector<std::int64_t> begin_suppress_tokens_;
  Index begin_index_;
};

/// s / temperature. Throws InputError unless temperature > 0.
class INSTRUCTBLIP_EXPORT TemperatureLogitsWarper : public LogitsProcessor {
 public:
  explicit TemperatureLogitsWarper(double temperature);
  void process_row(const ScoreRow& row) const override;

 private:
  float temperature_;
};

// The warpers below set every id that they drop to -inf, and keep at least the best
// `min_tokens_to_keep`.

/// Keeps the most probable ids while the sum of their -p log p is at most top_h * entropy; of the
/// 100 most probable ids. Keeps at least one.
class INSTRUCTBLIP_EXPORT TopHLogitsWarper : public LogitsProcessor {
 public:
  explicit TopHLogitsWarper(double top_h);
  void process_row(const ScoreRow& row) const override;

 private:
  double top_h_;
};

/// Keeps all that are not below the k-th largest, k = max(top_k, min_tokens_to_keep).
class INSTRUCTBLIP_EXPORT TopKLogitsWarper : public LogitsProcessor {
 public:
  explicit TopKLogitsWarper(Index top_k, Index min_tokens_to_keep = 1);
  void process_row(const ScoreRow& row) const override;

 private:
  Index top_k_;
};

/// Drops the least probable ids while their sum is at most 1 - top_p.
class INSTRUCTBLIP_EXPORT TopPLogitsWarper : public LogitsProcessor {
 public:
  explicit TopPLogitsWarper(double top_p, Index min_tokens_to_keep = 1);
  void process_row(const ScoreRow& row) const override;

 private:
  double top_p_;
  Index min_tokens_to_keep_;
};

/// Drops ids with p < min_p * largest p.
class INSTRUCTBLIP_EXPORT MinPLogitsWarper : public LogitsProcessor {
 public:
  explicit MinPLogitsWarper(double min_p, Index min_tokens_to_keep = 1);
  void process_row(const ScoreRow& row) const override;

 private:
  double min_p_;
  Index min_tokens_to_keep_;
};

/// Keeps the ids with the smallest |-log p - entropy| until their p add up to `mass`.
class INSTRUCTBLIP_EXPORT TypicalLogitsWarper : public LogitsProcessor {
 public:
  explicit TypicalLogitsWarper(double mass, Index min_tokens_to_keep = 1);
  void process_row(const ScoreRow& row) const override;

 private:
  double mass_;
  Index min_tokens_to_keep_;
};

/// Drops ids with p < epsilon.
class INSTRUCTBLIP_EXPORT EpsilonLogitsWarper : public LogitsProcessor {
 public:
  explicit EpsilonLogitsWarper(double epsilon, Index min_tokens_to_keep = 1);
  void process_row(const ScoreRow& row) const override;

 private:
  double epsilon_;
  Index min_tokens_to_keep_;
};

/// Drops ids with p < min(epsilon, sqrt(epsilon) * exp(-entropy)).
class INSTRUCTBLIP_EXPORT EtaLogitsWarper : public LogitsProcessor {
 public:
  explicit EtaLogitsWarper(double epsilon, Index min_tokens_to_keep = 1);
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
