// StateRecorder: the hidden states and attentions of a forward pass, on request.
#pragma once

#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/kernels/kernels.h"

namespace instructblip {

/// Which intermediate values a forward pass records.
struct ForwardCapture {
  bool hidden_states = false;
  bool attentions = false;
};

/// The recorded values, over the ragged rows of the call. Lists that were not requested are empty.
/// Models pass the recorder by reference from layer to layer. Not thread-safe: use one per forward
/// pass.
struct StateRecorder {
  ForwardCapture capture;
  std::vector<Tensor> hidden_states;  // [layer] -> [rows, hidden_size], the embeddings first
  std::vector<std::vector<Tensor>> attentions;  // [layer][sequence] -> [heads, queries, keys]
  std::vector<std::vector<Tensor>> cross_attentions;

  StateRecorder() = default;
  explicit StateRecorder(const ForwardCapture& what) : capture(what) {}

  void add_hidden_states(const Matrix& states) {
    if (capture.hidden_states) hidden_states.push_back(states.to_tensor());
  }
  /// If attentions are recorded: makes the attention call that takes these sequences store its
  /// probabilities here.
  void add_attentions(std::vector<AttentionSequence>& sequences, Index num_heads) {
    add(attentions, sequences, num_heads);
  }
  void add_cross_attentions(std::vector<AttentionSequence>& sequences, Index num_heads) {
    add(cross_attentions, sequences, num_heads);
  }

 private:
  void add(std::vector<std::vector<Tensor>>& layers, std::vector<AttentionSequence>& sequences,
           Index num_heads) const {
    if (!capture.attentions) return;
    std::vector<Tensor>& layer = layers.emplace_back();
    for (AttentionSequence& sequence : sequences) {
      Index keys = 0;
      for (const KeyValueSpan& span : sequence.keys) keys += span.count;
      layer.emplace_back(DType::Float32, Shape{num_heads, sequence.query_count, keys});
      sequence.probabilities = layer.back().data<float>();
    }
  }
};

}  // namespace instructblip
