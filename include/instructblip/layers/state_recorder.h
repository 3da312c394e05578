// StateRecorder: hidden states and attentions that a forward pass keeps when it is asked to.
#pragma once

#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/kernels/kernels.h"

namespace instructblip {

/// Which intermediate values a forward pass keeps.
struct ForwardCapture {
  bool hidden_states = false;
  bool attentions = false;
};

/// The values that were kept, over the ragged rows of the call; empty lists for what was not asked
/// for. Models pass it from layer to layer by reference. Not thread-safe: one per forward pass.
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
  /// Makes the attention call that these sequences are passed to store its probabilities here.
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
