#include "instructblip/models/modeling_instructblip.h"

#include <string>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/models/modeling_instructblip_qformer.h"
#include "models/image_text_to_text_parts.h"
#include "models/prompt.h"

namespace instructblip {
namespace {

// The Q-Former's mask: all queries are valid, and the text is masked as given.
Tensor queries_and_text_mask(Index num_query_tokens, const ImageTextToTextInputs& inputs) {
  return prepend_columns(
      detail::mask_or_ones(inputs.qformer_attention_mask, inputs.qformer_input_ids.shape,
                           "qformer_attention_mask"),
      num_query_tokens, 1);
}

// InstructBLIP's Q-Former reads a text with each image.
struct InstructBlipParts final
    : detail::PartsOf<InstructBlipConfig, InstructBlipVisionModel, InstructBlipQFormerModel> {
  using PartsOf::PartsOf;

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
    return qformer.forward(
        {.input_ids = inputs.qformer_input_ids,
         .attention_mask = queries_and_text_mask(own_config.num_query_tokens, inputs),
         .query_embeds = query_tokens,
         .encoder_hidden_states = image_embeds,
         .output_hidden_states = capture.hidden_states,
         .output_attentions = capture.attentions});
  }
};

const InstructBlipParts& own(const std::shared_ptr<const detail::ImageTextToTextParts>& parts) {
  return dynamic_cast<const InstructBlipParts&>(*parts);
}

}  // namespace

InstructBlipModel::InstructBlipModel(const Weights& weights, const InstructBlipConfig& config,
                                     bool with_head)
    : parts_(std::make_shared<const InstructBlipParts>(weights, config, with_head)) {}

InstructBlipModel::InstructBlipModel(std::shared_ptr<const detail::ImageTextToTextParts> parts)
    : parts_(std::move(parts)) {}

InstructBlipModel InstructBlipModel::from_pretrained(const std::filesystem::path& path,
                                                     const LoadOptions& options) {
  auto model = detail::load_model<InstructBlipModel>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

InstructBlipForConditionalGenerationModelOutput InstructBlipModel::forward(
    const InstructBlipInputs& inputs) const {
  InstructBlipInputs read = inputs;
  // Without logits, labels only make an encoder-decoder's decoder ids.
  if (!language_model().traits().is_encoder_decoder) read.labels = {};
  return parts_->forward(read, {inputs.output_hidden_states, inputs.output_attentions},
                         LogitsFor::None);
}

const InstructBlipConfig& InstructBlipModel::config() const { return own(parts_).own_config; }
const InstructBlipVisionModel& InstructBlipModel::vision_model() const {
  return own(parts_).vision;
}
const InstructBlipQFormerModel& InstructBlipModel::qformer() const { return own(parts_).qformer; }
const LanguageModel& InstructBlipModel::language_model() const { return *parts_->language_model; }

InstructBlipForConditionalGeneration::InstructBlipForConditionalGeneration(
    const Weights& weights, const InstructBlipConfig& config)
    : ImageTextToTextModel(std::make_shared<const InstructBlipParts>(weights, config, true)) {}

InstructBlipForConditionalGeneration InstructBlipForConditionalGeneration::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  auto model = detail::load_model<InstructBlipForConditionalGeneration>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

const InstructBlipConfig& InstructBlipForConditionalGeneration::config() const {
  return own(parts_).own_config;
}
InstructBlipModel InstructBlipForConditionalGeneration::model() const {
  return InstructBlipModel(parts_);
}

}  // namespace instructblip
