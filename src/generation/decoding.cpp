#include "generation/decoding.h"

#include <algorithm>
#include <string>

#include "instructblip/core/error.h"

namespace instructblip::detail {

Tensor Decoding::decode(MatrixView embeddings, const RowTable& rows) {
  DecodeOutput output = model_.decode(*state_, embeddings, rows, LogitsFor::LastRow, capture_);
  const LanguageModelTraits& traits = model_.traits();
  if (output.logits.dtype() != DType::Float32 ||
      output.logits.shape() != Shape{rows.sequences(), traits.vocab_size}) {
    throw InputError("the language model gave logits " +
                     std::string(name_of(output.logits.dtype())) + " " +
                     to_string(output.logits.shape()) + ", expected float32 " +
                     to_string(Shape{rows.sequences(), traits.vocab_size}));
  }
  states_ = std::move(output.states);
  return std::move(output.logits);
}

Tensor Decoding::prefill(const Prompt& prompt, Index expand_size) {
  const Index batch = prompt.size();
  const RowTable& rows = prompt.batch.rows;
  state_ = model_.start(prompt.embeddings, rows, capture_);
  Tensor logits;
  next_positions_.clear();
  if (prompt.is_encoder_decoder) {
    logits = decode(model_.embed_decoder_tokens(prompt.ids.span<std::int64_t>()),
                    RowTable::uniform(batch, prompt.length()));
    next_positions_.assign(static_cast<std::size_t>(batch), prompt.length());
  } else {
    logits = decode(prompt.embeddings, rows);
    for (Index s = 0; s < batch; ++s) {
      next_positions_.push_back(rows.position(rows.begin(s + 1) - 1) + 1);
    }
  }
  if (expand_size > 1) {
    std::vector<Index> sources;
    std::vector<Index> positions;
    for (Index s = 0; s < batch; ++s) {
      sources.insert(sources.end(), static_cast<std::size_t>(expand_size), s);
      positions.insert(positions.end(), static_cast<std::size_t>(expand_size),
                       next_positions_[static_cast<std::size_t>(s)]);
    }
    state_->reorder(sources);
    next_positions_ = std::move(positions);
  }
  return logits;
}

Tensor Decoding::step(std::span<const Index> sources, std::span<const std::int64_t> ids) {
  bool moved = static_cast<Index>(sources.size()) != state_->sequences();
  std::vector<Index> positions;
  RowTable rows;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    moved = moved || sources[i] != static_cast<Index>(i);
    const Index position = next_positions_[static_cast<std::size_t>(sources[i])];
    rows.append(1, position);
    positions.push_back(position + 1);
  }
  if (moved) state_->reorder(sources);
  next_positions_ = std::move(positions);
  return decode(model_.embed_decoder_tokens(ids), rows);
}

std::span<const float> row_of(const Tensor& matrix, Index r) {
  return {matrix.data<float>() + r * matrix.dim(1), static_cast<std::size_t>(matrix.dim(1))};
}

Tensor stack_rows(std::span<const std::vector<float>> rows) {
  const auto width = rows.empty() ? std::size_t{0} : rows.front().size();
  Tensor stacked = Tensor::uninitialized(
      DType::Float32, {static_cast<Index>(rows.size()), static_cast<Index>(width)});
  float* out = stacked.data<float>();
  for (const std::vector<float>& row : rows) out = std::copy(row.begin(), row.end(), out);
  return stacked;
}

std::int64_t feedable(std::int64_t id, Index vocab_size) {
  return id >= 0 && id < vocab_size ? id : 0;
}

}  // namespace instructblip::detail
