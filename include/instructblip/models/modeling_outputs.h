// What the models' `forward` returns, mirroring transformers' modeling_outputs.py and the output
// classes of models/instructblip/modeling_instructblip.py: the reference's field names and padded
// shapes. Masked positions hold zeros. Lists that were not asked for are empty.
#pragma once

#include <optional>
#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/generation/language_model.h"

namespace instructblip {

/// Of the vision tower. p: patches of an image.
struct BaseModelOutputWithPooling {
  Tensor last_hidden_state;  // [batch, 1 + p, hidden_size], after the final norm
  Tensor pooler_output;      // [batch, hidden_size], the class position
  /// layers + 1, each of the shape of last_hidden_state; [0]: embeddings, the last: before the
  /// final norm.
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;  // of each layer [batch, heads, 1 + p, 1 + p]
};

/// Of the Q-Former. q: queries, t: text with padding, p: positions of the image.
struct BaseModelOutputWithPoolingAndCrossAttentions {
  Tensor last_hidden_state;           // [batch, q + t, hidden_size]
  Tensor pooler_output;               // [batch, hidden_size], the first position
  std::vector<Tensor> hidden_states;  // layers + 1; [0]: embeddings, the last: last_hidden_state
  /// Self-attention of each layer [batch, heads, q + t, q + t] (the reference's list holds the
  /// cross-attentions between them).
  std::vector<Tensor> attentions;
  std::vector<Tensor> cross_attentions;  // of each layer that has it [batch, heads, q, p]
};

/// What `get_image_features` returns, and what `forward` takes instead of pixels.
struct BaseModelOutputWithVisionQformerOutputs {
  /// The projected queries, float32 [images, num_query_tokens, text hidden_size].
  Tensor pooler_output;
  BaseModelOutputWithPooling vision_outputs;
  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs;
};

/// What the whole model's `forward` returns.
struct InstructBlipForConditionalGenerationModelOutput {
  std::optional<float> loss;  // given labels
  Tensor logits;              // [B, length, vocab_size]; decoder length for an encoder-decoder
  BaseModelOutputWithPooling vision_outputs;
  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs;
  LanguageModelOutputs language_model_outputs;
};

}  // namespace instructblip
