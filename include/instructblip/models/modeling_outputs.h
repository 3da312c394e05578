// The results of the models' `forward`, with the reference's field names and padded shapes. Mirrors
// transformers' modeling_outputs.py and the output classes of
// models/instructblip/modeling_instructblip.py and models/blip_2/modeling_blip_2.py. All tensors
// are float32. Masked positions hold zeros. Lists that were not requested are empty.
#pragma once

#include <optional>
#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/generation/language_model.h"

namespace instructblip {

/// The vision tower's output. p: patches per image.
struct BaseModelOutputWithPooling {
  Tensor last_hidden_state;  // [batch, 1 + p, hidden_size], after the final norm
  Tensor pooler_output;      // [batch, hidden_size], of the class position
  /// layers + 1 tensors with the shape of last_hidden_state. The first holds the embeddings, the
  /// last the states before the final norm.
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;  // per layer [batch, heads, 1 + p, 1 + p]
};

/// The Q-Former's output. q: queries, t: text length with padding, p: positions of the image.
struct BaseModelOutputWithPoolingAndCrossAttentions {
  Tensor last_hidden_state;  // [batch, q + t, hidden_size]
  Tensor pooler_output;      // [batch, hidden_size], of the first position
  /// layers + 1 tensors: the embeddings first, last_hidden_state last.
  std::vector<Tensor> hidden_states;
  /// Self-attention, per layer [batch, heads, q + t, q + t]. (The reference's list also holds the
  /// cross-attentions.)
  std::vector<Tensor> attentions;
  std::vector<Tensor> cross_attentions;  // per layer with cross-attention [batch, heads, q, p]
};

/// The result of `get_image_features`, which `forward` accepts instead of pixels.
struct BaseModelOutputWithVisionQformerOutputs {
  /// The projected queries, [images, num_query_tokens, text hidden_size]; of InstructBLIP-Video,
  /// [B, frames * num_query_tokens, text hidden_size].
  Tensor pooler_output;
  BaseModelOutputWithPooling vision_outputs;
  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs;
};

/// The result of the whole model's `forward`.
struct ImageTextToTextModelOutput {
  std::optional<float> loss;  // if labels were given
  Tensor logits;              // [B, length, vocab_size]; encoder-decoder: the decoder's length
  BaseModelOutputWithPooling vision_outputs;
  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs;
  LanguageModelOutputs language_model_outputs;
};
using InstructBlipForConditionalGenerationModelOutput = ImageTextToTextModelOutput;
using InstructBlipVideoForConditionalGenerationModelOutput = ImageTextToTextModelOutput;
using Blip2ForConditionalGenerationModelOutput = ImageTextToTextModelOutput;

/// The result of Blip2VisionModelWithProjection: the vision tower's output, and the queries in the
/// space in which images and texts are compared, of length 1.
struct Blip2VisionModelOutput {
  Tensor image_embeds;       // [images, num_query_tokens, image_text_hidden_size]
  Tensor last_hidden_state;  // [images, 1 + p, vision hidden_size]
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;
};

/// The result of Blip2TextModelWithProjection: the Q-Former's output for the text alone, and all
/// its positions in that space, of length 1. The first stands for the text.
struct Blip2TextModelOutput {
  Tensor text_embeds;        // [texts, t, image_text_hidden_size]
  Tensor last_hidden_state;  // [texts, t, Q-Former hidden_size]
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;
};

/// The result of Blip2ForImageTextRetrieval. Contrast: the similarities of all images and texts,
/// cosines. Matching: for each pair of an image and a text the logits of "no" and "yes".
struct Blip2ImageTextMatchingModelOutput {
  Tensor logits_per_image;  // [images, texts]; matching: [pairs, 2]
  Tensor logits_per_text;   // the same transposed
  Tensor text_embeds;   // [texts, image_text_hidden_size]; matching: the Q-Former's states of pairs
  Tensor image_embeds;  // as in Blip2VisionModelOutput; matching: the vision tower's states
  BaseModelOutputWithPoolingAndCrossAttentions text_model_output;  // matching: of the pairs
  BaseModelOutputWithPooling vision_model_output;
};

}  // namespace instructblip
