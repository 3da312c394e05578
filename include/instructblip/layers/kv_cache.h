// Keys and values of past positions, in blocks that sequences share until they differ.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {

/// The cache of one generation. Each sequence is a list of blocks of `block_positions` positions; a
/// block holds keys and values of every layer. Beams and candidates that continue one prefix share
/// its blocks; reordering moves no keys (a shared last block that is not full is copied when a
/// sequence appends to it). Not thread-safe: one generation, one cache.
class INSTRUCTBLIP_EXPORT KvCache {
 public:
  /// width: num_key_value_heads * head_dim. Throws InputError on a negative number, or blocks of no
  /// positions.
  KvCache(Index layers, Index width, Index sequences, Index block_positions = 32);

  Index layers() const { return layers_; }
  Index sequences() const { return static_cast<Index>(tables_.size()); }
  /// Positions cached for a sequence. Throws InputError if it does not exist.
  Index length(Index sequence) const { return table(sequence).length; }

  /// Makes room for rows.count(s) more positions of each sequence s; once per forward pass, before
  /// `write`. Throws InputError if the rows are of another number of sequences.
  void extend(const RowTable& rows);
  /// Stores keys and values [rows, width] of one layer in the room made by the last `extend(rows)`.
  /// Throws InputError if layer or shapes do not fit, or there is no such room.
  void write(Index layer, MatrixView keys, MatrixView values, const RowTable& rows);
  /// Everything cached for one sequence and layer, in order; valid until either is changed. Throws
  /// InputError if the layer or the sequence does not exist.
  std::vector<KeyValueSpan> spans(Index layer, Index sequence) const;

  /// New sequence i continues old sequence sources[i]; any number of new sequences. Covers beams
  /// (reorder), candidates (fork: {0, 0, 0}) and finished rows (select). Throws InputError if a
  /// source does not exist.
  void reorder(std::span<const Index> sources);

 private:
  struct Block {
    explicit Block(Index floats) : data(Tensor::uninitialized(DType::Float32, {floats})) {}
    Tensor data;  // [layers][keys, values][block_positions][width]
  };
  struct Table {
    std::vector<std::shared_ptr<Block>> blocks;
    Index length = 0;
  };

  const Table& table(Index sequence) const;
  float* slot(Block& block, Index layer, Index part, Index position) const;

  Index layers_, width_, block_positions_;
  std::vector<Table> tables_;
};

}  // namespace instructblip
