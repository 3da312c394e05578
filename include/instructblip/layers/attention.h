// Builds the AttentionSequence list for self-, cross- and cached attention.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "instructblip/core/index.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {

/// Each row attends to all rows of its own sequence. keys, values [rows, width] (any stride) must
/// outlive the result. key_valid [rows]: 1 = valid, 0 = masked out; nullptr: all valid.
inline std::vector<AttentionSequence> self_attention(MatrixView keys, MatrixView values,
                                                     const RowTable& rows,
                                                     const std::uint8_t* key_valid = nullptr) {
  std::vector<AttentionSequence> sequences;
  for (Index s = 0; s < rows.sequences(); ++s) {
    AttentionSequence& sequence = sequences.emplace_back();
    const Index begin = rows.begin(s);
    sequence.query_begin = begin;
    sequence.query_count = rows.count(s);
    sequence.keys = {{keys.row(begin), values.row(begin), rows.count(s), keys.stride}};
    if (key_valid != nullptr) sequence.key_valid = key_valid + begin;
  }
  return sequences;
}

/// Each row of sequence s attends to all rows of sequence sources[s] of `key_rows` (for example, a
/// decoder to its encoder). Without `sources`, it attends to sequence s. keys, values [key rows,
/// width] must outlive the result. key_valid [key rows]: 1 = valid, 0 = masked out; nullptr: all
/// valid.
inline std::vector<AttentionSequence> cross_attention(MatrixView keys, MatrixView values,
                                                      const RowTable& rows,
                                                      const RowTable& key_rows,
                                                      const std::uint8_t* key_valid = nullptr,
                                                      std::span<const Index> sources = {}) {
  std::vector<AttentionSequence> sequences;
  for (Index s = 0; s < rows.sequences(); ++s) {
    AttentionSequence& sequence = sequences.emplace_back();
    const Index source = sources.empty() ? s : at(sources, s);
    const Index begin = key_rows.begin(source);
    sequence.query_begin = rows.begin(s);
    sequence.query_count = rows.count(s);
    sequence.keys = {{keys.row(begin), values.row(begin), key_rows.count(source), keys.stride}};
    if (key_valid != nullptr) sequence.key_valid = key_valid + begin;
  }
  return sequences;
}

/// Causal attention. Rows that were just written to a cache attend to everything cached for their
/// sequence, up to and including their own position.
inline std::vector<AttentionSequence> cached_attention(const KvCache& cache, Index layer,
                                                       const RowTable& rows) {
  std::vector<AttentionSequence> sequences;
  for (Index s = 0; s < rows.sequences(); ++s) {
    AttentionSequence& sequence = sequences.emplace_back();
    sequence.query_begin = rows.begin(s);
    sequence.query_count = rows.count(s);
    sequence.keys = cache.spans(layer, s);
    sequence.causal_offset = cache.length(s) - rows.count(s);
  }
  return sequences;
}

/// Returns scaled_dot_product_attention as a new matrix [rows, num_heads * head_dim].
inline Matrix attend(MatrixView q, const AttentionShape& shape,
                     const std::vector<AttentionSequence>& sequences) {
  Matrix output(q.rows, q.cols);
  scaled_dot_product_attention(q, shape, sequences, output);
  return output;
}

}  // namespace instructblip
