#include "generation/beam_search.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/generation/sampling.h"

namespace instructblip::detail {
namespace {

// The reference's substitute for minus infinity. It is added to scores, so its rounding is part of
// the result.
constexpr float kNever = -1.0e9f;

float length_divisor(Index length, double length_penalty) {
  return static_cast<float>(std::pow(static_cast<double>(length), length_penalty));
}

/// A beam, a candidate or an answer.
struct Hypothesis {
  std::vector<std::int64_t> ids;           // with the prompt
  std::vector<std::int32_t> beam_indices;  // one per new id
  float score = 0;
  bool is_finished = false;
  std::optional<FinishReason> reason;
  Index beam = 0;  // the beam of its row that it continues
};

/// The beams of one prompt.
class BeamRow {
 public:
  BeamRow(const ResolvedConfig& resolved, Index batch_index,
          const std::vector<std::int64_t>& prompt);

  /// The best max(2, 1 + number of eos ids) * num_beams continuations of all running beams, best
  /// first; in sampling they are drawn. log_probabilities: num_beams rows of processed scores.
  std::vector<Hypothesis> candidates(std::span<const std::vector<float>> log_probabilities,
                                     Index step) const;
  /// Makes candidates with a finish reason answers, if they are good enough, and the best of the
  /// others the running beams.
  void advance(std::vector<Hypothesis> candidates);

  std::span<const Hypothesis> running() const { return running_; }
  std::span<const Hypothesis> finished() const { return finished_; }
  bool all_finished() const;
  /// Whether a running beam can still become better than the worst answer.
  bool can_improve() const { return can_improve_; }
  /// Whether later steps can change the answers.
  bool is_settled() const {
    return !can_improve_ || (resolved_.early_stopping == EarlyStopping(true) && all_finished());
  }

 private:
  void update_finished(std::span<const Hypothesis> candidates);
  void update_can_improve();

  const ResolvedConfig& resolved_;
  Index batch_index_;
  Index prompt_length_;
  std::vector<Hypothesis> running_, finished_;
  bool can_improve_ = true;
};

/// Beam search over all prompts, whose beams are rows of one decode. A prompt whose answers are
/// settled leaves the batch, unless tensors of every step are returned.
class BeamSearch {
 public:
  explicit BeamSearch(const DecodingRun& run);
  void run();

 private:
  /// Processed log-probabilities of all beams of the active prompts.
  std::vector<std::vector<float>> score(const Tensor& logits);
  /// Returns whether every candidate of every active prompt has a finish reason.
  bool advance(std::span<const std::vector<float>> log_probabilities);
  bool continues(bool all_finished) const;
  void finish();

  const DecodingRun& run_;
  const ResolvedConfig& resolved_;
  std::vector<BeamRow> rows_;
  std::vector<std::size_t> active_;  // prompts in the decoder's state, in its order
  Index step_ = 0;
};

BeamRow::BeamRow(const ResolvedConfig& resolved, Index batch_index,
                 const std::vector<std::int64_t>& prompt)
    : resolved_(resolved),
      batch_index_(batch_index),
      prompt_length_(static_cast<Index>(prompt.size())) {
  // All beams are equal at first, so only one of them may be continued.
  for (Index beam = 0; beam < resolved.num_beams; ++beam) {
    running_.push_back({prompt, {}, beam == 0 ? 0.0f : kNever, false, {}, beam});
    finished_.push_back({prompt, {}, kNever, false, {}, beam});
  }
}

bool BeamRow::all_finished() const {
  return std::all_of(finished_.begin(), finished_.end(),
                     [](const Hypothesis& answer) { return answer.is_finished; });
}

std::vector<Hypothesis> BeamRow::candidates(std::span<const std::vector<float>> log_probabilities,
                                            Index step) const {
  const auto vocab_size = static_cast<Index>(log_probabilities.front().size());
  std::vector<float> scores;
  scores.reserve(to_size(resolved_.num_beams * vocab_size));
  for (std::size_t beam = 0; beam < log_probabilities.size(); ++beam) {
    for (const float value : log_probabilities[beam])
      scores.push_back(value + running_[beam].score);
  }
  const Index eos_count = static_cast<Index>(resolved_.eos_token_id.size());
  const Index count = std::max<Index>(2, 1 + eos_count) * resolved_.num_beams;
  if (count > static_cast<Index>(scores.size())) {
    throw InputError("beam search compares " + std::to_string(count) + " candidates, but " +
                     std::to_string(resolved_.num_beams) + " beams over a vocabulary of " +
                     std::to_string(vocab_size) + " give only " + std::to_string(scores.size()));
  }
  std::vector<Index> chosen;
  if (resolved_.do_sample) {
    chosen = draw_without_replacement(softmax(scores), count, resolved_.random, step, batch_index_);
    std::stable_sort(chosen.begin(), chosen.end(),
                     [&](Index a, Index b) { return at(scores, a) > at(scores, b); });
  } else {
    chosen = top_k_indices(scores, count);
  }
  std::vector<Hypothesis> result;
  for (const Index index : chosen) {
    const Index beam = index / vocab_size;
    Hypothesis candidate = at(running_, beam);
    candidate.ids.push_back(index % vocab_size);
    candidate.beam_indices.push_back(
        static_cast<std::int32_t>(batch_index_ * resolved_.num_beams + beam));
    candidate.score = at(scores, index);
    candidate.beam = beam;
    result.push_back(std::move(candidate));
  }
  return result;
}

void BeamRow::advance(std::vector<Hypothesis> candidates) {
  update_finished(candidates);
  std::vector<float> scores;
  for (const Hypothesis& candidate : candidates) {
    scores.push_back(candidate.score + (candidate.reason ? kNever : 0.0f));
  }
  std::vector<Hypothesis> next;
  for (const Index index : top_k_indices(scores, resolved_.num_beams)) {
    next.push_back(std::move(at(candidates, index)));
    next.back().score = at(scores, index);
    next.back().reason.reset();
  }
  running_ = std::move(next);
  update_can_improve();
}

void BeamRow::update_finished(std::span<const Hypothesis> candidates) {
  const Index length = static_cast<Index>(candidates.front().ids.size()) - prompt_length_;
  const float divisor = length_divisor(length, resolved_.length_penalty);
  const bool full = resolved_.early_stopping == EarlyStopping(true) && all_finished();
  std::vector<Hypothesis> merged = std::move(finished_);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    // Candidates after the first num_beams are spares, used only if all the others finish.
    const bool ends = candidates[i].reason && static_cast<Index>(i) < resolved_.num_beams;
    float score = candidates[i].score / divisor;
    if (full) score += kNever;
    if (!can_improve_) score += kNever;
    if (!ends) score += kNever;
    merged.push_back(candidates[i]);
    merged.back().score = score;
    merged.back().is_finished = ends;
  }
  std::vector<float> scores;
  for (const Hypothesis& answer : merged) scores.push_back(answer.score);
  finished_.clear();
  for (const Index index : top_k_indices(scores, resolved_.num_beams)) {
    finished_.push_back(std::move(at(merged, index)));
  }
}

void BeamRow::update_can_improve() {
  const Index generated = static_cast<Index>(running_.front().ids.size()) - prompt_length_;
  const bool never = resolved_.early_stopping.value == EarlyStopping::Never;
  const Index best_length =
      never && resolved_.length_penalty > 0 ? resolved_.max_length - prompt_length_ : generated;
  const float best = running_.front().score / length_divisor(best_length, resolved_.length_penalty);
  float worst = finished_.front().score;
  for (const Hypothesis& answer : finished_) worst = std::min(worst, answer.score);
  const bool better = std::any_of(
      finished_.begin(), finished_.end(),
      [&](const Hypothesis& answer) { return best > (answer.is_finished ? worst : kNever); });
  can_improve_ = can_improve_ && better;
}

BeamSearch::BeamSearch(const DecodingRun& run) : run_(run), resolved_(run.resolved) {
  for (Index b = 0; b < run.prompt.size(); ++b) {
    active_.push_back(rows_.size());
    rows_.emplace_back(resolved_, b, run.prompt.ids_of(b));
  }
}

std::vector<std::vector<float>> BeamSearch::score(const Tensor& logits) {
  const bool shared = step_ == 0;  // logits per prompt
  std::vector<std::vector<float>> values;
  std::vector<ScoreRow> score_rows;
  values.reserve(active_.size() * to_size(resolved_.num_beams));
  for (std::size_t i = 0; i < active_.size(); ++i) {
    const auto batch_index = static_cast<Index>(active_[i]);
    for (Index beam = 0; beam < resolved_.num_beams; ++beam) {
      const Index source =
          static_cast<Index>(i) * (shared ? 1 : resolved_.num_beams) + (shared ? 0 : beam);
      const auto row = row_of(logits, source);
      if (!resolved_.remove_invalid_values) check_finite(row, step_, batch_index);
      values.emplace_back(row.begin(), row.end());
    }
  }
  if (resolved_.output_logits) run_.output.logits.push_back(stack_rows(values));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t row = active_[i / to_size(resolved_.num_beams)];
    const std::size_t beam = i % to_size(resolved_.num_beams);
    log_softmax(values[i]);
    score_rows.push_back({rows_[row].running()[beam].ids, values[i], static_cast<Index>(row),
                          static_cast<Index>(beam)});
  }
  apply(run_.processors, score_rows, step_);
  if (resolved_.output_scores) run_.output.scores.push_back(stack_rows(values));
  return values;
}

bool BeamSearch::advance(std::span<const std::vector<float>> log_probabilities) {
  const auto num_beams = to_size(resolved_.num_beams);
  std::vector<std::vector<Hypothesis>> candidates;
  std::vector<StoppingRow> stopping_rows;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    const auto scores = log_probabilities.subspan(i * num_beams, num_beams);
    BeamRow& row = rows_[active_[i]];
    candidates.push_back(row.candidates(scores, step_));
    const float best = candidates.back().front().score;
    if (best == kMinusInfinity && !row.finished().front().is_finished) {
      throw InputError("step " + std::to_string(step_) + ", row " + std::to_string(active_[i]) +
                       ": the logits processors suppress every id of the vocabulary for all beams");
    }
  }
  for (std::size_t i = 0; i < active_.size(); ++i) {
    for (const Hypothesis& candidate : candidates[i]) {
      const auto& scores = log_probabilities[i * num_beams + to_size(candidate.beam)];
      stopping_rows.push_back({candidate.ids, scores, static_cast<Index>(active_[i])});
    }
  }
  const auto reasons = evaluate(run_.criteria, stopping_rows);
  bool all_finished = true;
  std::size_t next = 0;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    for (Hypothesis& candidate : candidates[i]) {
      candidate.reason = reasons[next++];
      all_finished = all_finished && candidate.reason.has_value();
    }
    rows_[active_[i]].advance(std::move(candidates[i]));
  }
  return all_finished;
}

bool BeamSearch::continues(bool all_finished) const {
  const bool improvable =
      std::any_of(rows_.begin(), rows_.end(), [](const BeamRow& row) { return row.can_improve(); });
  const bool full = std::all_of(rows_.begin(), rows_.end(),
                                [](const BeamRow& row) { return row.all_finished(); });
  return improvable && !(full && resolved_.early_stopping == EarlyStopping(true)) && !all_finished;
}

void BeamSearch::run() {
  Tensor logits = run_.decoding.prefill(run_.prompt);
  while (true) {
    const bool all_finished = advance(score(logits));
    ++step_;
    if (!continues(all_finished)) break;

    std::vector<std::size_t> remaining;
    std::vector<Index> sources;
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i < active_.size(); ++i) {
      const BeamRow& row = rows_[active_[i]];
      if (row.is_settled() && !resolved_.records_steps()) continue;
      remaining.push_back(active_[i]);
      for (const Hypothesis& beam : row.running()) {
        sources.push_back(static_cast<Index>(i) * resolved_.num_beams + beam.beam);
        ids.push_back(beam.ids.back());
      }
    }
    if (remaining.empty()) break;
    active_ = std::move(remaining);
    logits = run_.decoding.step(sources, ids);
  }
  finish();
}

void BeamSearch::finish() {
  GenerateOutput& output = run_.output;
  // As in the reference (`pad_token_id or eos_token_id[0]`), a padding id of 0 counts as unset.
  std::int64_t filler = -1;
  if (!resolved_.eos_token_id.empty()) {
    const std::int64_t pad = resolved_.pad_token_id.value_or(0);
    filler = pad != 0 ? pad : resolved_.eos_token_id.front();
  }
  std::vector<const Hypothesis*> answers;
  std::size_t longest = 0;
  for (const BeamRow& row : rows_) {
    for (Index i = 0; i < resolved_.num_return_sequences; ++i) {
      answers.push_back(&at(row.finished(), i));
      longest = std::max(longest, answers.back()->beam_indices.size());
    }
  }
  const auto count = static_cast<Index>(answers.size());
  const auto prompt_length = to_size(run_.prompt.length());
  std::vector<std::int64_t> ids;
  std::vector<std::int32_t> beam_indices;
  std::vector<float> scores;
  for (const Hypothesis* answer : answers) {
    ids.insert(ids.end(), answer->ids.begin(), answer->ids.end());
    ids.resize(ids.size() + prompt_length + longest - answer->ids.size(), filler);
    beam_indices.insert(beam_indices.end(), answer->beam_indices.begin(),
                        answer->beam_indices.end());
    beam_indices.resize(beam_indices.size() + longest - answer->beam_indices.size(), -1);
    scores.push_back(answer->score);
    output.new_token_counts.push_back(static_cast<Index>(answer->beam_indices.size()));
    output.finish_reasons.push_back(answer->reason.value_or(FinishReason::Length));
  }
  const auto new_tokens = static_cast<Index>(longest);
  output.sequences = Tensor(ids, {count, run_.prompt.length() + new_tokens});
  output.beam_indices = Tensor(beam_indices, {count, new_tokens});
  output.sequences_scores = Tensor(scores, {count});
}

}  // namespace

void beam_search(const DecodingRun& run) { BeamSearch(run).run(); }

}  // namespace instructblip::detail
