// Who sees whom: from ragged rows and matrices or a cache to the sequences of an attention call.
#pragma once

#include <cstdint>
#include <vector>

#include "instructblip/kernels/kernels.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {

/// Rows see the rows of their own sequence: all of them, or with `causal` those up to themselves.
/// keys, values [rows, width] (any stride) must outlive the result. key_valid [rows]: 0 where
/// nobody may look, or nullptr.
inline std::vector<AttentionSequence> self_attention(MatrixView keys, MatrixView values,
                                                     const RowTable& rows, bool causal,
                                                     const std::uint8_t* key_valid = nullptr) {
  std::vector<AttentionSequence> sequences(static_cast<std::size_t>(rows.sequences()));
  for (Index s = 0; s < rows.sequences(); ++s) {
    AttentionSequence& sequence = sequences[static_cast<std::size_t>(s)];
    const Index begin = rows.begin(s);
    sequence.query_begin = begin;
    sequence.query_count = rows.count(s);
    sequence.keys = {{keys.row(begin), values.row(begin), rows.count(s), keys.stride}};
    sequence.causal_offset = causal ? 0 : -1;
    if (key_valid != nullptr) sequence.key_valid = key_valid + begin;
  }
  return sequences;
}

/// The rows of `rows` see all rows of the same sequence in `key_rows` (text and image, decoder and
/// encoder). keys, values [key rows, width] must outlive the result; key_valid [key rows] or
/// nullptr.
inline std::vector<AttentionSequence> cross_attention(MatrixView keys, MatrixView values,
                                                      const RowTable& rows,
                                                      const RowTable& key_rows,
                                                      const std::uint8_t* key_valid = nullptr) {
  std::vector<AttentionSequence> sequences =
      self_attention(keys, values, key_rows, false, key_valid);
  for (Index s = 0; s < key_rows.sequences(); ++s) {
    sequences[static_cast<std::size_t>(s)].query_begin = rows.begin(s);
    sequences[static_cast<std::size_t>(s)].query_count = rows.count(s);
  }
  return sequences;
}

/// Rows that were just written to a cache see everything cached for their sequence, causally: each
/// up to its own position. With `causal` false they see all of it (an encoder's keys in a cache).
inline std::vector<AttentionSequence> cached_attention(const KvCache& cache, Index layer,
                                                       const RowTable& rows, bool causal = true) {
  std::vector<AttentionSequence> sequences(static_cast<std::size_t>(rows.sequences()));
  for (Index s = 0; s < rows.sequences(); ++s) {
    AttentionSequence& sequence = sequences[static_cast<std::size_t>(s)];
    sequence.query_begin = rows.begin(s);
    sequence.query_count = rows.count(s);
    sequence.keys = cache.spans(layer, s);
    sequence.causal_offset = causal ? cache.length(s) - rows.count(s) : -1;
  }
  return sequences;
}

/// Makes room for the probabilities of each sequence, [num_heads, queries, keys], and asks the call
/// to fill it.
inline std::vector<Tensor> capture_probabilities(std::vector<AttentionSequence>& sequences,
                                                 Index num_heads) {
  std::vector<Tensor> captured;
  for (AttentionSequence& sequence : sequences) {
    Index keys = 0;
    for (const KeyValueSpan& span : sequence.keys) keys += span.count;
    captured.emplace_back(DType::Float32, Shape{num_heads, sequence.query_count, keys});
    sequence.probabilities = captured.back().data<float>();
  }
  return captured;
}

/// scaled_dot_product_attention into a new matrix [rows, num_heads * head_dim].
inline Matrix attend(MatrixView q, const AttentionShape& shape,
                     const std::vector<AttentionSequence>& sequences) {
  Matrix output(q.rows, q.cols);
  scaled_dot_product_attention(q, shape, sequences, output);
  return output;
}

}  // namespace instructblip
