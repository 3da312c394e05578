// The parts of models whose Q-Former reads a text with each image: InstructBLIP and
// InstructBLIP-Video.
#pragma once

#include <string>

#include "instructblip/core/error.h"
#include "models/image_text_to_text_parts.h"
#include "models/prompt.h"

namespace instructblip::detail {

/// The Q-Former's mask: all queries are valid, and the text is masked as given.
inline Tensor queries_and_text_mask(Index num_query_tokens, const ImageTextToTextInputs& inputs) {
  return prepend_columns(mask_or_ones(inputs.qformer_attention_mask, inputs.qformer_input_ids.shape,
                                      "qformer_attention_mask"),
                         num_query_tokens, 1);
}

/// The parts of a model whose Q-Former reads a text with each image.
template <class ConfigType, class VisionModel, class QFormerModel>
struct InstructedPartsOf : PartsOf<ConfigType, VisionModel, QFormerModel> {
  using PartsOf<ConfigType, VisionModel, QFormerModel>::PartsOf;

  void check_qformer_text(const ImageTextToTextInputs& inputs) const override {
    const TensorView& ids = inputs.qformer_input_ids;
    if (ids.has_value() && ids.rank() == 2) return;
    throw InputError(
        "no text given: pass the processor a text with the image (qformer_input_ids [images, "
        "length], the text for the Q-Former, are " +
        (ids.has_value() ? to_string(ids.shape) : "empty") + ")");
  }

  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs(
      const ImageTextToTextInputs& inputs, const BaseModelOutputWithPooling& vision_outputs,
      const ForwardCapture& capture) const override {
    const Tensor& image_embeds = vision_outputs.last_hidden_state;
    const Index images = inputs.qformer_input_ids.dim(0);
    const bool shared = inputs.vision_features != nullptr && image_embeds.dim(0) == 1;
    if (image_embeds.rank() != 3 || (image_embeds.dim(0) != images && !shared)) {
      throw InputError("there are " + std::to_string(image_embeds.dim(0)) + " images and " +
                       std::to_string(images) +
                       " texts for the Q-Former: each image needs one (qformer_input_ids " +
                       to_string(inputs.qformer_input_ids.shape) +
                       " do not match the vision tower's output " +
                       to_string(image_embeds.shape()) + ")");
    }
    return this->qformer.forward(
        {.input_ids = inputs.qformer_input_ids,
         .attention_mask = queries_and_text_mask(this->own_config.num_query_tokens, inputs),
         .query_embeds = this->query_tokens,
         .encoder_hidden_states = image_embeds,
         .output_hidden_states = capture.hidden_states,
         .output_attentions = capture.attentions});
  }
};

}  // namespace instructblip::detail
