// Ragged rows: the positions of several sequences one after the other, without padding.
#pragma once

#include <cstdint>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/index.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// Maps each row of a [rows, width] matrix to its sequence and its position. Prompts, batches,
/// beams and candidate answers are all stored as rows; nothing is computed for padding. Functions
/// that take an index do not check it.
struct RowTable {
  std::vector<Index> offsets{0};  // sequence s has the rows offsets[s] to offsets[s + 1] - 1
  std::vector<Index> positions;   // of each row, for rotary and learned position tables

  Index sequences() const { return static_cast<Index>(offsets.size()) - 1; }
  Index rows() const { return offsets.back(); }
  Index begin(Index s) const { return at(offsets, s); }
  Index count(Index s) const { return begin(s + 1) - begin(s); }
  Index position(Index r) const { return at(positions, r); }

  /// Appends a sequence of `count` rows at positions first_position, first_position + 1, ...
  void append(Index count, Index first_position = 0) {
    for (Index i = 0; i < count; ++i) positions.push_back(first_position + i);
    offsets.push_back(offsets.back() + count);
  }

  /// The position after the last row of each sequence, none of which may be empty.
  std::vector<Index> next_positions() const {
    std::vector<Index> next;
    for (Index s = 0; s < sequences(); ++s) next.push_back(position(begin(s + 1) - 1) + 1);
    return next;
  }

  /// A table of `sequences` sequences with `count` rows each, at positions 0, 1, ...
  static RowTable uniform(Index sequences, Index count) {
    RowTable table;
    for (Index s = 0; s < sequences; ++s) table.append(count);
    return table;
  }
};

}  // namespace instructblip
