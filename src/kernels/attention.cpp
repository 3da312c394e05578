// scaled_dot_product_attention: finds the keys of each query and divides the work among threads.
// The arithmetic is a level's `dots`, `softmax` and `weighted_sum` (kernel_table.h).
#include <algorithm>

#include "instructblip/core/threads.h"
#include "instructblip/kernels/kernels.h"
#include "kernels/checks.h"
#include "kernels/kernel_table.h"

namespace instructblip {
namespace {

// A multiple of the outputs of a level's tile.
constexpr Index kKeyBlock = 48;
// Queries that use a block of keys while it is in the first-level cache.
constexpr Index kQueryBlock = 4 * kTileRows;
// A thread is not worth waking for fewer multiplications than this.
constexpr Index kAttentionGrain = 1 << 17;

// The valid keys of one sequence, in order.
class ValidKeys {
 public:
  explicit ValidKeys(const AttentionSequence& sequence) {
    for (const KeyValueSpan& span : sequence.keys) total_ += span.count;
    keys_.reserve(static_cast<std::size_t>(total_));
    Index position = 0;
    for (const KeyValueSpan& span : sequence.keys) {
      for (Index i = 0; i < span.count; ++i, ++position) {
        if (sequence.key_valid != nullptr && sequence.key_valid[position] == 0) continue;
        keys_.push_back({span.keys + i * span.stride, span.values + i * span.stride, position});
      }
    }
  }

  Index count() const { return static_cast<Index>(keys_.size()); }
  // The number of keys with the invalid ones.
  Index total() const { return total_; }

  // Key and value of head 0.
  const float* key(Index j) const { return keys_.data()[j].key; }
  const float* value(Index j) const { return keys_.data()[j].value; }
  // The index of valid key j among all keys.
  Index position(Index j) const { return keys_.data()[j].position; }

  // A query attends to the first valid keys only; returns how many.
  Index count_for(Index query, Index causal_offset) const {
    if (causal_offset < 0) return count();
    const auto is_later = [](Index last, const Key& key) { return last < key.position; };
    return std::upper_bound(keys_.begin(), keys_.end(), causal_offset + query, is_later) -
           keys_.begin();
  }

 private:
  struct Key {
    const float* key;
    const float* value;
    Index position;
  };
  std::vector<Key> keys_;
  Index total_ = 0;
};

// Up to kQueryBlock queries of one sequence and head.
struct Tile {
  const AttentionSequence& sequence;
  const ValidKeys& keys;
  Index head, query, queries;
};

class Attention {
 public:
  Attention(MatrixView q, const AttentionShape& shape, std::span<const AttentionSequence> sequences,
            MutableMatrixView output)
      : table_(kernels()),
        q_(q),
        shape_(shape),
        padded_dim_((shape.head_dim + table_.lanes - 1) / table_.lanes * table_.lanes),
        output_(output) {
    keys_.reserve(sequences.size());  // the tiles refer to its elements
    for (const AttentionSequence& sequence : sequences) {
      const ValidKeys& keys = keys_.emplace_back(sequence);
      for (Index head = 0; head < shape.num_heads; ++head) {
        for (Index i = 0; i < sequence.query_count; i += kQueryBlock) {
          tiles_.push_back(
              {sequence, keys, head, i, std::min(kQueryBlock, sequence.query_count - i)});
        }
      }
      work_ += shape.num_heads * sequence.query_count * keys.count() * shape.head_dim;
    }
  }

  void run() const {
    const auto tiles = static_cast<Index>(tiles_.size());
    if (tiles == 0) return;
    const Index grain = kAttentionGrain / std::max<Index>(1, work_ / tiles) + 1;
    parallel_for(tiles, grain, [&](Index begin, Index end) {
      for (Index t = begin; t < end; ++t) tile(tiles_.data()[t]);
    });
  }

 private:
  void tile(const Tile& t) const {
    Index counts[kQueryBlock];  // keys of each query
    for (Index i = 0; i < t.queries; ++i) {
      counts[i] = t.keys.count_for(t.query + i, t.sequence.causal_offset);
    }
    const Index most = counts[t.queries - 1];
    Matrix scores(t.queries, std::max<Index>(1, most));
    score(t, most, scores);
    for (Index i = 0; i < t.queries; ++i) probabilities(t, i, counts[i], scores.row(i));
    const MutableMatrixView out = output_.middle_rows(t.sequence.query_begin + t.query, t.queries)
                                      .middle_cols(t.head * shape_.head_dim, shape_.head_dim);
    for (Index i = 0; i < t.queries; ++i) std::fill_n(out.row(i), shape_.head_dim, 0.0f);
    for (Index j = 0; j < most; j += kKeyBlock) {
      sum_values(t, j, std::min(j + kKeyBlock, most), counts, scores, out);
    }
  }

  Index key_offset(const Tile& t) const {
    return t.head / (shape_.num_heads / shape_.num_key_value_heads) * shape_.head_dim;
  }

  // The dot products of all queries with the first `count` keys.
  void score(const Tile& t, Index count, Matrix& scores) const {
    const Index row = t.sequence.query_begin + t.query;
    const bool pad = padded_dim_ != shape_.head_dim;
    Matrix padded(pad ? kQueryBlock + kKeyBlock : 0, padded_dim_);
    const float* q[kQueryBlock];
    for (Index i = 0; i < t.queries; ++i) {
      q[i] = q_.row(row + i) + t.head * shape_.head_dim;
      if (pad) q[i] = padded_copy(q[i], padded.row(i));
      std::fill_n(scores.row(i), count, 0.0f);
    }
    for (Index j = 0; j < count; j += kKeyBlock) {
      const Index block = std::min(kKeyBlock, count - j);
      const float* k[kKeyBlock];
      for (Index b = 0; b < block; ++b) {
        k[b] = t.keys.key(j + b) + key_offset(t);
        if (pad) k[b] = padded_copy(k[b], padded.row(kQueryBlock + b));
      }
      for (Index i = 0; i < t.queries; i += kTileRows) {
        table_.dots(q + i, std::min(kTileRows, t.queries - i), k, block, padded_dim_,
                    scores.row(i) + j, scores.view().stride);
      }
    }
  }

  const float* padded_copy(const float* from, float* to) const {
    std::copy_n(from, shape_.head_dim, to);
    std::fill(to + shape_.head_dim, to + padded_dim_, 0.0f);
    return to;
  }

  // Scores of query i for its `count` keys -> probabilities, in place.
  void probabilities(const Tile& t, Index i, Index count, float* scores) const {
    const AttentionSequence& sequence = t.sequence;
    for (Index j = 0; j < count; ++j) scores[j] *= shape_.scale;
    if (sequence.bias != nullptr) {
      const float* bias = sequence.bias + t.head * sequence.bias_head_stride +
                          (t.query + i) * sequence.bias_query_stride;
      for (Index j = 0; j < count; ++j) scores[j] += bias[t.keys.position(j)];
    }
    if (count > 0) table_.softmax(scores, count);
    if (sequence.probabilities == nullptr) return;
    const Index total = t.keys.total();
    float* out = sequence.probabilities + (t.head * sequence.query_count + t.query + i) * total;
    std::fill_n(out, total, 0.0f);
    for (Index j = 0; j < count; ++j) out[t.keys.position(j)] = scores[j];
  }

  // Adds the values of the keys [begin, end). The keys of the first of kTileRows queries are keys
  // of all of them. Later keys are added query by query, so that a query's sum never contains a key
  // that is masked out, not even with the factor 0.
  void sum_values(const Tile& t, Index begin, Index end, const Index* counts, const Matrix& scores,
                  MutableMatrixView out) const {
    const float* v[kKeyBlock];
    for (Index j = begin; j < end; ++j) {
      v[j - begin] = t.keys.value(j) + key_offset(t);
    }
    const auto sum = [&](Index row, Index rows, Index from, Index to) {
      if (from >= to) return;
      table_.weighted_sum(scores.row(row) + from, scores.view().stride, rows, v + (from - begin),
                          to - from, shape_.head_dim, out.row(row), out.stride);
    };
    for (Index i = 0; i < t.queries; i += kTileRows) {
      const Index rows = std::min(kTileRows, t.queries - i);
      const Index common = std::clamp(counts[i], begin, end);
      sum(i, rows, begin, common);
      for (Index r = i + 1; r < i + rows; ++r) {
        sum(r, 1, common, std::min(counts[r], end));
      }
    }
  }

  const KernelTable& table_;
  MatrixView q_;
  const AttentionShape& shape_;
  Index padded_dim_;
  MutableMatrixView output_;
  std::vector<ValidKeys> keys_;  // of each sequence
  std::vector<Tile> tiles_;
  Index work_ = 0;
};

void check_shape(const AttentionShape& shape) {
  if (shape.num_heads < 1 || shape.head_dim < 1 || shape.num_key_value_heads < 1 ||
      shape.num_heads % shape.num_key_value_heads != 0) {
    throw InputError("scaled_dot_product_attention: num_heads is " +
                     std::to_string(shape.num_heads) + ", num_key_value_heads is " +
                     std::to_string(shape.num_key_value_heads) + ", head_dim is " +
                     std::to_string(shape.head_dim) +
                     "; expected positive numbers, and num_heads a multiple of "
                     "num_key_value_heads");
  }
}

void check_sequence(const AttentionSequence& sequence, std::size_t s, Index rows,
                    const AttentionShape& shape) {
  const std::string where = "scaled_dot_product_attention: sequence " + std::to_string(s);
  if (sequence.query_begin < 0 || sequence.query_count < 0 ||
      sequence.query_begin + sequence.query_count > rows) {
    throw InputError(where + " has query rows [" + std::to_string(sequence.query_begin) + ", " +
                     std::to_string(sequence.query_begin + sequence.query_count) + "), but q has " +
                     std::to_string(rows) + " rows");
  }
  const Index width = shape.num_key_value_heads * shape.head_dim;
  for (const KeyValueSpan& span : sequence.keys) {
    if (span.count < 0 || (span.count > 0 && (span.keys == nullptr || span.values == nullptr)) ||
        (span.count > 1 && span.stride < width)) {
      throw InputError(where + " has a span of " + std::to_string(span.count) +
                       " keys with stride " + std::to_string(span.stride) +
                       ", expected data and a stride of at least " + std::to_string(width));
    }
  }
}

}  // namespace

void scaled_dot_product_attention(MatrixView q, const AttentionShape& shape,
                                  std::span<const AttentionSequence> sequences,
                                  MutableMatrixView output) {
  check_shape(shape);
  check_matrix("scaled_dot_product_attention: q", q, q.rows, shape.num_heads * shape.head_dim);
  check_matrix("scaled_dot_product_attention: output", output, q.rows, q.cols);
  for (std::size_t s = 0; s < sequences.size(); ++s) check_sequence(sequences[s], s, q.rows, shape);
  Attention(q, shape, sequences, output).run();
}

}  // namespace instructblip
