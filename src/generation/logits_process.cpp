#include "instructblip/generation/logits_process.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "core/eigen_arrays.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/generation/sampling.h"

namespace instructblip {
namespace detail {

void require(bool condition, std::string_view argument, std::string_view expected,
             const std::string& found) {
  if (condition) return;
  throw InputError("`" + std::string(argument) + "` has to be " + std::string(expected) +
                   ", but is " + found);
}

void set_scores(std::span<float> scores, std::span<const std::int64_t> ids, float value) {
  for (const std::int64_t id : ids) {
    if (id >= 0 && to_size(id) < scores.size()) {
      at(scores, id) = value;
    }
  }
}

void force_tokens(std::span<float> scores, std::span<const std::int64_t> ids,
                  std::string_view argument) {
  for (const std::int64_t id : ids) {
    require(id >= 0 && to_size(id) < scores.size(), argument,
            "an id below the vocabulary size " + std::to_string(scores.size()), std::to_string(id));
  }
  std::fill(scores.begin(), scores.end(), kMinusInfinity);
  set_scores(scores, ids, 0.0f);
}

}  // namespace detail

namespace {

bool ends_with(std::span<const std::int64_t> ids, std::span<const std::int64_t> suffix) {
  return ids.size() >= suffix.size() &&
         std::equal(suffix.begin(), suffix.end(), ids.end() - static_cast<Index>(suffix.size()));
}

// The `count`-th largest score, or the smallest if there are fewer.
float kth_largest(std::span<const float> scores, Index count) {
  return at(scores, top_k_indices(scores, std::max<Index>(count, 1)).back());
}

// -sum of p log p.
float entropy_of(std::span<const float> probabilities, std::span<const float> log_probabilities) {
  double sum = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] > 0) sum -= static_cast<double>(probabilities[i]) * log_probabilities[i];
  }
  return static_cast<float>(sum);
}

// Like torch's Categorical(logits=scores).entropy(), which rounds log p = s - logsumexp to float32.
// An id that is nearly certain therefore counts as certain.
float categorical_entropy(std::span<const float> scores) {
  const float largest = as_array(scores).maxCoeff();
  const Eigen::ArrayXf weights = exp_of(as_array(scores) - largest);
  const auto sum = static_cast<float>(weights.cast<double>().sum());
  std::vector<float> log_probabilities(scores.size());
  as_array(log_probabilities) = as_array(scores) - (largest + std::log(sum));
  return entropy_of(softmax(log_probabilities), log_probabilities);
}

// Drops ids with p < threshold, except for the `keep` most probable.
void drop_below(std::span<float> scores, float threshold, Index keep) {
  const std::vector<float> probabilities = softmax(scores);
  const float always = kth_largest(scores, keep);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (probabilities[i] < threshold && scores[i] < always) scores[i] = detail::kMinusInfinity;
  }
}

class FunctionLogitsProcessor : public LogitsProcessor {
 public:
  explicit FunctionLogitsProcessor(std::function<void(const ScoreRow&)> body)
      : body_(std::move(body)) {}
  void process_row(const ScoreRow& row) const override { body_(row); }

 private:
  std::function<void(const ScoreRow&)> body_;
};

}  // namespace

std::shared_ptr<const LogitsProcessor> logits_processor(std::function<void(const ScoreRow&)> body) {
  return std::make_shared<FunctionLogitsProcessor>(std::move(body));
}

SequenceBiasLogitsProcessor::SequenceBiasLogitsProcessor(std::vector<SequenceBias> sequence_bias)
    : SequenceBiasLogitsProcessor(std::move(sequence_bias), "sequence_bias") {
  detail::require(!sequence_bias_.empty(), "sequence_bias", "a list that is not empty", "empty");
}

SequenceBiasLogitsProcessor::SequenceBiasLogitsProcessor(std::vector<SequenceBias> sequence_bias,
                                                         std::string_view argument)
    : argument_(argument) {
  for (SequenceBias& entry : sequence_bias) {
    detail::require(!entry.sequence.empty(), argument, "made of sequences that are not empty",
                    "one of length 0");
    for (const std::int64_t id : entry.sequence) {
      detail::require(id >= 0, argument, "made of ids that are 0 or more", std::to_string(id));
    }
    // As in the reference's dictionary, the last bias of a repeated sequence counts.
    const auto known =
        std::find_if(sequence_bias_.begin(), sequence_bias_.end(),
                     [&](const SequenceBias& other) { return other.sequence == entry.sequence; });
    if (known != sequence_bias_.end()) {
      known->bias = entry.bias;
    } else {
      sequence_bias_.push_back(std::move(entry));
    }
  }
}

void SequenceBiasLogitsProcessor::process_row(const ScoreRow& row) const {
  std::vector<std::pair<std::size_t, float>> biases;
  for (const SequenceBias& entry : sequence_bias_) {
    for (const std::int64_t id : entry.sequence) {
      detail::require(to_size(id) < row.scores.size(), argument_,
                      "made of ids below the vocabulary size " + std::to_string(row.scores.size()),
                      std::to_string(id));
    }
    const auto prefix = std::span(entry.sequence).first(entry.sequence.size() - 1);
    if (!ends_with(row.input_ids, prefix)) continue;
    const auto last = to_size(entry.sequence.back());
    const auto known = std::find_if(biases.begin(), biases.end(),
                                    [&](const auto& bias) { return bias.first == last; });
    if (known != biases.end()) {
      known->second += static_cast<float>(entry.bias);
    } else {
      biases.emplace_back(last, static_cast<float>(entry.bias));
    }
  }
  for (const auto& [id, bias] : biases) row.scores[id] += bias;
}

NoBadWordsLogitsProcessor::NoBadWordsLogitsProcessor(
    const std::vector<std::vector<std::int64_t>>& bad_words_ids,
    const std::vector<std::int64_t>& eos_token_id)
    : SequenceBiasLogitsProcessor(
          [&] {
            std::vector<SequenceBias> biases;
            for (const std::vector<std::int64_t>& word : bad_words_ids) {
              const bool is_eos = word.size() == 1 &&
                                  std::find(eos_token_id.begin(), eos_token_id.end(), word[0]) !=
                                      eos_token_id.end();
              if (!is_eos) biases.push_back({word, -std::numeric_limits<double>::infinity()});
            }
            return biases;
          }(),
          "bad_words_ids") {}

void RepetitionPenaltyLogitsProcessor::process_row(const ScoreRow& row) const {
  std::size_t first = 0;
  if (!prompt_ignore_length_.empty()) {
    first = to_size(prompt_ignore_length_.at(to_size(row.batch_index)));
  }
  std::vector<std::int64_t> ids;
  for (std::size_t i = first; i < row.input_ids.size(); ++i) {
    const std::int64_t id = row.input_ids[i];
    if (id >= 0 && to_size(id) < row.scores.size()) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const std::int64_t id : ids) {
    float& score = at(row.scores, id);
    score = score < 0 ? score * penalty_ : score / penalty_;
  }
}

void NoRepeatNGramLogitsProcessor::process_row(const ScoreRow& row) const {
  const auto length = static_cast<Index>(row.input_ids.size());
  if (length < ngram_size_) return;
  const auto prefix = row.input_ids.last(to_size(ngram_size_ - 1));
  for (Index begin = 0; begin + ngram_size_ <= length; ++begin) {
    if (std::equal(prefix.begin(), prefix.end(), row.input_ids.begin() + begin)) {
      const std::int64_t banned[] = {at(row.input_ids, begin + ngram_size_ - 1)};
      detail::set_scores(row.scores, banned, detail::kMinusInfinity);
    }
  }
}

void PrefixConstrainedLogitsProcessor::process(std::span<const ScoreRow> rows) const {
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    std::vector<std::vector<std::int64_t>> allowed;
    bool satisfiable = false;
    for (end = begin; end < rows.size() && rows[end].batch_index == rows[begin].batch_index;
         ++end) {
      const std::span<float> scores = rows[end].scores;
      allowed.push_back(prefix_allowed_tokens_fn_(rows[end].batch_index, rows[end].input_ids));
      detail::require(!allowed.back().empty(), "prefix_allowed_tokens_fn",
                      "a function that names at least one id",
                      "one that names none for batch row " + std::to_string(rows[end].batch_index));
      std::vector<float> kept;
      for (const std::int64_t id : allowed.back()) {
        detail::require(id >= 0 && to_size(id) < scores.size(), "prefix_allowed_tokens_fn",
                        "a function that names ids of the vocabulary",
                        "one that names " + std::to_string(id));
        kept.push_back(at(scores, id));
        satisfiable = satisfiable || kept.back() != detail::kMinusInfinity;
      }
      std::fill(scores.begin(), scores.end(), detail::kMinusInfinity);
      for (std::size_t i = 0; i < kept.size(); ++i) {
        at(scores, allowed.back()[i]) = kept[i];
      }
    }
    for (std::size_t r = begin; r < end && !satisfiable; ++r) {
      detail::set_scores(rows[r].scores, allowed[r - begin], 0.0f);
    }
  }
}

void InfNanRemoveLogitsProcessor::process_row(const ScoreRow& row) const {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (float& score : row.scores) {
    score = std::isnan(score) ? 0.0f : std::clamp(score, -kLargest, kLargest);
  }
}

void ExponentialDecayLengthPenalty::process_row(const ScoreRow& row) const {
  const double over =
      static_cast<double>(row.input_ids.size()) - static_cast<double>(regulation_start_);
  if (over <= 0) return;
  const auto factor = static_cast<float>(std::pow(regulation_factor_, over) - 1);
  for (std::size_t i = 0; i < eos_token_id_.size(); ++i) {
    const std::int64_t id = eos_token_id_[i];
    detail::require(id >= 0 && to_size(id) < row.scores.size(), "eos_token_id",
                    "an id of the vocabulary", std::to_string(id));
    const auto begin = eos_token_id_.begin();
    if (std::find(begin, begin + static_cast<Index>(i), id) != begin + static_cast<Index>(i)) {
      continue;
    }
    float& score = at(row.scores, id);
    if (std::isfinite(score)) score += std::fabs(score) * factor;
  }
}

void TemperatureLogitsWarper::process_row(const ScoreRow& row) const {
  as_array(row.scores) /= temperature_;
}

void TopHLogitsWarper::process_row(const ScoreRow& row) const {
  constexpr Index kMostProbable = 100;
  const std::vector<Index> order = top_k_indices(row.scores, kMostProbable);
  std::vector<float> sorted;
  for (const Index i : order) sorted.push_back(at(row.scores, i));
  std::vector<float> terms = softmax(sorted);
  as_array(terms) *= -as_array(terms).unaryExpr([](float p) { return std::log(p); });
  const std::vector<float> sums = cumulative_sums(terms);
  const float budget = categorical_entropy(sorted) * static_cast<float>(top_h_);
  std::fill(row.scores.begin(), row.scores.end(), detail::kMinusInfinity);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || sums[i] <= budget) at(row.scores, order[i]) = sorted[i];
  }
}

void TopKLogitsWarper::process_row(const ScoreRow& row) const {
  const float smallest = kth_largest(row.scores, top_k_);
  for (float& score : row.scores) {
    if (score < smallest) score = detail::kMinusInfinity;
  }
}

void TopPLogitsWarper::process_row(const ScoreRow& row) const {
  const std::vector<Index> order = sorted_indices(row.scores);
  std::vector<float> sorted;
  for (const Index i : order) sorted.push_back(at(row.scores, i));
  const std::vector<float> sums = cumulative_sums(softmax(sorted));
  const auto dropped = static_cast<float>(1 - top_p_);
  const Index candidates = static_cast<Index>(order.size()) - min_tokens_to_keep_;
  for (Index i = 0; i < candidates; ++i) {
    if (at(sums, i) > dropped) break;
    at(row.scores, at(order, i)) = detail::kMinusInfinity;
  }
}

void MinPLogitsWarper::process_row(const ScoreRow& row) const {
  const std::vector<float> probabilities = softmax(row.scores);
  const std::vector<Index> kept = top_k_indices(probabilities, min_tokens_to_keep_);
  const float threshold = static_cast<float>(min_p_) * at(probabilities, kept.front());
  for (std::size_t i = 0; i < row.scores.size(); ++i) {
    if (probabilities[i] < threshold &&
        std::find(kept.begin(), kept.end(), static_cast<Index>(i)) == kept.end()) {
      row.scores[i] = detail::kMinusInfinity;
    }
  }
}

void TypicalLogitsWarper::process_row(const ScoreRow& row) const {
  std::vector<float> distance(row.scores.begin(), row.scores.end());
  log_softmax(distance);
  std::vector<float> probabilities(distance.size());
  as_array(probabilities) = exp_of(as_array(distance));
  as_array(distance) = (-as_array(distance) - entropy_of(probabilities, distance)).abs();
  const std::vector<Index> order = sorted_indices(distance);
  std::vector<float> sorted;
  for (const Index i : order) sorted.push_back(at(row.scores, i));
  const std::vector<float> sums = cumulative_sums(softmax(sorted));
  const auto mass = static_cast<float>(mass_);
  std::size_t last = 0;
  for (const float sum : sums) last += sum < mass ? 1 : 0;
  last = std::min(last, order.size() - 1);
  const float farthest = at(distance, order[last]);
  for (std::size_t i = to_size(min_tokens_to_keep_); i < order.size(); ++i) {
    const auto id = to_size(order[i]);
    if (distance[id] > farthest) row.scores[id] = detail::kMinusInfinity;
  }
}

void EpsilonLogitsWarper::process_row(const ScoreRow& row) const {
  drop_below(row.scores, static_cast<float>(epsilon_), min_tokens_to_keep_);
}

void EtaLogitsWarper::process_row(const ScoreRow& row) const {
  const auto epsilon = static_cast<float>(epsilon_);
  const float eta =
      std::min(epsilon, std::sqrt(epsilon) * std::exp(-categorical_entropy(row.scores)));
  drop_below(row.scores, eta, min_tokens_to_keep_);
}

void LogitNormalization::process_row(const ScoreRow& row) const { log_softmax(row.scores); }

}  // namespace instructblip
