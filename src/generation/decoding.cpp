#include "generation/decoding.h"

#include <algorithm>
#include <string>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"

namespace instructblip::detail {

double Decoding::lap() {
  const auto now = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(now - std::exchange(last_lap_, now)).count();
}

DecodeOutput Decoding::decode(MatrixView embeddings, const RowTable& rows) {
  DecodeOutput output = model_.decode(
      *state_, embeddings, rows, LogitsFor::LastRow,
      {.hidden_states = resolved_.output_hidden_states, .attentions = resolved_.output_attentions});
  const Shape expected{rows.sequences(), model_.traits().vocab_size};
  if (output.logits.dtype() != DType::Float32 || output.logits.shape() != expected) {
    throw InputError(
        "the language model returned logits " + std::string(name_of(output.logits.dtype())) + " " +
        to_string(output.logits.shape()) + ", expected float32 " + to_string(expected));
  }
  return output;
}

void Decoding::reorder(std::span<const Index> sources) {
  state_->reorder(sources);
  std::vector<Index> positions;
  for (const Index s : sources) positions.push_back(at(next_positions_, s));
  next_positions_ = std::move(positions);
}

Tensor Decoding::prefill(const Prompt& prompt) {
  const RowTable& rows = prompt.batch.rows;
  state_ = model_.start(
      prompt.embeddings, rows,
      {.hidden_states = resolved_.output_hidden_states, .attentions = resolved_.output_attentions});
  DecodeOutput output;
  if (prompt.is_encoder_decoder) {
    output = decode(model_.embed_decoder_tokens(prompt.ids.span<std::int64_t>()),
                    RowTable::uniform(prompt.size(), prompt.length()));
    next_positions_.assign(to_size(prompt.size()), prompt.length());
  } else {
    output = decode(prompt.embeddings, rows);
    for (Index s = 0; s < prompt.size(); ++s) {
      next_positions_.push_back(rows.position(rows.begin(s + 1) - 1) + 1);
    }
  }
  if (const Index copies = resolved_.expand_size(); copies > 1) {
    std::vector<Index> sources;
    for (Index i = 0; i < prompt.size() * copies; ++i) sources.push_back(i / copies);
    reorder(sources);
  }
  states_.add_prompt(prompt, output.states, state_->encoder_states());
  output_.timings.prompt_seconds = lap();
  return std::move(output.logits);
}

Tensor Decoding::step(std::span<const Index> sources, std::span<const std::int64_t> ids) {
  bool moved = static_cast<Index>(sources.size()) != state_->sequences();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    moved = moved || sources[i] != static_cast<Index>(i);
  }
  if (moved) reorder(sources);
  RowTable rows;
  for (Index& position : next_positions_) rows.append(1, position++);
  DecodeOutput output = decode(model_.embed_decoder_tokens(ids), rows);
  states_.add_step(output.states);
  output_.timings.step_seconds.push_back(lap());
  return std::move(output.logits);
}

std::span<const float> row_of(const Tensor& matrix, Index r) {
  return {matrix.data<float>() + r * matrix.dim(1), to_size(matrix.dim(1))};
}

Tensor stack_rows(std::span<const std::vector<float>> rows) {
  const auto width = rows.empty() ? std::size_t{0} : rows.front().size();
  Tensor stacked = Tensor::uninitialized(
      DType::Float32, {static_cast<Index>(rows.size()), static_cast<Index>(width)});
  float* out = stacked.data<float>();
  for (const std::vector<float>& row : rows) out = std::copy(row.begin(), row.end(), out);
  return stacked;
}

}  // namespace instructblip::detail
