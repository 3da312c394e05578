#include "generation/sampler.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "generation/decoding.h"
#include "instructblip/core/error.h"
#include "instructblip/generation/sampling.h"
#include "instructblip/generation/streamers.h"

namespace instructblip::detail {
namespace {

// What a model of `vocab_size` ids is fed for a padding id: the id itself, or 0 if the model lacks
// it. Its output is not used.
std::int64_t feedable(std::int64_t id, Index vocab_size) {
  return id >= 0 && id < vocab_size ? id : 0;
}

/// A row of greedy search or sampling.
struct SampledRow {
  std::vector<std::int64_t> ids;
  Index batch_index = 0;
  Index copy = 0;  // number of the returned sequence within its prompt
  Index new_tokens = 0;
  std::optional<FinishReason> reason;
};

/// Greedy search and sampling: one row per returned sequence. A row that has ended leaves the
/// batch, with two exceptions, as in the reference. If tensors of every step are returned, it is
/// fed the padding id. If there is no eos id, it continues to generate.
class Sampler {
 public:
  explicit Sampler(const DecodingRun& run);
  void run(BaseStreamer* streamer);

 private:
  bool pads() const { return !resolved_.eos_token_id.empty(); }
  /// Chooses the next id of every row in `active_` from its logits.
  void choose(const Tensor& logits);
  std::int64_t choose_from(std::span<const float> scores, const SampledRow& row) const;
  void end_rows();
  bool stream(BaseStreamer& streamer) const;
  /// Feeds the new ids of the rows that continue.
  Tensor step(Index vocab_size);
  void finish();

  const DecodingRun& run_;
  const ResolvedConfig& resolved_;
  std::vector<SampledRow> rows_;
  std::vector<std::size_t> active_;         // rows in the decoder's state, in its order
  std::vector<std::vector<float>> scores_;  // of the active rows in this step
  Index step_ = 0;
};

Sampler::Sampler(const DecodingRun& run) : run_(run), resolved_(run.resolved) {
  for (Index b = 0; b < run.prompt.size(); ++b) {
    for (Index copy = 0; copy < resolved_.expand_size(); ++copy) {
      active_.push_back(rows_.size());
      rows_.push_back({run.prompt.ids_of(b), b, copy, 0, {}});
    }
  }
}

std::int64_t Sampler::choose_from(std::span<const float> scores, const SampledRow& row) const {
  const Index best = argmax(scores);
  if (scores[static_cast<std::size_t>(best)] == kMinusInfinity) {
    throw InputError("step " + std::to_string(step_) + ", row " + std::to_string(row.batch_index) +
                     ": the logits processors suppress every id of the vocabulary");
  }
  if (!resolved_.do_sample) return best;
  const Index place = row.batch_index * resolved_.expand_size() + row.copy;
  return draw(softmax(scores), resolved_.random.uniform(step_, place));
}

void Sampler::choose(const Tensor& logits) {
  std::vector<ScoreRow> score_rows;
  scores_.assign(active_.size(), {});
  const bool shared = logits.dim(0) != static_cast<Index>(active_.size());  // logits per prompt
  for (std::size_t i = 0; i < active_.size(); ++i) {
    SampledRow& row = rows_[active_[i]];
    const Index source = shared ? row.batch_index : static_cast<Index>(i);
    const auto values = row_of(logits, source);
    if (!resolved_.remove_invalid_values) check_finite(values, step_, row.batch_index);
    scores_[i].assign(values.begin(), values.end());
    score_rows.push_back({row.ids, scores_[i], row.batch_index, row.copy});
  }
  if (resolved_.output_logits) run_.output.logits.push_back(stack_rows(scores_));
  apply(run_.processors, score_rows, step_);
  if (resolved_.output_scores) run_.output.scores.push_back(stack_rows(scores_));
  for (std::size_t i = 0; i < active_.size(); ++i) {
    SampledRow& row = rows_[active_[i]];
    if (row.reason && pads()) {
      row.ids.push_back(*resolved_.pad_token_id);
    } else {
      row.ids.push_back(choose_from(scores_[i], row));
      ++row.new_tokens;
    }
  }
}

void Sampler::end_rows() {
  std::vector<StoppingRow> rows;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    const SampledRow& row = rows_[active_[i]];
    rows.push_back({row.ids, scores_[i], row.batch_index});
  }
  const auto reasons = evaluate(run_.criteria, rows);
  for (std::size_t i = 0; i < active_.size(); ++i) {
    SampledRow& row = rows_[active_[i]];
    if (!row.reason) row.reason = reasons[i];
  }
}

bool Sampler::stream(BaseStreamer& streamer) const {
  std::vector<std::int64_t> ids(rows_.size(), resolved_.pad_token_id.value_or(0));
  for (const std::size_t r : active_) ids[r] = rows_[r].ids.back();
  const auto count = static_cast<Index>(ids.size());
  return streamer.put(Tensor(ids, {count}));
}

Tensor Sampler::step(Index vocab_size) {
  std::vector<Index> sources;
  std::vector<std::int64_t> ids;
  std::vector<DraftRow> draft_rows;
  std::vector<std::size_t> remaining;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    const SampledRow& row = rows_[active_[i]];
    const bool is_padded = row.reason && pads();
    if (is_padded && !resolved_.records_steps()) continue;
    remaining.push_back(active_[i]);
    sources.push_back(static_cast<Index>(i));
    ids.push_back(is_padded ? feedable(row.ids.back(), vocab_size) : row.ids.back());
    // The last id is not fed.
    const Index most = is_padded ? 0 : resolved_.max_length - std::ssize(row.ids) - 1;
    draft_rows.push_back({static_cast<Index>(draft_rows.size()), row.batch_index, row.ids,
                          std::max<Index>(0, most)});
  }
  active_ = std::move(remaining);
  return run_.decoding.step(sources, ids, draft_rows);
}

void Sampler::run(BaseStreamer* streamer) {
  bool continues =
      !streamer || streamer->put(run_.prompt.ids.repeat_interleave(resolved_.expand_size()));
  Tensor logits = run_.decoding.prefill(run_.prompt);
  while (true) {
    choose(logits);
    end_rows();
    if (streamer) continues = stream(*streamer) && continues;
    if (!continues) {
      for (SampledRow& row : rows_) row.reason = row.reason.value_or(FinishReason::Cancelled);
    }
    ++step_;
    const auto ended = [&](std::size_t r) { return rows_[r].reason.has_value(); };
    if (std::all_of(active_.begin(), active_.end(), ended)) break;
    logits = step(logits.dim(1));
  }
  if (streamer) streamer->end();
  finish();
}

void Sampler::finish() {
  GenerateOutput& output = run_.output;
  std::size_t longest = 0;
  for (const SampledRow& row : rows_) longest = std::max(longest, row.ids.size());
  std::vector<std::int64_t> ids;
  for (SampledRow& row : rows_) {
    row.ids.resize(longest, resolved_.pad_token_id.value_or(0));
    ids.insert(ids.end(), row.ids.begin(), row.ids.end());
    output.new_token_counts.push_back(row.new_tokens);
    output.finish_reasons.push_back(*row.reason);
  }
  output.sequences = Tensor(ids, {static_cast<Index>(rows_.size()), static_cast<Index>(longest)});
}

}  // namespace

void sample(const DecodingRun& run, BaseStreamer* streamer) { Sampler(run).run(streamer); }

}  // namespace instructblip::detail
