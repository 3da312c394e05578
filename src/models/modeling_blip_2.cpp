#include "instructblip/models/modeling_blip_2.h"

#include <string>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/models/modeling_blip_2_qformer.h"
#include "instructblip/models/modeling_blip_2_vision.h"
#include "models/image_text_to_text_parts.h"
#include "models/prompt.h"

namespace instructblip {
namespace {

// BLIP-2's Q-Former reads the image alone.
struct Blip2Parts final : detail::PartsOf<Blip2Config, Blip2VisionModel, Blip2QFormerModel> {
  using PartsOf::PartsOf;

  void check_qformer_text(const ImageTextToTextInputs& inputs) const override {
    if (inputs.qformer_input_ids.size() == 0) return;  // a processor's field that is not filled
    throw InputError(
        "qformer_input_ids are given, but BLIP-2's Q-Former reads no text: leave them out, or make "
        "the inputs with Blip2Processor");
  }

  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs(
      const ImageTextToTextInputs&, const BaseModelOutputWithPooling& vision_outputs,
      const ForwardCapture& capture) const override {
    return qformer.forward({.query_embeds = query_tokens,
                            .encoder_hidden_states = vision_outputs.last_hidden_state,
                            .output_hidden_states = capture.hidden_states,
                            .output_attentions = capture.attentions});
  }
};

const Blip2Parts& blip_2(const std::shared_ptr<const detail::ImageTextToTextParts>& parts) {
  return dynamic_cast<const Blip2Parts&>(*parts);
}

}  // namespace

Blip2Model::Blip2Model(const Weights& weights, const Blip2Config& config)
    : parts_(std::make_shared<const Blip2Parts>(weights, config, true)) {}

Blip2Model::Blip2Model(std::shared_ptr<const detail::ImageTextToTextParts> parts)
    : parts_(std::move(parts)) {}

Blip2Model Blip2Model::from_pretrained(const std::filesystem::path& path,
                                       const LoadOptions& options) {
  return Blip2ForConditionalGeneration::from_pretrained(path, options).model();
}

Blip2ForConditionalGenerationModelOutput Blip2Model::forward(const Blip2Inputs& inputs) const {
  return parts_->forward(inputs, {inputs.output_hidden_states, inputs.output_attentions},
                         LogitsFor::AllRows);
}

BaseModelOutputWithPooling Blip2Model::get_text_features(const TensorView& input_ids,
                                                         const TensorView& attention_mask,
                                                         const ForwardCapture& capture) const {
  if (input_ids.rank() != 2) {
    throw InputError("input_ids have shape " + to_string(input_ids.shape) +
                     ", expected [batch, length]");
  }
  EmbeddedBatch prompt{PaddedBatch(input_ids.dim(0), input_ids.dim(1), attention_mask), {}};
  prompt.embeddings = language_model().embed_tokens(prompt.batch.gather_ids(input_ids));
  const LanguageModelTraits& traits = language_model().traits();
  if (traits.forward_positions_from_mask) prompt.batch.use_compact_positions();
  BaseModelOutputWithPooling output;
  if (traits.is_encoder_decoder) {
    const auto state = language_model().start(prompt.embeddings, prompt.batch.rows, capture);
    const StateRecorder& states = *state->encoder_states();
    output.last_hidden_state = prompt.batch.scatter(*state->encoder_last_hidden_state());
    output.hidden_states = prompt.batch.scatter(states.hidden_states);
    output.attentions = prompt.batch.scatter_attentions(states.attentions, prompt.batch);
    return output;
  }
  LanguageModelOutputs states = language_model().forward(
      prompt,
      {.output_hidden_states = capture.hidden_states, .output_attentions = capture.attentions},
      LogitsFor::None);
  output.last_hidden_state = std::move(states.last_hidden_state);
  output.hidden_states = std::move(states.hidden_states);
  output.attentions = std::move(states.attentions);
  return output;
}

BaseModelOutputWithPooling Blip2Model::get_image_features(const TensorView& pixel_values,
                                                          bool interpolate_pos_encoding,
                                                          const ForwardCapture& capture) const {
  return parts_->encode_image(
      {.pixel_values = pixel_values, .interpolate_pos_encoding = interpolate_pos_encoding},
      capture);
}

Tensor Blip2Model::get_qformer_features(const TensorView& pixel_values,
                                        bool interpolate_pos_encoding) const {
  const Blip2Inputs inputs{.pixel_values = pixel_values,
                           .interpolate_pos_encoding = interpolate_pos_encoding};
  return parts_->qformer_outputs(inputs, parts_->encode_image(inputs, {}), {}).last_hidden_state;
}

const Blip2Config& Blip2Model::config() const { return blip_2(parts_).own_config; }
const Blip2VisionModel& Blip2Model::vision_model() const { return blip_2(parts_).vision; }
const Blip2QFormerModel& Blip2Model::qformer() const { return blip_2(parts_).qformer; }
const LanguageModel& Blip2Model::language_model() const { return *parts_->language_model; }

Blip2ForConditionalGeneration::Blip2ForConditionalGeneration(const Weights& weights,
                                                             const Blip2Config& config)
    : ImageTextToTextModel(std::make_shared<const Blip2Parts>(weights, config, true)) {}

Blip2ForConditionalGeneration Blip2ForConditionalGeneration::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  auto model = detail::load_model<Blip2ForConditionalGeneration>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

BaseModelOutputWithVisionQformerOutputs Blip2ForConditionalGeneration::get_image_features(
    const TensorView& pixel_values, bool interpolate_pos_encoding,
    const ForwardCapture& capture) const {
  return parts_->image_features(
      {.pixel_values = pixel_values, .interpolate_pos_encoding = interpolate_pos_encoding},
      capture);
}

const Blip2Config& Blip2ForConditionalGeneration::config() const {
  return blip_2(parts_).own_config;
}
Blip2Model Blip2ForConditionalGeneration::model() const { return Blip2Model(parts_); }

}  // namespace instructblip
