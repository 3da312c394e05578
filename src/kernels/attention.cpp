// scaled_dot_product_attention: finds the keys of each query and divides the work among threads.
// The arithmetic is a level's `panels`, `softmax` and `weighted_sum` (kernel_table.h): a score is
// one chain over the elements of a head, and an output one chain over the keys. The attention of a
// bfloat16 model is multiplied in tiles (tile_kernels.h), whose sums have an order of their own.
#include <algorithm>

#include "instructblip/core/threads.h"
#include "instructblip/kernels/kernels.h"
#include "kernels/checks.h"
#include "kernels/kernel_table.h"
#include "kernels/panels.h"
#include "kernels/row_blocks.h"

namespace instructblip {
namespace {

// Queries whose scores are in the second-level cache at the same time.
constexpr Index kQueryBlock = 64;
// With this many queries or more, the values are copied into panels.
constexpr Index kManyQueries = 8;
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

// Queries [begin, end) of one sequence and head.
struct Task {
  const AttentionSequence& sequence;
  const ValidKeys& keys;
  Index head, begin, end;
};

// A matrix of one task in panels (panels.h): [depth, outs].
class HeadPanels {
 public:
  HeadPanels(Index outs, Index depth)
      : data_(panel_count(outs), kPanelOutputs * std::max<Index>(1, depth)) {}

  Index count() const { return data_.rows(); }
  float* panel(Index i) { return data_.row(i); }

  // sums [x.rows, >= kPanelOutputs * count()] = products of x with the first `depth` rows.
  void multiply(const KernelTable& table, MatrixView x, Index depth, MutableMatrixView sums) const {
    RowTiles tiles(table, x.rows, depth, std::max<Index>(1, depth));
    for (Index i = 0; i < tiles.count(); ++i) tiles.pack(x, i);
    for (Index panel = 0; panel < count(); ++panel) {
      for (Index i = 0; i < tiles.count(); ++i) {
        table.products.panels(
            {.x = tiles.tile(i, 0),
             .rows = tiles.rows(i),
             .depth = depth,
             .weight = data_.row(panel),
             .outs = kPanelOutputs,
             .sums = sums.row(i * table.products.panel_rows) + panel * kPanelOutputs,
             .sums_stride = sums.stride,
             .first = true,
             .next = nullptr,
             .next_step = 0});
      }
    }
  }

 private:
  Matrix data_;
};

// A matrix of one task as tiles of B (tile_kernels.h), [depth, outs]: rounded to bfloat16, or the
// sum of two bfloat16 matrices.
class HeadTiles {
 public:
  HeadTiles(const TileKernels& tiles, Index outs, Index depth, bool split)
      : tiles_(tiles),
        count_((outs + kTileSize - 1) / kTileSize),
        depth_(round_up(depth, kTileDepth)),
        numbers_(count_ * kTileSize * depth_, split) {}

  // The outputs together with those that fill the last tile.
  Index outs() const { return count_ * kTileSize; }

  // Fills tile `tile` from input k on. x: a row of `count` inputs for each output of the tile.
  void pack(Index tile, Index k, MatrixView x) {
    const Index i = (tile * depth_ + k) * kTileSize;
    tiles_.pack(x.row(0), x.stride, x.rows, kTileSize, x.cols, numbers_.high(i), numbers_.low(i));
  }

  // sums [rows rounded up to kTileSize, outs()] = products of rows of x.
  void multiply(const RowBlocks& x, Index rows, MutableMatrixView sums) const {
    for (Index r = 0; r < rows; r += 2 * kTileSize) {
      for (Index tile = 0; tile < count_; tile += 2) {
        tiles_.multiply({.a = x.high(r, 0),
                         .a_low = x.low(r, 0),
                         .a_stride = kTileDepth,
                         .a_step = x.kStep,
                         .a_next = x.next(),
                         .rows = std::min(2 * kTileSize, round_up(rows - r, kTileSize)),
                         .depth = depth_,
                         .a_passes = false,
                         .b = numbers_.high(tile * kTileSize * depth_),
                         .b_low = numbers_.low(tile * kTileSize * depth_),
                         .b_stride = 2 * kTileSize,
                         .b_next = kTileSize * depth_,
                         .b_third = 0,
                         .b_tiles = std::min<Index>(2, count_ - tile),
                         .columns = kTileSize,
                         .sums = sums.row(r) + tile * kTileSize,
                         .sums_stride = sums.stride,
                         .first = true,
                         .next_sums = nullptr,
                         .next = nullptr,
                         .next_stride = 0,
                         .next_step = 0,
                         .next_rows = 0});
      }
    }
  }

 private:
  const TileKernels& tiles_;
  Index count_, depth_;
  SplitNumbers numbers_;
};

class Attention {
 public:
  Attention(MatrixView q, const AttentionShape& shape, std::span<const AttentionSequence> sequences,
            MutableMatrixView output)
      : table_(kernels()), q_(q), shape_(shape), output_(output) {
    keys_.reserve(sequences.size());  // the tasks refer to its elements
    const auto heads = shape.num_heads * static_cast<Index>(sequences.size());
    // A task packs all of its keys, so queries are divided only if there are too few heads.
    const Index parts = heads == 0 ? 1 : (2 * num_threads() + heads - 1) / heads;
    for (const AttentionSequence& sequence : sequences) {
      const ValidKeys& keys = keys_.emplace_back(sequence);
      const Index count = sequence.query_count;
      const Index step = parts == 1 ? std::max<Index>(1, count)
                                    : std::max(kManyQueries, (count + parts - 1) / parts);
      for (Index head = 0; head < shape.num_heads; ++head) {
        for (Index i = 0; i < count; i += step) {
          tasks_.push_back({sequence, keys, head, i, std::min(i + step, count)});
        }
      }
      work_ += shape.num_heads * count * keys.count() * shape.head_dim;
    }
  }

  void run() const {
    const auto tasks = static_cast<Index>(tasks_.size());
    if (tasks == 0) return;
    const Index grain = kAttentionGrain / std::max<Index>(1, work_ / tasks) + 1;
    parallel_for(tasks, grain, [&](Index begin, Index end) {
      for (Index t = begin; t < end; ++t) compute(tasks_.data()[t]);
    });
  }

 private:
  void compute(const Task& t) const {
    // The same for every query of a sequence, so that its bits do not depend on the others.
    if (shape_.dtype == DType::BFloat16 && table_.tiles != nullptr &&
        t.sequence.causal_offset < 0 && t.keys.count() > 0) {
      compute_in_tiles(t);
    } else {
      compute_in_panels(t);
    }
  }

  void compute_in_tiles(const Task& t) const {
    const TileKernels& tiles = *table_.tiles;
    const Index count = t.keys.count(), width = shape_.head_dim;
    const bool split = shape_.activations == DType::Float32;
    HeadTiles keys(tiles, count, width, split), values(tiles, width, count, split);
    pack_tiles(t, keys, values);
    Matrix scores(kQueryBlock, keys.outs()), sums(kQueryBlock, values.outs());
    tiles.begin();
    for (Index i = t.begin; i < t.end; i += kQueryBlock) {
      const Index queries = std::min(kQueryBlock, t.end - i), row = t.sequence.query_begin + i;
      const auto head = [&](auto m) {
        return m.middle_rows(row, queries).middle_cols(t.head * width, width);
      };
      keys.multiply(RowBlocks(tiles, head(q_), split), queries, scores);
      for (Index r = 0; r < queries; ++r) probabilities(t, i + r, count, scores.row(r));
      const MatrixView p = scores.view().middle_rows(0, queries).middle_cols(0, count);
      values.multiply(RowBlocks(tiles, p, split), queries, sums);
      const MutableMatrixView out = head(output_);
      for (Index r = 0; r < queries; ++r) std::copy_n(sums.row(r), width, out.row(r));
    }
    tiles.end();
  }

  void pack_tiles(const Task& t, HeadTiles& keys, HeadTiles& values) const {
    static_assert(kPanelOutputs == kTileDepth && kTileDepth == 2 * kTileSize);
    const Index count = t.keys.count(), width = shape_.head_dim;
    Matrix rows(kTileDepth, width), transposed(width, kTileDepth);
    for (Index j = 0; j < count; j += kTileDepth) {
      const Index some = std::min(kTileDepth, count - j);
      const float* from[kTileDepth];
      for (Index r = 0; r < some; ++r) {
        std::copy_n(t.keys.key(j + r) + key_offset(t), width, rows.row(r));
        from[r] = t.keys.value(j + r) + key_offset(t);
      }
      for (Index r = 0; r < some; r += kTileSize) {
        keys.pack((j + r) / kTileSize, 0,
                  rows.view().middle_rows(r, std::min(kTileSize, some - r)));
      }
      table_.pack(from, some, kPanelOutputs, width, transposed.row(0));
      for (Index d = 0; d < width; d += kTileSize) {
        values.pack(d / kTileSize, j,
                    transposed.view().middle_rows(d, std::min(kTileSize, width - d)));
      }
    }
  }

  void compute_in_panels(const Task& t) const {
    const Index most = t.keys.count_for(t.end - 1, t.sequence.causal_offset);
    HeadPanels keys(most, shape_.head_dim);
    pack_keys(t, most, keys);
    const bool many = t.end - t.begin >= kManyQueries;
    HeadPanels values(many ? shape_.head_dim : 0, most);
    if (many) pack_values(t, most, values);
    for (Index i = t.begin; i < t.end; i += kQueryBlock) {
      const Index queries = std::min(kQueryBlock, t.end - i);
      const MatrixView q = q_.middle_rows(t.sequence.query_begin + i, queries)
                               .middle_cols(t.head * shape_.head_dim, shape_.head_dim);
      Matrix scores(queries, std::max<Index>(1, keys.count()) * kPanelOutputs);
      keys.multiply(table_, q, shape_.head_dim, scores);
      Index counts[kQueryBlock];  // keys of each query
      for (Index r = 0; r < queries; ++r) {
        counts[r] = t.keys.count_for(i + r, t.sequence.causal_offset);
        probabilities(t, i + r, counts[r], scores.row(r));
      }
      sum_values(t, i, counts, scores, many ? &values : nullptr);
    }
  }

  Index key_offset(const Task& t) const {
    return t.head / (shape_.num_heads / shape_.num_key_value_heads) * shape_.head_dim;
  }

  void pack_keys(const Task& t, Index count, HeadPanels& panels) const {
    for (Index panel = 0; panel < panels.count(); ++panel) {
      const Index begin = panel * kPanelOutputs;
      const Index outs = std::clamp<Index>(count - begin, 0, kPanelOutputs);
      const float* rows[kPanelOutputs];
      for (Index j = 0; j < outs; ++j) rows[j] = t.keys.key(begin + j) + key_offset(t);
      table_.pack(rows, outs, kPanelOutputs, shape_.head_dim, panels.panel(panel));
    }
  }

  void pack_values(const Task& t, Index count, HeadPanels& panels) const {
    for (Index panel = 0; panel < panels.count(); ++panel) {
      const Index d = panel * kPanelOutputs;
      const Index outs = std::clamp<Index>(shape_.head_dim - d, 0, kPanelOutputs);
      float* to = panels.panel(panel);
      for (Index j = 0; j < count; ++j, to += kPanelOutputs) {
        if (outs > 0) std::copy_n(t.keys.value(j) + key_offset(t) + d, outs, to);
        std::fill(to + outs, to + kPanelOutputs, 0.0f);
      }
    }
  }

  // Scores of query i for its `count` keys -> probabilities, in place.
  void probabilities(const Task& t, Index i, Index count, float* scores) const {
    const AttentionSequence& sequence = t.sequence;
    float scale = shape_.scale;
    if (sequence.bias != nullptr) {
      const float* bias =
          sequence.bias + t.head * sequence.bias_head_stride + i * sequence.bias_query_stride;
      for (Index j = 0; j < count; ++j) {
        scores[j] = scores[j] * scale + bias[t.keys.position(j)];
      }
      scale = 1.0f;
    }
    if (count > 0) table_.softmax(scores, count, scale);
    if (sequence.probabilities == nullptr) return;
    const Index total = t.keys.total();
    float* out = sequence.probabilities + (t.head * sequence.query_count + i) * total;
    std::fill_n(out, total, 0.0f);
    for (Index j = 0; j < count; ++j) out[t.keys.position(j)] = scores[j];
  }

  // The outputs of the queries from `first` on. Queries are taken in groups. The keys of a group's
  // first query are keys of all of them. Later keys are added query by query, so that a query's sum
  // never contains a key that is masked out, not even with the factor 0.
  void sum_values(const Task& t, Index first, const Index* counts, const Matrix& probabilities,
                  const HeadPanels* values) const {
    const MutableMatrixView out =
        output_.middle_rows(t.sequence.query_begin + first, probabilities.rows())
            .middle_cols(t.head * shape_.head_dim, shape_.head_dim);
    const Index group = values != nullptr ? table_.products.panel_rows : kTileRows;
    Matrix sums(values != nullptr ? group : 0,
                values != nullptr ? values->count() * kPanelOutputs : 1);
    for (Index i = 0; i < out.rows; i += group) {
      const Index rows = std::min(group, out.rows - i);
      if (values != nullptr) {
        values->multiply(table_, probabilities.view().middle_rows(i, rows), counts[i], sums);
        for (Index r = 0; r < rows; ++r) {
          std::copy_n(sums.row(r), shape_.head_dim, out.row(i + r));
        }
      } else {
        for (Index r = i; r < i + rows; ++r) std::fill_n(out.row(r), shape_.head_dim, 0.0f);
        add_values(t, i, rows, 0, counts[i], probabilities, out);
      }
      for (Index r = i + 1; r < i + rows; ++r) {
        add_values(t, r, 1, counts[i], counts[r], probabilities, out);
      }
    }
  }

  // Adds the values of the keys [begin, end) to `rows` outputs from row `row` on.
  void add_values(const Task& t, Index row, Index rows, Index begin, Index end,
                  const Matrix& probabilities, MutableMatrixView out) const {
    constexpr Index kBlock = 64;
    for (Index j = begin; j < end; j += kBlock) {
      const Index count = std::min(kBlock, end - j);
      const float* v[kBlock];
      for (Index k = 0; k < count; ++k) v[k] = t.keys.value(j + k) + key_offset(t);
      table_.weighted_sum(probabilities.row(row) + j, probabilities.view().stride, rows, v, count,
                          shape_.head_dim, out.row(row), out.stride);
    }
  }

  const KernelTable& table_;
  MatrixView q_;
  const AttentionShape& shape_;
  MutableMatrixView output_;
  std::vector<ValidKeys> keys_;  // of each sequence
  std::vector<Task> tasks_;
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
