// Criteria that end a row. Mirrors transformers/generation/stopping_criteria.py.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {

/// Why a row ended.
enum class FinishReason {
  Length,      // max_length or max_new_tokens
  EosToken,    // one of the eos ids
  StopString,  // a token that completes one of stop_strings
  MaxTime,     // max_time
  Criterion,   // a stopping criterion of the caller's own
  Cancelled,   // GenerateCallbacks::cancelled was set, or the streamer returned false
};

/// A row and its newest id. Beam search evaluates every candidate, before any is chosen.
struct StoppingRow {
  /// Ids of the row, the new one last.
  std::span<const std::int64_t> input_ids;
  /// The processed scores from which the id was chosen.
  std::span<const float> scores;
  Index batch_index = 0;
};

/// Derive from it to write a criterion; pass it in GenerateCallbacks::stopping_criteria. It runs on
/// the thread that calls `generate`. If several threads generate with it, it must be thread-safe.
class INSTRUCTBLIP_EXPORT StoppingCriteria {
 public:
  virtual ~StoppingCriteria() = default;
  /// Whether each row of a step ends. By default, calls is_done for each.
  virtual std::vector<bool> operator()(std::span<const StoppingRow> rows) const {
    std::vector<bool> done;
    for (const StoppingRow& row : rows) done.push_back(is_done(row));
    return done;
  }
  virtual bool is_done(const StoppingRow&) const { return false; }
  virtual FinishReason reason() const { return FinishReason::Criterion; }
};

using StoppingCriteriaList = std::vector<std::shared_ptr<const StoppingCriteria>>;

/// Makes a criterion of a function that returns whether the row ends.
INSTRUCTBLIP_EXPORT std::shared_ptr<const StoppingCriteria> stopping_criterion(
    std::function<bool(const StoppingRow&)> body);

/// Ends a row that is `max_length` long. Logs a warning once if a row that does not end is longer
/// than `max_position_embeddings`.
class INSTRUCTBLIP_EXPORT MaxLengthCriteria : public StoppingCriteria {
 public:
  explicit MaxLengthCriteria(Index max_length,
                             std::optional<Index> max_position_embeddings = std::nullopt)
      : max_length_(max_length), max_position_embeddings_(max_position_embeddings) {}
  bool is_done(const StoppingRow& row) const override;
  FinishReason reason() const override { return FinishReason::Length; }

 private:
  Index max_length_;
  std::optional<Index> max_position_embeddings_;
  mutable std::atomic<bool> warned_ = false;
};

/// Ends all rows more than `max_time` seconds after the construction of the criterion. The clock is
/// read once per step.
class INSTRUCTBLIP_EXPORT MaxTimeCriteria : public StoppingCriteria {
 public:
  explicit MaxTimeCriteria(double max_time)
      : max_time_(max_time), start_(std::chrono::steady_clock::now()) {}
  std::vector<bool> operator()(std::span<const StoppingRow> rows) const override;
  FinishReason reason() const override { return FinishReason::MaxTime; }

 private:
  double max_time_;
  std::chrono::steady_clock::time_point start_;
};

/// Ends a row whose last id is an eos id.
class INSTRUCTBLIP_EXPORT EosTokenCriteria : public StoppingCriteria {
 public:
  explicit EosTokenCriteria(std::vector<std::int64_t> eos_token_id)
      : eos_token_id_(std::move(eos_token_id)) {}
  bool is_done(const StoppingRow& row) const override;
  FinishReason reason() const override { return FinishReason::EosToken; }

 private:
  std::vector<std::int64_t> eos_token_id_;
};

/// Ends all rows once the flag is set.
class INSTRUCTBLIP_EXPORT CancellationCriteria : public StoppingCriteria {
 public:
  explicit CancellationCriteria(const std::atomic<bool>& cancelled) : cancelled_(cancelled) {}
  std::vector<bool> operator()(std::span<const StoppingRow> rows) const override;
  FinishReason reason() const override { return FinishReason::Cancelled; }

 private:
  const std::atomic<bool>& cancelled_;
};

/// Ends a row if a stop string ends in the text of its last token: the tokens "st" and "opera"
/// complete "stop". The string may begin in the prompt, but the criterion reads only as many tokens
/// as the longest stop string has characters (bytes, if the tokenizer's tokens are bytes). Throws
/// InputError if no token of the vocabulary can complete any of the stop strings.
class INSTRUCTBLIP_EXPORT StopStringCriteria : public StoppingCriteria {
 public:
  StopStringCriteria(const Tokenizer& tokenizer, std::vector<std::string> stop_strings);
  bool is_done(const StoppingRow& row) const override;
  FinishReason reason() const override { return FinishReason::StopString; }

 private:
  bool can_complete_any() const;
  bool completes(std::span<const std::int64_t> ids, const std::string& stop_string) const;

  const Tokenizer& tokenizer_;
  std::vector<std::string> stop_strings_;
  std::size_t most_tokens_ = 0;
};

}  // namespace instructblip
