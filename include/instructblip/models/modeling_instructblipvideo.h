// InstructBLIP-Video: InstructBLIP, which answers about the frames of a video. Mirrors
// transformers' models/instructblipvideo/modeling_instructblipvideo.py.
//
// The frames of a sample are several images of it: the Q-Former reads the same instruction with
// each, and the projected queries of all frames stand one after another in the prompt. It differs
// from InstructBLIP in the shapes of its inputs: pixel_values are [B, frames, 3, height, width],
// and the Q-Former's text is given once per sample. Any number of frames is taken; the reference's
// processor expects four.
#pragma once

#include <filesystem>
#include <memory>

#include "instructblip/configuration/configuration_instructblipvideo.h"
#include "instructblip/models/image_text_to_text_model.h"

namespace instructblip {

class InstructBlipVideoVisionModel;
class InstructBlipVideoQFormerModel;

/// With pixel_values [B, frames, 3, height, width], or [B * frames, 3, height, width], and
/// qformer_input_ids [B, length]: the number of images divided by that of texts is the number of
/// frames. The same goes for vision_features, whose images are the frames of all samples.
using InstructBlipVideoInputs = ImageTextToTextInputs;

/// Vision tower, Q-Former and bare language model. Immutable; copies share the weights; safe to
/// call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipVideoModel {
 public:
  using Config = InstructBlipVideoConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. `with_head`: also
  /// load the language model's head, which InstructBlipVideoForConditionalGeneration needs. Throws
  /// ConfigError if the configuration is invalid.
  InstructBlipVideoModel(const Weights& weights, const InstructBlipVideoConfig& config,
                         bool with_head = false);
  /// Loads the folder of this class or of an InstructBlipVideoForConditionalGeneration. Throws
  /// ConfigError or CheckpointError.
  static InstructBlipVideoModel from_pretrained(const std::filesystem::path& path,
                                                const LoadOptions& options = {});

  /// Like the reference's forward, without loss and logits. Throws InputError, naming the argument,
  /// if an argument is invalid.
  InstructBlipVideoForConditionalGenerationModelOutput forward(
      const InstructBlipVideoInputs& inputs) const;

  const InstructBlipVideoConfig& config() const;
  const InstructBlipVideoVisionModel& vision_model() const;
  const InstructBlipVideoQFormerModel& qformer() const;
  const LanguageModel& language_model() const;

 private:
  friend class InstructBlipVideoForConditionalGeneration;
  explicit InstructBlipVideoModel(std::shared_ptr<const detail::ImageTextToTextParts> parts);

  std::shared_ptr<const detail::ImageTextToTextParts> parts_;
};

/// The whole model, which generates answers. Immutable; copies share the weights; safe to call from
/// several threads.
class INSTRUCTBLIP_EXPORT InstructBlipVideoForConditionalGeneration : public ImageTextToTextModel {
 public:
  using Config = InstructBlipVideoConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  InstructBlipVideoForConditionalGeneration(const Weights& weights,
                                            const InstructBlipVideoConfig& config);
  /// Loads a checkpoint folder. Throws ConfigError, or CheckpointError that names all missing
  /// tensors. See also `load` (tasks/load.h), which loads the processor too and checks the folder.
  static InstructBlipVideoForConditionalGeneration from_pretrained(
      const std::filesystem::path& path, const LoadOptions& options = {});

  /// `get_image_features`, under the reference's name: pixel_values of one of the two shapes above
  /// and int64 qformer_input_ids [B, length] -> pooler_output [B, frames * num_query_tokens, text
  /// hidden_size], and the states of the B * frames images.
  BaseModelOutputWithVisionQformerOutputs get_video_features(
      const TensorView& pixel_values, const TensorView& qformer_input_ids,
      const TensorView& qformer_attention_mask = {}, bool interpolate_pos_encoding = false,
      const ForwardCapture& capture = {}) const;

  const InstructBlipVideoConfig& config() const;
  InstructBlipVideoModel model() const;
};

}  // namespace instructblip
