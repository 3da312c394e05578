// KvCache: keys and values of past positions, in blocks that sequences share until they diverge.
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
/// block holds the keys and values of all layers. Beams and candidates that continue the same
/// prefix share its blocks. Reordering copies no keys; a partly filled block that is shared is
/// copied when a sequence appends to it. Not thread-safe: use one cache per generation.
class INSTRUCTBLIP_EXPORT KvCache {
 public:
  /// width: num_key_value_heads * head_dim. The cache grows as needed. Throws InputError if a
  /// number is negative or block_positions is less than 1.
  KvCache(Index layers, Index width, Index sequences, Index block_positions = 32);

  Index layers() const { return layers_; }
  Index sequences() const { return static_cast<Index>(tables_.size()); }
  /// Size of a block. A sequence that diverges has at least one of its own.
  Index block_bytes() const {
    return 2 * layers_ * block_positions_ * width_ * static_cast<Index>(sizeof(float));
  }
  /// Number of positions cached for a sequence. Throws InputError if the sequence does not exist.
  Index length(Index sequence) const { return table(sequence).length; }

  /// Makes room for rows.count(s) more positions in each sequence s. Call it once per forward pass,
  /// before `write`. Throws InputError if rows.sequences() differs from sequences().
  void extend(const RowTable& rows);
  /// Stores the float32 keys and values [rows, width] of one layer in the room made by the last
  /// `extend(rows)`. Throws InputError if the layer does not exist, a shape is wrong or there is
  /// not enough room.
  void write(Index layer, MatrixView keys, MatrixView values, const RowTable& rows);
  /// Everything cached for one sequence and layer, in order. Valid until the cache changes. Throws
  /// InputError if the layer or the sequence does not exist.
  std::vector<KeyValueSpan> spans(Index layer, Index sequence) const;

  /// Makes new sequence i a continuation of old sequence sources[i]; the number of sequences may
  /// change. This reorders beams, forks candidates ({0, 0, 0}) and drops finished sequences. Throws
  /// InputError if a source does not exist.
  void reorder(std::span<const Index> sources);
  /// Forgets all but the first `length` positions of a sequence. Throws InputError if the sequence
  /// does not exist or has fewer.
  void truncate(Index sequence, Index length);

 private:
  struct Block {
    explicit Block(Index floats);
    Block(const Block& other);
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
