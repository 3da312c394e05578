// Embedding: torch.nn.Embedding.
#pragma once

#include <cstdint>
#include <span>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/kernels/prepared_matrix.h"
#include "instructblip/layers/prepare.h"

namespace instructblip {

/// A table of vectors. Immutable; copies share the table. Safe to call from several threads.
class Embedding {
 public:
  Embedding() = default;

  /// Reads `weight` [num_embeddings, embedding_dim] of this scope. A missing or misshapen tensor is
  /// recorded in `weights` and reported by `finish`.
  Embedding(const Weights& weights, Index num_embeddings, Index embedding_dim)
      : table_(PreparedMatrix::prepare(
            weights["weight"].by_rows().get({num_embeddings, embedding_dim}),
            prepare_policy(weights))) {}

  Index num_embeddings() const { return table_.out_features(); }
  Index embedding_dim() const { return table_.in_features(); }
  /// The table itself, for an output head tied to it.
  const PreparedMatrix& weight() const { return table_; }

  /// ids -> float32 [ids, embedding_dim]. Throws InputError on an id outside the table.
  Matrix operator()(std::span<const std::int64_t> ids) const {
    Matrix y(static_cast<Index>(ids.size()), embedding_dim());
    embedding_rows(table_, ids, y);
    return y;
  }
  void operator()(std::span<const std::int64_t> ids, MutableMatrixView y) const {
    embedding_rows(table_, ids, y);
  }

 private:
  PreparedMatrix table_;
};

}  // namespace instructblip
