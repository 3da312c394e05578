#include "instructblip/models/modeling_instructblipvideo.h"

#include <algorithm>
#include <utility>

#include "instructblip/models/modeling_instructblipvideo_parts.h"
#include "models/instructed_parts.h"

namespace instructblip {
namespace {

// [B, frames, 3, height, width] -> [B * frames, 3, height, width].
Tensor frames_of(const TensorView& pixel_values) {
  Shape shape(pixel_values.shape.begin() + 1, pixel_values.shape.end());
  shape[0] *= pixel_values.dim(0);
  return Tensor::copy_of(pixel_values).reshaped(shape);
}

// InstructBLIP's, with several images and one text per sample.
struct InstructBlipVideoParts final
    : detail::InstructedPartsOf<InstructBlipVideoConfig, InstructBlipVideoVisionModel,
                                InstructBlipVideoQFormerModel> {
  using InstructedPartsOf::InstructedPartsOf;

  BaseModelOutputWithPooling encode_image(const ImageTextToTextInputs& given,
                                          const ForwardCapture& capture) const override {
    if (given.pixel_values.rank() != 5) return InstructedPartsOf::encode_image(given, capture);
    const Tensor frames = frames_of(given.pixel_values);
    InstructBlipVideoInputs inputs = given;
    inputs.pixel_values = frames;
    return InstructedPartsOf::encode_image(inputs, capture);
  }

  BaseModelOutputWithVisionQformerOutputs image_features(
      const ImageTextToTextInputs& given, const ForwardCapture& capture) const override {
    if (given.mm_encoder_outputs != nullptr) return *given.mm_encoder_outputs;
    check_qformer_text(given);
    const Index samples = given.qformer_input_ids.dim(0), images = count_images(given);
    // 1 if they do not match; qformer_outputs reports it.
    const Index frames =
        samples > 0 && images % samples == 0 ? std::max<Index>(1, images / samples) : 1;
    InstructBlipVideoInputs inputs = given;
    const Tensor ids = Tensor::copy_of(given.qformer_input_ids).repeat_interleave(frames);
    inputs.qformer_input_ids = ids;
    Tensor mask;
    if (given.qformer_attention_mask.has_value()) {
      mask = Tensor::copy_of(given.qformer_attention_mask).repeat_interleave(frames);
      inputs.qformer_attention_mask = mask;
    }
    auto outputs = InstructedPartsOf::image_features(inputs, capture);
    const Tensor& features = outputs.pooler_output;
    outputs.pooler_output = features.reshaped({features.dim(0) / frames, -1, features.dim(-1)});
    return outputs;
  }

 private:
  static Index count_images(const ImageTextToTextInputs& inputs) {
    if (inputs.vision_features != nullptr) return inputs.vision_features->images();
    const TensorView& pixels = inputs.pixel_values;
    if (pixels.rank() == 0) return 0;
    return pixels.rank() == 5 ? pixels.dim(0) * pixels.dim(1) : pixels.dim(0);
  }
};

const InstructBlipVideoParts& video_parts(
    const std::shared_ptr<const detail::ImageTextToTextParts>& parts) {
  return dynamic_cast<const InstructBlipVideoParts&>(*parts);
}

}  // namespace

InstructBlipVideoModel::InstructBlipVideoModel(const Weights& weights,
                                               const InstructBlipVideoConfig& config,
                                               bool with_head)
    : parts_(std::make_shared<const InstructBlipVideoParts>(weights, config, with_head)) {}

InstructBlipVideoModel::InstructBlipVideoModel(
    std::shared_ptr<const detail::ImageTextToTextParts> parts)
    : parts_(std::move(parts)) {}

InstructBlipVideoModel InstructBlipVideoModel::from_pretrained(const std::filesystem::path& path,
                                                               const LoadOptions& options) {
  auto model = detail::load_model<InstructBlipVideoModel>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

InstructBlipVideoForConditionalGenerationModelOutput InstructBlipVideoModel::forward(
    const InstructBlipVideoInputs& inputs) const {
  return parts_->forward_without_logits(inputs);
}

const InstructBlipVideoConfig& InstructBlipVideoModel::config() const {
  return video_parts(parts_).own_config;
}
const InstructBlipVideoVisionModel& InstructBlipVideoModel::vision_model() const {
  return video_parts(parts_).vision;
}
const InstructBlipVideoQFormerModel& InstructBlipVideoModel::qformer() const {
  return video_parts(parts_).qformer;
}
const LanguageModel& InstructBlipVideoModel::language_model() const {
  return *parts_->language_model;
}

InstructBlipVideoForConditionalGeneration::InstructBlipVideoForConditionalGeneration(
    const Weights& weights, const InstructBlipVideoConfig& config)
    : ImageTextToTextModel(std::make_shared<const InstructBlipVideoParts>(weights, config, true)) {}

InstructBlipVideoForConditionalGeneration
InstructBlipVideoForConditionalGeneration::from_pretrained(const std::filesystem::path& path,
                                                           const LoadOptions& options) {
  auto model =
      detail::load_model<InstructBlipVideoForConditionalGeneration>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

BaseModelOutputWithVisionQformerOutputs
InstructBlipVideoForConditionalGeneration::get_video_features(
    const TensorView& pixel_values, const TensorView& qformer_input_ids,
    const TensorView& qformer_attention_mask, bool interpolate_pos_encoding,
    const ForwardCapture& capture) const {
  return get_image_features(pixel_values, qformer_input_ids, qformer_attention_mask,
                            interpolate_pos_encoding, capture);
}

const InstructBlipVideoConfig& InstructBlipVideoForConditionalGeneration::config() const {
  return video_parts(parts_).own_config;
}
InstructBlipVideoModel InstructBlipVideoForConditionalGeneration::model() const {
  return InstructBlipVideoModel(parts_);
}

}  // namespace instructblip
