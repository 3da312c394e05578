// T5's positions: a bias on the attention scores that depends on the distance between query and key
// (transformers' T5Attention.compute_bias).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/configuration/configuration_t5.h"
#include "instructblip/core/index.h"
#include "instructblip/layers/float_copy.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {

/// The bucket of a relative position (key position - query position). Each bucket has one bias:
/// small distances get a bucket each, larger ones share logarithmic buckets, and everything from
/// max_distance on shares the last one. Without `bidirectional`, only keys before the query are
/// distinguished.
inline Index t5_relative_position_bucket(Index relative_position, bool bidirectional,
                                         Index num_buckets, Index max_distance);

/// The bias that all blocks of a stack add to their attention scores, by relative position.
class T5RelativePositionBias {
 public:
  /// Reads `weight` [relative_attention_num_buckets, num_heads] of this scope.
  T5RelativePositionBias(const Weights& weights, const T5Config& config, bool bidirectional);

  /// The biases between the queries of `rows` and keys at key_positions[sequence]: per sequence
  /// float32 [heads, queries, keys].
  std::vector<Tensor> operator()(const RowTable& rows,
                                 const std::vector<std::vector<Index>>& key_positions) const;

 private:
  bool bidirectional_;
  Index num_heads_, num_buckets_, max_distance_;
  Tensor table_;  // [num_buckets, heads]
};

inline Index t5_relative_position_bucket(Index relative_position, bool bidirectional,
                                         Index num_buckets, Index max_distance) {
  Index bucket = 0;
  Index distance = 0;
  if (bidirectional) {
    num_buckets /= 2;
    if (relative_position > 0) bucket += num_buckets;
    distance = std::abs(relative_position);
  } else {
    distance = -(std::min)(relative_position, Index{0});
  }
  const Index max_exact = num_buckets / 2;
  if (distance < max_exact) return bucket + distance;
  // In float32, as in the reference: for some distances the quotient is on the edge of a bucket.
  const float position = std::log(static_cast<float>(distance) / static_cast<float>(max_exact));
  const auto range = static_cast<float>(
      std::log(static_cast<double>(max_distance) / static_cast<double>(max_exact)));
  const float steps = position / range * static_cast<float>(num_buckets - max_exact);
  const Index last = num_buckets - 1;
  // Beyond the last bucket, or not a number because there are too few buckets.
  if (!(steps < static_cast<float>(last))) return bucket + last;
  return bucket + (std::min)(max_exact + static_cast<Index>(steps), last);
}

inline T5RelativePositionBias::T5RelativePositionBias(const Weights& weights,
                                                      const T5Config& config, bool bidirectional)
    : bidirectional_(bidirectional),
      num_heads_(config.num_heads),
      num_buckets_(config.relative_attention_num_buckets),
      max_distance_(config.relative_attention_max_distance),
      table_(float_copy(weights["weight"].get({num_buckets_, num_heads_}))) {}

inline std::vector<Tensor> T5RelativePositionBias::operator()(
    const RowTable& rows, const std::vector<std::vector<Index>>& key_positions) const {
  std::vector<Tensor> biases;
  for (Index s = 0; s < rows.sequences(); ++s) {
    const std::vector<Index>& keys = at(key_positions, s);
    const auto key_count = static_cast<Index>(keys.size());
    Tensor bias = Tensor::uninitialized(DType::Float32, {num_heads_, rows.count(s), key_count});
    for (Index i = 0; i < rows.count(s); ++i) {
      const Index query = at(rows.positions, rows.begin(s) + i);
      for (Index j = 0; j < key_count; ++j) {
        const Index bucket = t5_relative_position_bucket(at(keys, j) - query, bidirectional_,
                                                         num_buckets_, max_distance_);
        for (Index h = 0; h < num_heads_; ++h) {
          bias.data<float>()[(h * rows.count(s) + i) * key_count + j] =
              table_.data<float>()[bucket * num_heads_ + h];
        }
      }
    }
    biases.push_back(std::move(bias));
  }
  return biases;
}

}  // namespace instructblip
