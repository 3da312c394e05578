// What ends a row. Mirrors transformers/generation/stopping_criteria.py.
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
  Cancelled,   // GenerateCallbacks::cancelled, or the streamer said so
};

/// A row that has just got an id. Beam search asks for every candidate, before it is chosen.
struct StoppingRow {
  /// Ids of the row, the new one last.
  std::span<const std::int64_t> input_ids;
  /// Processed scores that the id was chosen from.
  std::span<const float> scores;
  Index batch_index = 0;
};

/// Derive from it to write one's own; pass it in GenerateCallbacks::stopping_criteria. It is called
/// on the thread that generates; one that several generations share is called by each.
class INSTRUCTBLIP_EXPORT StoppingCriteria {
 public:
  virtual ~StoppingCriteria() = default;
  /// Which of a step's rows end here. By default each is asked alone.
  virtual std::vector<bool> operator()(std::span<const StoppingRow> rows) const {
    std::vector<bool> done;
    for (const StoppingRow& row : rows) done.push_back(is_done(row));
    return done;
  }
  virtual bool is_done(const StoppingRow&) const { return false; }
  virtual FinishReason reason() const { return FinishReason::Criterion; }
};

using StoppingCriteriaList = std::vector<std::shared_ptr<const StoppingCriteria>>;

/// A criterion from a function that returns whether the row ends.
INSTRUCTBLIP_EXPORT std::shared_ptr<const StoppingCriteria> stopping_criterion(
    std::function<bool(const StoppingRow&)> body);

/// The row is `max_length` long. Logs a warning, once, when a row that goes on is longer than
/// `max_position_embeddings`.
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

/// More than `max_time` seconds have passed since the criterion was made. One look at the clock for
/// all rows of a step.
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

/// The last id is an eos id.
class INSTRUCTBLIP_EXPORT EosTokenCriteria : public StoppingCriteria {
 public:
  explicit EosTokenCriteria(std::vector<std::int64_t> eos_token_id)
      : eos_token_id_(std::move(eos_token_id)) {}
  bool is_done(const StoppingRow& row) const override;
  FinishReason reason() const override { return FinishReason::EosToken; }

 private:
  std::vector<std::int64_t> eos_token_id_;
};

/// The flag is set.
class INSTRUCTBLIP_EXPORT CancellationCriteria : public StoppingCriteria {
 public:
  explicit CancellationCriteria(const std::atomic<bool>& cancelled) : cancelled_(cancelled) {}
  std::vector<bool> operator()(std::span<const StoppingRow> rows) const override;
  FinishReason reason() const override { return FinishReason::Cancelled; }

 private:
  const std::atomic<bool>& cancelled_;
};

/// The text of the row's tokens holds a stop string whose end lies in the last token: "st" +
/// "opera" ends a row at "stop", one more token after it would not. The string may begin in the
/// prompt; no more tokens are looked at than the longest stop string has characters (bytes where
/// the tokenizer's tokens are bytes). Throws InputError if no token of the vocabulary could
/// complete any of the stop strings.
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
