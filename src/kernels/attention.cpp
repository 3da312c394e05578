// scaled_dot_product_attention: which keys each query sees, and the division of work, around a
// level's `dots`, `softmax` and `weighted_sum`.
#include <algorithm>
#include <array>

#include "instructblip/core/threads.h"
#include "instructblip/kernels/kernels.h"
#include "kernels/checks.h"
#include "kernels/kernel_table.h"

namespace instructblip {
namespace {

// A multiple of the outputs of a level's tile.
constexpr Index kKeyBlock = 48;
// Queries that a block of keys serves while it is in the first-level cache.
constexpr Index kQueryBlock = 4 * kTileRows;
// Multiplications that are worth waking a thread.
constexpr Index kGrain = 1 << 17;

// The keys of one sequence that anybody sees, in order.
struct VisibleKeys {
  std::vector<const float*> keys, values;  // of head 0
  std::vector<Index> index;                // among all keys
  Index all = 0;                           // with the invalid ones

  explicit VisibleKeys(const AttentionSequence& sequence) {
    for (const KeyValueSpan& span : sequence.keys) all += span.count;
    keys.reserve(static_cast<std::size_t>(all));
    values.reserve(static_cast<std::size_t>(all));
    index.reserve(static_cast<std::size_t>(all));
    Index position = 0;
    for (const KeyValueSpan& span : sequence.keys) {
      for (Index i = 0; i < span.count; ++i, ++position) {
        if (sequence.key_valid != nullptr && sequence.key_valid[position] == 0) continue;
        keys.push_back(span.keys + i * span.stride);
        values.push_back(span.values + i * span.stride);
        index.push_back(position);
      }
    }
  }

  Index count() const { return static_cast<Index>(index.size()); }

  // How many of them query i sees: they are the first ones.
  Index seen_by(Index query, Index causal_offset) const {
    if (causal_offset < 0) return count();
    return std::upper_bound(index.begin(), index.end(), causal_offset + query) - index.begin();
  }
};

// Up to kQueryBlock queries of one sequence and head.
struct Tile {
  Index sequence, head, query, queries;
};

class Attention {
 public:
  Attention(MatrixView q, const AttentionShape& shape, std::span<const AttentionSequence> sequences,
            MutableMatrixView output)
      : table_(kernels()),
        q_(q),
        shape_(shape),
        padded_dim_((shape.head_dim + table_.lanes - 1) / table_.lanes * table_.lanes),
        sequences_(sequences),
        output_(output) {
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      visible_.emplace_back(sequences[s]);
      for (Index head = 0; head < shape.num_heads; ++head) {
        for (Index i = 0; i < sequences[s].query_count; i += kQueryBlock) {
          tiles_.push_back({static_cast<Index>(s), head, i,
                            std::min(kQueryBlock, sequences[s].query_count - i)});
        }
      }
      work_ +=
          shape.num_heads * sequences[s].query_count * visible_.back().count() * shape.head_dim;
    }
  }

  void run() const {
    const auto tiles = static_cast<Index>(tiles_.size());
    if (tiles == 0) return;
    const Index grain = kGrain / std::max<Index>(1, work_ / tiles) + 1;
    parallel_for(tiles, grain, [&](Index begin, Index end) {
      for (Index t = begin; t < end; ++t) tile(tiles_[static_cast<std::size_t>(t)]);
    });
  }

 private:
  void tile(const Tile& t) const {
    const AttentionSequence& sequence = sequences_[static_cast<std::size_t>(t.sequence)];
    const VisibleKeys& visible = visible_[static_cast<std::size_t>(t.sequence)];
    std::array<Index, kQueryBlock> seen{};
    for (Index i = 0; i < t.queries; ++i) {
      seen[static_cast<std::size_t>(i)] = visible.seen_by(t.query + i, sequence.causal_offset);
    }
    const Index most = seen[static_cast<std::size_t>(t.queries - 1)];
    Matrix scores(t.queries, std::max<Index>(1, most));
    score(t, visible, most, scores);
    for (Index i = 0; i < t.queries; ++i) {
      probabilities(t, i, visible, seen[static_cast<std::size_t>(i)], scores.row(i));
    }
    const Index row = sequence.query_begin + t.query;
    const MutableMatrixView out =
        output_.middle_rows(row, t.queries).middle_cols(t.head * shape_.head_dim, shape_.head_dim);
    for (Index i = 0; i < t.queries; ++i) std::fill_n(out.row(i), shape_.head_dim, 0.0f);
    for (Index j = 0; j < most; j += kKeyBlock) {
      sum_values(t, visible, j, std::min(j + kKeyBlock, most), seen, scores, out);
    }
  }

  Index key_offset(const Tile& t) const {
    return t.head / (shape_.num_heads / shape_.num_key_value_heads) * shape_.head_dim;
  }

  void score(const Tile& t, const VisibleKeys& visible, Index count, Matrix& scores) const {
    const Index row = sequences_[static_cast<std::size_t>(t.sequence)].query_begin + t.query;
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
        k[b] = visible.keys[static_cast<std::size_t>(j + b)] + key_offset(t);
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

  void probabilities(const Tile& t, Index i, const VisibleKeys& visible, Index seen,
                     float* scores) const {
    const AttentionSequence& sequence = sequences_[static_cast<std::size_t>(t.sequence)];
    for (Index j = 0; j < seen; ++j) scores[j] *= shape_.scale;
    if (sequence.bias != nullptr) {
      const float* bias = sequence.bias + t.head * sequence.bias_head_stride +
                          (t.query + i) * sequence.bias_query_stride;
      for (Index j = 0; j < seen; ++j)
        scores[j] += bias[visible.index[static_cast<std::size_t>(j)]];
    }
    if (seen > 0) table_.softmax(scores, seen);
    if (sequence.probabilities == nullptr) return;
    float* out =
        sequence.probabilities + (t.head * sequence.query_count + t.query + i) * visible.all;
    std::fill_n(out, visible.all, 0.0f);
    for (Index j = 0; j < seen; ++j) out[visible.index[static_cast<std::size_t>(j)]] = scores[j];
  }

  // The keys [begin, end) of one block. What the first query of a few sees, all of them see; the
  // later keys are taken row by row, so that a key that a query does not see never touches its sum.
  void sum_values(const Tile& t, const VisibleKeys& visible, Index begin, Index end,
                  const std::array<Index, kQueryBlock>& seen, const Matrix& scores,
                  MutableMatrixView out) const {
    const float* v[kKeyBlock];
    for (Index j = begin; j < end; ++j) {
      v[j - begin] = visible.values[static_cast<std::size_t>(j)] + key_offset(t);
    }
    const auto sum = [&](Index row, Index rows, Index from, Index to) {
      if (from >= to) return;
      table_.weighted_sum(scores.row(row) + from, scores.view().stride, rows, v + (from - begin),
                          to - from, shape_.head_dim, out.row(row), out.stride);
    };
    for (Index i = 0; i < t.queries; i += kTileRows) {
      const Index rows = std::min(kTileRows, t.queries - i);
      const Index common = std::clamp(seen[static_cast<std::size_t>(i)], begin, end);
      sum(i, rows, begin, common);
      for (Index r = i + 1; r < i + rows; ++r) {
        sum(r, 1, common, std::min(seen[static_cast<std::size_t>(r)], end));
      }
    }
  }

  const KernelTable& table_;
  MatrixView q_;
  const AttentionShape& shape_;
  Index padded_dim_;
  std::span<const AttentionSequence> sequences_;
  MutableMatrixView output_;
  std::vector<VisibleKeys> visible_;
  std::vector<Tile> tiles_;
  Index work_ = 0;
};

void check_shape(const AttentionShape& shape) {
  if (shape.num_heads < 1 || shape.head_dim < 1 || shape.num_key_value_heads < 1 ||
      shape.num_heads % shape.num_key_value_heads != 0) {
    throw InputError("scaled_dot_product_attention: " + std::to_string(shape.num_heads) +
                     " heads of " + std::to_string(shape.head_dim) + " over " +
                     std::to_string(shape.num_key_value_heads) +
                     " key heads: expected positive numbers, heads a multiple of key heads");
  }
}

void check_sequence(const AttentionSequence& sequence, std::size_t s, Index rows,
                    const AttentionShape& shape) {
  const std::string where = "scaled_dot_product_attention: sequence " + std::to_string(s);
  if (sequence.query_begin < 0 || sequence.query_count < 0 ||
      sequence.query_begin + sequence.query_count > rows) {
    throw InputError(where + " has the query rows [" + std::to_string(sequence.query_begin) + ", " +
                     std::to_string(sequence.query_begin + sequence.query_count) + ") of " +
                     std::to_string(rows));
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
