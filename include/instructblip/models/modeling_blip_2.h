// BLIP-2: a vision tower, a Q-Former that reads the image, and a language model. "BLIP-2:
// Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language Models",
// https://arxiv.org/abs/2301.12597. Mirrors transformers' models/blip_2/modeling_blip_2.py; the
// original code is LAVIS' blip2_opt.py and blip2_t5.py.
//
// It differs from InstructBLIP in one way: the Q-Former reads no text, so that an image has the
// same features for all prompts. This header declares the facade; image_text_to_text_model.h has
// most of it, and each part has its own header (modeling_blip_2_vision.h,
// modeling_blip_2_qformer.h, ...).
#pragma once

#include <filesystem>
#include <memory>

#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/models/image_text_to_text_model.h"

namespace instructblip {

class Blip2VisionModel;
class Blip2QFormerModel;

/// Without qformer_input_ids and qformer_attention_mask.
using Blip2Inputs = ImageTextToTextInputs;

/// Vision tower, Q-Former and language model, whose results can be had one by one. Immutable;
/// copies share the weights; safe to call from several threads.
class INSTRUCTBLIP_EXPORT Blip2Model {
 public:
  using Config = Blip2Config;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  Blip2Model(const Weights& weights, const Blip2Config& config);
  /// Loads a checkpoint folder. Throws ConfigError or CheckpointError.
  static Blip2Model from_pretrained(const std::filesystem::path& path,
                                    const LoadOptions& options = {});

  /// Like the reference's forward, with logits. Throws InputError, naming the argument, if an
  /// argument is invalid.
  Blip2ForConditionalGenerationModelOutput forward(const Blip2Inputs& inputs) const;

  /// The states [batch, length, hidden_size] of the bare language model (encoder-decoder: of its
  /// encoder) for int64 input_ids [batch, length] without an image; no pooler_output. Throws
  /// InputError if shapes do not match or an id is outside the vocabulary.
  BaseModelOutputWithPooling get_text_features(const TensorView& input_ids,
                                               const TensorView& attention_mask = {},
                                               const ForwardCapture& capture = {}) const;
  /// The vision tower's output for floating-point pixel_values [images, 3, height, width]. Throws
  /// InputError if the shape is wrong.
  BaseModelOutputWithPooling get_image_features(const TensorView& pixel_values,
                                                bool interpolate_pos_encoding = false,
                                                const ForwardCapture& capture = {}) const;
  /// The Q-Former's last hidden states [images, num_query_tokens, hidden_size].
  Tensor get_qformer_features(const TensorView& pixel_values,
                              bool interpolate_pos_encoding = false) const;

  const Blip2Config& config() const;
  const Blip2VisionModel& vision_model() const;
  const Blip2QFormerModel& qformer() const;
  const LanguageModel& language_model() const;

 private:
  friend class Blip2ForConditionalGeneration;
  explicit Blip2Model(std::shared_ptr<const detail::ImageTextToTextParts> parts);

  std::shared_ptr<const detail::ImageTextToTextParts> parts_;
};

/// The whole model, which generates captions and answers. Immutable; copies share the weights; safe
/// to call from several threads.
class INSTRUCTBLIP_EXPORT Blip2ForConditionalGeneration : public ImageTextToTextModel {
 public:
  using Config = Blip2Config;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  Blip2ForConditionalGeneration(const Weights& weights, const Blip2Config& config);
  /// Loads a checkpoint folder. Throws ConfigError, or CheckpointError that names all missing
  /// tensors. See also `load` (tasks/load.h), which loads the processor too and checks the folder.
  static Blip2ForConditionalGeneration from_pretrained(const std::filesystem::path& path,
                                                       const LoadOptions& options = {});

  using ImageTextToTextModel::get_image_features;
  /// The same with the reference's order of arguments, which has no text for the Q-Former.
  BaseModelOutputWithVisionQformerOutputs get_image_features(
      const TensorView& pixel_values, bool interpolate_pos_encoding,
      const ForwardCapture& capture = {}) const;

  const Blip2Config& config() const;
  Blip2Model model() const;
};

}  // namespace instructblip
