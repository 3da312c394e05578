#include "instructblip/generation/generate.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "generation/beam_search.h"
#include "generation/decoding.h"
#include "generation/resolved_config.h"
#include "generation/step_states.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/generation/sampling.h"

namespace instructblip {
namespace detail {

/// A row of greedy search or sampling.
struct SampledRow {
  std::vector<std::int64_t> ids;
  Index batch_index = 0;
  Index copy = 0;  // which of the returned sequences of its prompt
  Index new_tokens = 0;
  std::optional<FinishReason> reason;
};

/// Greedy search and sampling: one row per returned sequence. A row that has ended leaves the
/// batch, unless tensors of every step are wanted or there is no eos id: then it goes on, fed with
/// the padding id in the first case, with what it generates in the second, as in the reference.
class Sampler {
 public:
  Sampler(const ResolvedConfig& resolved, const Prompt& prompt,
          const LogitsProcessorList& processors, const StoppingCriteriaList& criteria,
          StepClock& clock)
      : resolved_(resolved),
        prompt_(prompt),
        processors_(processors),
        criteria_(criteria),
        clock_(clock),
        states_(resolved, prompt) {}

  GenerateOutput run(Decoding& decoding, BaseStreamer* streamer);

 private:
  bool pads() const { return !resolved_.eos_token_id.empty(); }
  /// Chooses the next id of every row in `active_` from its logits.
  void choose(const Tensor& logits);
  std::int64_t choose_from(std::span<const float> scores, const SampledRow& row) const;
  void end_rows();
  bool stream(BaseStreamer& streamer) const;
  GenerateOutput finish();

  const ResolvedConfig& resolved_;
  const Prompt& prompt_;
  const LogitsProcessorList& processors_;
  const StoppingCriteriaList& criteria_;
  StepClock& clock_;
  StepStates states_;
  std::vector<SampledRow> rows_;
  std::vector<std::size_t> active_;         // rows that the state holds, in its order
  std::vector<std::vector<float>> scores_;  // of the active rows, this step
  Index step_ = 0;
  GenerateOutput output_;
};

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
  const bool shared = logits.dim(0) != static_cast<Index>(active_.size());  // the prompts' logits
  for (std::size_t i = 0; i < active_.size(); ++i) {
    SampledRow& row = rows_[active_[i]];
    const Index source = shared ? row.batch_index : static_cast<Index>(i);
    const auto values = row_of(logits, source);
    if (!resolved_.remove_invalid_values) check_finite(values, step_, row.batch_index);
    scores_[i].assign(values.begin(), values.end());
    score_rows.push_back({row.ids, scores_[i], row.batch_index, row.copy});
  }
  if (resolved_.output_logits) output_.logits.push_back(stack_rows(scores_));
  apply(processors_, score_rows, step_);
  if (resolved_.output_scores) output_.scores.push_back(stack_rows(scores_));
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
  const auto reasons = evaluate(criteria_, rows);
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

GenerateOutput Sampler::run(Decoding& decoding, BaseStreamer* streamer) {
  const Index expand = resolved_.expand_size();
  for (Index b = 0; b < prompt_.size(); ++b) {
    for (Index copy = 0; copy < expand; ++copy) {
      active_.push_back(rows_.size());
      rows_.push_back({prompt_.ids_of(b), b, copy, 0, {}});
    }
  }
  bool goes_on = !streamer || streamer->put(prompt_.ids.repeat_interleave(expand));
  Tensor logits = decoding.prefill(prompt_, expand);
  if (records_states(resolved_)) states_.add_prompt(decoding, output_);
  clock_.prompt_done(output_.timings);
  while (true) {
    choose(logits);
    end_rows();
    if (streamer) goes_on = stream(*streamer) && goes_on;
    if (!goes_on) {
      for (SampledRow& row : rows_) row.reason = row.reason.value_or(FinishReason::Cancelled);
    }
    ++step_;
    const auto ended = [&](std::size_t r) { return rows_[r].reason.has_value(); };
    if (std::all_of(active_.begin(), active_.end(), ended)) break;

    std::vector<Index> sources;
    std::vector<std::int64_t> ids;
    std::vector<std::size_t> remaining;
    for (std::size_t i = 0; i < active_.size(); ++i) {
      const SampledRow& row = rows_[active_[i]];
      if (row.reason && pads() && !resolved_.records_steps()) continue;
      remaining.push_back(active_[i]);
      sources.push_back(static_cast<Index>(i));
      ids.push_back(row.reason && pads() ? feedable(row.ids.back(), logits.dim(1))
                                         : row.ids.back());
    }
    active_ = std::move(remaining);
    logits = decoding.step(sources, ids);
    if (records_states(resolved_)) states_.add_step(decoding.states(), output_);
    clock_.step_done(output_.timings);
  }
  if (streamer) streamer->end();
  return finish();
}

GenerateOutput Sampler::finish() {
  std::size_t longest = 0;
  for (const SampledRow& row : rows_) longest = std::max(longest, row.ids.size());
  std::vector<std::int64_t> ids;
  for (SampledRow& row : rows_) {
    row.ids.resize(longest, resolved_.pad_token_id.value_or(0));
    ids.insert(ids.end(), row.ids.begin(), row.ids.end());
    output_.new_token_counts.push_back(row.new_tokens);
    output_.finish_reasons.push_back(*row.reason);
  }
  output_.sequences = Tensor(ids, {static_cast<Index>(rows_.size()), static_cast<Index>(longest)});
  output_.prompt_length = prompt_.length();
  output_.seed = resolved_.random.seed;
  return std::move(output_);
}

}  // namespace detail

GenerateOutput generate(const LanguageModel& model, const GenerateInputs& inputs,
                        const GenerationConfig& config, const GenerateCallbacks& callbacks) {
  const LanguageModelTraits& traits = model.traits();
  detail::StepClock clock;
  detail::ResolvedConfig resolved = detail::resolve(config, traits);
  if (callbacks.streamer && resolved.num_beams > 1) {
    throw InputError("`streamer` cannot be used with beam search: set `num_beams` to 1");
  }
  const detail::Prompt prompt = detail::prepare_prompt(model, inputs, resolved);
  detail::resolve_lengths(resolved, prompt, traits);
  if (resolved.pad_token_id.value_or(0) < 0 && prompt.size() > 1) {
    log_warning("`pad_token_id` is " + std::to_string(*resolved.pad_token_id) +
                ": rows that end early are filled with it, and it cannot be decoded; set " +
                "`pad_token_id` in the GenerationConfig or the text_config");
  }
  const LogitsProcessorList processors = detail::make_processors(
      resolved, prompt, callbacks.logits_processor, callbacks.prefix_allowed_tokens_fn);
  const StoppingCriteriaList criteria = detail::make_criteria(
      resolved, callbacks.tokenizer, callbacks.cancelled, callbacks.stopping_criteria);
  detail::Decoding decoding(model, {.hidden_states = resolved.output_hidden_states,
                                    .attentions = resolved.output_attentions});
  if (resolved.num_beams > 1) {
    return detail::BeamSearch(resolved, prompt, processors, criteria, clock).run(decoding);
  }
  return detail::Sampler(resolved, prompt, processors, criteria, clock)
      .run(decoding, callbacks.streamer);
}

}  // namespace instructblip
