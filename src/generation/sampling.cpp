#include "instructblip/generation/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/eigen_arrays.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"

namespace instructblip {
namespace {

// The `count` best indices from 0 to size - 1, best first. `better` must be a total order, so that
// the result does not depend on the algorithm.
template <class Better>
std::vector<Index> best_indices(Index size, Index count, Better better) {
  count = std::clamp<Index>(count, 0, size);
  std::vector<Index> heap;  // the worst of the best so far is at the front
  heap.reserve(to_size(count));
  for (Index i = 0; i < size && count > 0; ++i) {
    if (static_cast<Index>(heap.size()) < count) {
      heap.push_back(i);
      std::push_heap(heap.begin(), heap.end(), better);
    } else if (better(i, heap.front())) {
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.back() = i;
      std::push_heap(heap.begin(), heap.end(), better);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

// A total order in which NaN is the largest value, as in the reference.
bool above(float x, float y) { return std::isnan(x) ? !std::isnan(y) : x > y; }

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

double RandomNumbers::uniform(Index step, Index row, Index index) const {
  const auto words =
      philox4x32({static_cast<std::uint32_t>(index / 2), static_cast<std::uint32_t>(row),
                  static_cast<std::uint32_t>(step), 0u},
                 {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::size_t pair = index % 2 == 0 ? 0 : 2;
  const std::uint64_t bits = (std::uint64_t{words[pair + 1]} << 32) | words[pair];
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

std::vector<float> softmax(std::span<const float> scores) {
  std::vector<float> result(scores.size());
  if (scores.empty()) return result;
  const Eigen::ArrayXf weights = exp_of(as_array(scores) - as_array(scores).maxCoeff());
  as_array(result) = weights / static_cast<float>(weights.cast<double>().sum());
  return result;
}

void log_softmax(std::span<float> scores) {
  if (scores.empty()) return;
  const Eigen::ArrayXf shifted = as_array(scores) - as_array(scores).maxCoeff();
  const Eigen::ArrayXf weights = exp_of(shifted);
  as_array(scores) = shifted - static_cast<float>(std::log(weights.cast<double>().sum()));
}

double log_probability(std::span<const float> logits, std::int64_t id) {
  const Eigen::ArrayXd shifted =
      as_array(logits).cast<double>() - double{as_array(logits).maxCoeff()};
  const Eigen::ArrayXd weights = shifted.unaryExpr([](double x) { return std::exp(x); });
  return shifted[id] - std::log(weights.sum());
}

Index argmax(std::span<const float> scores) {
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

std::vector<Index> top_k_indices(std::span<const float> scores, Index count) {
  return best_indices(static_cast<Index>(scores.size()), count, [&](Index a, Index b) {
    const float x = at(scores, a), y = at(scores, b);
    return above(x, y) || (!above(y, x) && a < b);
  });
}

std::vector<Index> sorted_indices(std::span<const float> scores, bool descending) {
  std::vector<Index> order(scores.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::sort(order.begin(), order.end(), [&](Index a, Index b) {
    const float x = at(scores, a), y = at(scores, b);
    if (above(x, y)) return descending;
    if (above(y, x)) return !descending;
    return a < b;
  });
  return order;
}

std::vector<float> cumulative_sums(std::span<const float> values) {
  std::vector<float> sums;
  sums.reserve(values.size());
  double sum = 0;
  for (const float value : values) sums.push_back(static_cast<float>(sum += value));
  return sums;
}

Index draw(std::span<const float> probabilities, double uniform) {
  const double whole = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  if (!(whole > 0) || !std::isfinite(whole)) {
    throw InputError("sampling: the probabilities add up to " + std::to_string(whole) +
                     ", so no id can be drawn: filters and suppressed ids leave none");
  }
  double sum = 0;
  Index last = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    if (!(probabilities[i] > 0)) continue;
    last = static_cast<Index>(i);
    sum += probabilities[i];
    if (sum > uniform * whole) break;
  }
  return last;
}

std::vector<Index> draw_without_replacement(std::span<const float> probabilities, Index count,
                                            const RandomNumbers& random, Index step, Index row) {
  std::vector<double> keys(probabilities.size(), std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!(probabilities[i] > 0)) continue;
    keys[i] = -std::log(random.uniform(step, row, static_cast<Index>(i))) / probabilities[i];
  }
  return best_indices(static_cast<Index>(keys.size()), count, [&](Index a, Index b) {
    const double x = at(keys, a), y = at(keys, b);
    return x < y || (x == y && a < b);
  });
}

}  // namespace instructblip
