// Conversion between padded batches, as in the reference, and the ragged rows that layers compute.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/index.h"
#include "instructblip/core/tensor.h"
#include "instructblip/layers/row_table.h"

namespace instructblip {
namespace detail {
/// Converts an integer tensor to int64. Throws InputError if its shape or type is unexpected.
Tensor as_ids(const TensorView& view, const Shape& expected, std::string_view argument);
}  // namespace detail

/// The positions of a padded batch [batch, length] that the attention mask keeps. Each is a row of
/// `rows`; rows.positions are the columns, unless changed.
struct INSTRUCTBLIP_EXPORT PaddedBatch {
  Index batch = 0;
  Index length = 0;
  RowTable rows;
  std::vector<Index> columns;  // of each row, ascending within a sequence

  PaddedBatch() = default;
  /// `attention_mask` [batch, length] of an integer type or bool; if not given, every position is
  /// kept. Throws InputError, naming `argument`, if its shape is different or an element is neither
  /// 0 nor 1.
  PaddedBatch(Index batch, Index length, const TensorView& attention_mask = {},
              std::string_view argument = "attention_mask");

  Index column(Index row) const { return at(columns, row); }

  /// Takes positions from `position_ids`, [batch, length] or [1, length].
  void use_positions(const TensorView& position_ids);
  /// Counts positions 0, 1, ... over the kept columns of each sequence.
  void use_compact_positions();
  /// A batch with `copies` adjacent copies of each sequence.
  PaddedBatch repeated(Index copies) const;
  /// Adds a column at the end, which every sequence keeps. Its position follows the last one.
  void append_column();

  /// The kept elements of an int64 tensor [batch, length].
  std::vector<std::int64_t> gather_ids(const TensorView& ids) const;
  /// The kept rows of a float32 tensor [batch, length, width].
  Matrix gather(const TensorView& values) const;
  /// [rows, width] -> [batch, length, width], with zeros for padding. Like the functions below, it
  /// throws InputError if the values have an unexpected shape.
  Tensor scatter(MatrixView values) const;
  /// Per sequence [heads, queries, keys] -> [batch, heads, length, keys.length].
  Tensor scatter_attentions(const std::vector<Tensor>& attentions, const PaddedBatch& keys) const;

  /// The same for several layers.
  std::vector<Tensor> scatter(const std::vector<Tensor>& layers) const;
  std::vector<Tensor> scatter_attentions(const std::vector<std::vector<Tensor>>& layers,
                                         const PaddedBatch& keys) const;
};

/// The kept rows of a padded batch and their embeddings.
struct EmbeddedBatch {
  PaddedBatch batch;
  Matrix embeddings;  // [rows, embedding size]
};

}  // namespace instructblip
