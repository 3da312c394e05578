// Cross-entropy as the reference's language models compute it (transformers' loss/loss_utils.py).
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/core/tensor.h"
#include "instructblip/layers/padded_batch.h"

namespace instructblip {

/// A label that is not counted.
inline constexpr std::int64_t kIgnoredLabel = -100;

/// log softmax(logits)[id], summed in double.
inline double log_probability(const float* logits, Index vocab_size, std::int64_t id) {
  float largest = -std::numeric_limits<float>::infinity();
  for (Index i = 0; i < vocab_size; ++i) largest = std::max(largest, logits[i]);
  double sum = 0;
  for (Index i = 0; i < vocab_size; ++i) sum += std::exp(double{logits[i]} - double{largest});
  return double{logits[id]} - double{largest} - std::log(sum);
}

/// Mean of -log softmax(logits)[label] over the rows whose label is not -100 (NaN if there are
/// none). logits [rows, vocab_size]. Throws InputError on a label outside the vocabulary.
inline float cross_entropy(MatrixView logits, const std::vector<std::int64_t>& labels) {
  double sum = 0;
  Index counted = 0;
  for (Index r = 0; r < logits.rows; ++r) {
    const std::int64_t label = labels[static_cast<std::size_t>(r)];
    if (label == kIgnoredLabel) continue;
    if (label < 0 || label >= logits.cols) {
      throw InputError("labels hold " + std::to_string(label) +
                       ", expected -100 or an id from 0 to " + std::to_string(logits.cols - 1));
    }
    sum -= log_probability(logits.row(r), logits.cols, label);
    ++counted;
  }
  return counted == 0 ? std::numeric_limits<float>::quiet_NaN()
                      : static_cast<float>(sum / static_cast<double>(counted));
}

/// The loss of a decoder-only model (ForCausalLMLoss): each position predicts the label of the next
/// column. logits [rows of the batch, vocab_size], labels [batch, length]. What a position outside
/// the attention mask would predict is not counted (it is not computed).
inline float for_causal_lm_loss(MatrixView logits, const TensorView& labels,
                                const PaddedBatch& batch) {
  const Tensor all = detail::as_ids(labels, {batch.batch, batch.length}, "labels");
  std::vector<std::int64_t> shifted;
  for (Index b = 0; b < batch.batch; ++b) {
    for (Index r = batch.rows.begin(b); r < batch.rows.begin(b + 1); ++r) {
      const Index next = batch.columns[static_cast<std::size_t>(r)] + 1;
      shifted.push_back(next < batch.length ? all.data<std::int64_t>()[b * batch.length + next]
                                            : kIgnoredLabel);
    }
  }
  return cross_entropy(logits, shifted);
}

/// Decoder ids of an encoder-decoder from its labels [batch, length]: the start id, then the labels
/// but the last of each row; -100 becomes padding (_shift_right).
inline Tensor shift_tokens_right(const TensorView& labels,
                                 std::optional<std::int64_t> decoder_start_token_id,
                                 std::optional<std::int64_t> pad_token_id) {
  if (labels.rank() != 2) {
    throw InputError("labels have the shape " + to_string(labels.shape) +
                     ", expected [batch, length]");
  }
  if (!decoder_start_token_id || !pad_token_id) {
    throw InputError(
        "decoder ids are made from labels only if the configuration has decoder_start_token_id and "
        "pad_token_id; add them, or pass decoder_input_ids");
  }
  const Tensor all = detail::as_ids(labels, labels.shape, "labels");
  Tensor shifted(DType::Int64, labels.shape);
  const Index length = labels.dim(1);
  for (Index i = 0; i < all.size(); ++i) {
    const std::int64_t before =
        i % length == 0 ? *decoder_start_token_id : all.data<std::int64_t>()[i - 1];
    shifted.data<std::int64_t>()[i] = before == kIgnoredLabel ? *pad_token_id : before;
  }
  return shifted;
}

}  // namespace instructblip
