// Arithmetic over one row of scores, and the random numbers of sampling. It is compiled in the
// library, so that the compiler flags of the program do not change results.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): a function
/// of key and counter without state. Each draw therefore depends only on its own counter.
INSTRUCTBLIP_EXPORT std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                            std::array<std::uint32_t, 2> key);

/// The random numbers of one generation: key = seed, counter = {index / 2, row, step, 0}. The
/// numbers of a row do not depend on the other rows of the batch or on how many steps they take.
struct RandomNumbers {
  std::uint64_t seed = 0;

  /// Uniform in (0, 1): (n + 0.5) / 2^53, n = the upper 53 bits of two words.
  INSTRUCTBLIP_EXPORT double uniform(Index step, Index row, Index index = 0) const;
};

/// exp(x - max) / sum in float32; the sum runs in double, in order. -inf gives 0.
INSTRUCTBLIP_EXPORT std::vector<float> softmax(std::span<const float> scores);
/// In place: x - max - log(sum of exp(x - max)).
INSTRUCTBLIP_EXPORT void log_softmax(std::span<float> scores);
/// log softmax(logits)[id], summed in double.
INSTRUCTBLIP_EXPORT double log_probability(std::span<const float> logits, std::int64_t id);
/// Index of the largest value; the lowest index among equals.
INSTRUCTBLIP_EXPORT Index argmax(std::span<const float> scores);
/// Indices of the `count` largest values (all if there are fewer), largest first, lower index first
/// among equals.
INSTRUCTBLIP_EXPORT std::vector<Index> top_k_indices(std::span<const float> scores, Index count);
/// Indices in ascending (or descending) order of value, lower index first among equals.
INSTRUCTBLIP_EXPORT std::vector<Index> sorted_indices(std::span<const float> scores,
                                                      bool descending = false);
/// Running sums, accumulated in double, each rounded to float32.
INSTRUCTBLIP_EXPORT std::vector<float> cumulative_sums(std::span<const float> values);

/// One draw from `probabilities`, which need not add up to 1: the first index whose running sum
/// exceeds `uniform` times the total. Throws InputError if no probability is above 0 or one is NaN.
INSTRUCTBLIP_EXPORT Index draw(std::span<const float> probabilities, double uniform);
/// `count` draws without replacement, in the order drawn: the indices of the smallest
/// -log(u_i) / p_i with u_i = random.uniform(step, row, i). Indices of probability 0 come last, in
/// ascending order.
INSTRUCTBLIP_EXPORT std::vector<Index> draw_without_replacement(
    std::span<const float> probabilities, Index count, const RandomNumbers& random, Index step,
    Index row);

}  // namespace instructblip
