// What a whole model consists of: the state behind ImageTextToTextModel.
#pragma once

#include <memory>

#include "instructblip/layers/linear.h"
#include "instructblip/models/image_text_to_text_model.h"
#include "instructblip/models/modeling_instructblip_vision.h"

namespace instructblip::detail {

/// The parts that all models have, and the steps of a call. PartsOf adds those whose type differs.
struct ImageTextToTextParts {
  /// Reads the tensors that no part of PartsOf has. Throws ConfigError if the language model's
  /// embeddings cannot take image features.
  ImageTextToTextParts(const Weights& weights, const ImageTextToTextConfig& config, bool with_head);
  virtual ~ImageTextToTextParts() = default;

  virtual const ImageTextToTextConfig& config() const = 0;
  virtual const InstructBlipVisionModel& vision_model() const = 0;
  /// Throws InputError unless the Q-Former's text is there if it is needed.
  virtual void check_qformer_text(const ImageTextToTextInputs& inputs) const = 0;
  /// The Q-Former's output for the vision tower's: first the queries, then the text, if any.
  virtual BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs(
      const ImageTextToTextInputs& inputs, const BaseModelOutputWithPooling& vision_outputs,
      const ForwardCapture& capture) const = 0;

  /// The vision tower's output, computed or taken from `inputs`.
  virtual BaseModelOutputWithPooling encode_image(const ImageTextToTextInputs& inputs,
                                                  const ForwardCapture& capture) const;
  /// vision tower -> Q-Former -> projection.
  virtual BaseModelOutputWithVisionQformerOutputs image_features(
      const ImageTextToTextInputs& inputs, const ForwardCapture& capture) const;
  ImageTextToTextModelOutput forward(const ImageTextToTextInputs& given,
                                     const ForwardCapture& capture, LogitsFor logits) const;
  /// Captures the states of all parts, if `inputs` ask for states.
  ImageTextToTextModelOutput forward_without_logits(const ImageTextToTextInputs& inputs) const;

  Tensor query_tokens;  // [1, num_query_tokens, qformer hidden_size]
  Linear language_projection;
  std::unique_ptr<const LanguageModel> language_model;
};

/// The parts of one class of models.
template <class ConfigType, class VisionModel, class QFormerModel>
struct PartsOf : ImageTextToTextParts {
  PartsOf(const Weights& weights, const ConfigType& given, bool with_head)
      : ImageTextToTextParts(weights, validated(given), with_head),
        own_config(given),
        vision(weights["vision_model"], given.vision_config),
        qformer(weights["qformer"], given.qformer_config) {}

  const ImageTextToTextConfig& config() const override { return own_config; }
  const InstructBlipVisionModel& vision_model() const override { return vision; }

  ConfigType own_config;
  VisionModel vision;
  QFormerModel qformer;
};

}  // namespace instructblip::detail
