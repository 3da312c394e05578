#include "generation/step_states.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "instructblip/core/error.h"

namespace instructblip::detail {

void check_captured(const Tensor& tensor, const Shape& expected) {
  if (tensor.shape() == expected) return;
  throw InputError("the language model captured a tensor of shape " + to_string(tensor.shape()) +
                   ", expected " + to_string(expected));
}

// [rows of all sequences, width] -> [sequences, length, width], zeros where columns name nothing.
Tensor scatter_rows(const Tensor& rows, std::span<const std::vector<Index>> columns, Index length) {
  Index count = 0;
  for (const auto& row : columns) count += static_cast<Index>(row.size());
  const Index width = rows.dim(1);
  check_captured(rows, {count, width});
  Tensor result(DType::Float32, {static_cast<Index>(columns.size()), length, width});
  const float* in = rows.data<float>();
  for (std::size_t s = 0; s < columns.size(); ++s) {
    for (const Index column : columns[s]) {
      std::copy_n(in, width,
                  result.data<float>() + (static_cast<Index>(s) * length + column) * width);
      in += width;
    }
  }
  return result;
}

// One [heads, queries, keys] per sequence -> [sequences, heads, query_length, key_length].
Tensor scatter_attentions(std::span<const Tensor> attentions,
                          std::span<const std::vector<Index>> queries, Index query_length,
                          std::span<const std::vector<Index>> keys, Index key_length) {
  const Index heads = attentions.empty() ? 0 : attentions.front().dim(0);
  Tensor result(DType::Float32,
                {static_cast<Index>(attentions.size()), heads, query_length, key_length});
  for (std::size_t s = 0; s < attentions.size(); ++s) {
    check_captured(attentions[s], {heads, static_cast<Index>(queries[s].size()),
                                   static_cast<Index>(keys[s].size())});
    const float* in = attentions[s].data<float>();
    for (Index head = 0; head < heads; ++head) {
      for (const Index query : queries[s]) {
        float* out = result.data<float>() +
                     ((static_cast<Index>(s) * heads + head) * query_length + query) * key_length;
        for (const Index key : keys[s]) out[key] = *in++;
      }
    }
  }
  return result;
}

// Each sequence of the first dimension `copies` times.
Tensor repeat(const Tensor& tensor, Index copies) {
  if (copies == 1) return tensor;
  Shape shape = tensor.shape();
  const Index sequences = shape[0], size = sequences == 0 ? 0 : tensor.size() / sequences;
  shape[0] *= copies;
  Tensor result = Tensor::uninitialized(DType::Float32, shape);
  float* out = result.data<float>();
  for (Index i = 0; i < sequences * copies; ++i) {
    out = std::copy_n(tensor.data<float>() + i / copies * size, size, out);
  }
  return result;
}

std::vector<Index> first_columns(Index count) {
  std::vector<Index> columns(static_cast<std::size_t>(count));
  std::iota(columns.begin(), columns.end(), Index{0});
  return columns;
}

void StepStates::add_prompt(const Decoding& decoding, GenerateOutput& output) {
  const Prompt& prompt = inputs_.prompt;
  const Index copies = resolved_.expand_size();
  const auto batch = static_cast<std::size_t>(prompt.batch());
  keys_ = prompt.valid_columns;
  key_length_ = prompt.padded_length;
  if (prompt.is_encoder_decoder) {
    encoder_keys_ = std::exchange(keys_, Columns(batch, first_columns(prompt.length())));
    key_length_ = prompt.length();
    if (const StateRecorder* encoder = decoding.state().encoder_states()) {
      for (const Tensor& layer : encoder->hidden_states) {
        output.encoder_hidden_states.push_back(
            scatter_rows(layer, encoder_keys_, prompt.padded_length));
      }
      for (const std::vector<Tensor>& layer : encoder->attentions) {
        output.encoder_attentions.push_back(scatter_attentions(
            layer, encoder_keys_, prompt.padded_length, encoder_keys_, prompt.padded_length));
      }
    }
  }
  const Columns queries = keys_;
  add(decoding.states(), queries, key_length_, output);
  for (auto* steps : {&output.hidden_states, &output.attentions, &output.decoder_hidden_states,
                      &output.decoder_attentions, &output.cross_attentions}) {
    for (std::vector<Tensor>& layers : *steps) {
      for (Tensor& layer : layers) layer = repeat(layer, copies);
    }
  }
  const auto fork = [copies](const Columns& columns) {
    Columns forked;
    for (const auto& row : columns)
      forked.insert(forked.end(), static_cast<std::size_t>(copies), row);
    return forked;
  };
  keys_ = fork(keys_);
  encoder_keys_ = fork(encoder_keys_);
}

void StepStates::add_step(const StateRecorder& states, GenerateOutput& output) {
  // Beams of one prompt have the same columns, so that their order does not matter here.
  for (std::vector<Index>& columns : keys_) columns.push_back(key_length_);
  ++key_length_;
  add(states, Columns(keys_.size(), {0}), 1, output);
}

void StepStates::add(const StateRecorder& states, const Columns& queries, Index query_length,
                     GenerateOutput& output) {
  const bool encodes = inputs_.prompt.is_encoder_decoder;
  if (resolved_.output_hidden_states) {
    auto& layers = (encodes ? output.decoder_hidden_states : output.hidden_states).emplace_back();
    for (const Tensor& layer : states.hidden_states) {
      layers.push_back(scatter_rows(layer, queries, query_length));
    }
  }
  if (!resolved_.output_attentions) return;
  auto& layers = (encodes ? output.decoder_attentions : output.attentions).emplace_back();
  for (const std::vector<Tensor>& layer : states.attentions) {
    layers.push_back(scatter_attentions(layer, queries, query_length, keys_, key_length_));
  }
  if (!encodes) return;
  auto& cross = output.cross_attentions.emplace_back();
  for (const std::vector<Tensor>& layer : states.cross_attentions) {
    cross.push_back(scatter_attentions(layer, queries, query_length, encoder_keys_,
                                       inputs_.prompt.padded_length));
  }
}

}  // namespace instructblip::detail
