#include "generation/decoding.h"

#include <algorithm>
#include <string>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/kernels/kernels.h"

namespace instructblip::detail {

double Decoding::lap() {
  const auto now = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(now - std::exchange(last_lap_, now)).count();
}

void Decoding::end_step() {
  const std::int64_t before = std::exchange(weight_bytes_, multiplied_weight_bytes());
  output_.timings.step_weight_bytes += weight_bytes_ - before;
  output_.timings.step_seconds.push_back(lap());
}

DecodeOutput Decoding::decode(MatrixView embeddings, const RowTable& rows, LogitsFor wanted) {
  DecodeOutput output = model_.decode(
      *state_, embeddings, rows, wanted,
      {.hidden_states = resolved_.output_hidden_states, .attentions = resolved_.output_attentions});
  const Shape expected{wanted == LogitsFor::AllRows ? rows.rows() : rows.sequences(),
                       model_.traits().vocab_size};
  if (output.logits.dtype() != DType::Float32 || output.logits.shape() != expected) {
    throw InputError(
        "the language model returned logits " + std::string(name_of(output.logits.dtype())) + " " +
        to_string(output.logits.shape()) + ", expected float32 " + to_string(expected));
  }
  return output;
}

void Decoding::reorder(std::span<const Index> sources) {
  state_->reorder(sources);
  next_positions_ = selected(next_positions_, sources);
  if (!drafter_) return;
  drafter_->reorder(sources);
  verified_ = selected(verified_, sources);
}

Tensor Decoding::prefill(const Prompt& prompt) {
  const RowTable& rows = prompt.batch.rows;
  state_ = model_.start(
      prompt.embeddings, rows,
      {.hidden_states = resolved_.output_hidden_states, .attentions = resolved_.output_attentions});
  DecodeOutput output;
  if (prompt.is_encoder_decoder) {
    const RowTable decoder_rows = prompt.decoder_rows();
    output = decode(model_.embed_decoder_tokens(prompt.ids.span<std::int64_t>()), decoder_rows,
                    LogitsFor::LastRow);
    next_positions_ = decoder_rows.next_positions();
  } else {
    output = decode(prompt.embeddings, rows, LogitsFor::LastRow);
    next_positions_ = rows.next_positions();
  }
  verified_.resize(next_positions_.size());
  if (const Index copies = resolved_.expand_size(); copies > 1) {
    reorder(prompt.copied(copies));
  }
  states_.add_prompt(prompt, output.states, state_->encoder_states());
  output_.timings.prompt_seconds = lap();
  weight_bytes_ = multiplied_weight_bytes();
  return std::move(output.logits);
}

Tensor Decoding::step(std::span<const Index> sources, std::span<const std::int64_t> ids,
                      std::span<const DraftRow> draft_rows) {
  bool moved = static_cast<Index>(sources.size()) != state_->sequences();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    moved = moved || sources[i] != static_cast<Index>(i);
  }
  if (moved) reorder(sources);
  if (drafter_) return step_with_drafts(ids, draft_rows);
  RowTable rows;
  for (Index& position : next_positions_) rows.append(1, position++);
  DecodeOutput output = decode(model_.embed_decoder_tokens(ids), rows, LogitsFor::LastRow);
  states_.add_step(output.states);
  end_step();
  return std::move(output.logits);
}

std::vector<std::vector<std::int64_t>> Decoding::ids_to_feed(std::span<const std::int64_t> ids,
                                                             std::span<const DraftRow> rows) {
  std::vector<std::vector<std::int64_t>> feed(ids.size());
  std::vector<DraftRow> unforeseen;
  for (std::size_t s = 0; s < ids.size(); ++s) {
    std::deque<Verified>& verified = verified_[s];
    if (!verified.empty() && verified.front().id == ids[s]) continue;
    const Index sequence = static_cast<Index>(s);
    state_->truncate(sequence, state_->length(sequence) - std::ssize(verified));
    verified.clear();
    feed[s] = {ids[s]};
    unforeseen.push_back(rows[s]);
    if (const auto positions = model_.traits().max_position_embeddings) {
      Index& most = unforeseen.back().most;
      most = std::clamp<Index>(*positions - next_positions_[s] - 1, 0, most);
    }
  }
  if (unforeseen.empty()) return feed;
  const auto drafts = drafter_->draft(unforeseen);
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    auto& sequence = at(feed, unforeseen[i].sequence);
    sequence.insert(sequence.end(), drafts[i].begin(), drafts[i].end());
    output_.timings.drafted_ids += std::ssize(drafts[i]);
  }
  return feed;
}

Tensor Decoding::step_with_drafts(std::span<const std::int64_t> ids,
                                  std::span<const DraftRow> draft_rows) {
  const auto feed = ids_to_feed(ids, draft_rows);
  RowTable rows;
  std::vector<std::int64_t> all;
  for (std::size_t s = 0; s < feed.size(); ++s) {
    rows.append(std::ssize(feed[s]), next_positions_[s]++);
    all.insert(all.end(), feed[s].begin(), feed[s].end());
  }
  Tensor fed;
  if (!all.empty()) {
    fed = decode(model_.embed_decoder_tokens(all), rows, LogitsFor::AllRows).logits;
  }
  std::vector<std::vector<float>> logits;
  for (std::size_t s = 0; s < feed.size(); ++s) {
    std::deque<Verified>& verified = verified_[s];
    if (feed[s].empty()) {
      logits.push_back(std::move(verified.front().logits));
      verified.pop_front();
      ++output_.timings.accepted_ids;
      continue;
    }
    Index row = rows.begin(static_cast<Index>(s));
    for (std::size_t i = 0; i < feed[s].size(); ++i, ++row) {
      const auto values = row_of(fed, row);
      std::vector<float> copy(values.begin(), values.end());
      if (i == 0) {
        logits.push_back(std::move(copy));
      } else {
        verified.push_back({feed[s][i], std::move(copy)});
      }
    }
  }
  end_step();
  return stack_rows(logits);
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
