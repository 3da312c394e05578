// Models that read images and text and write text: a vision tower, a Q-Former that reads the image,
// and a language model. What InstructBLIP, InstructBLIP-Video and BLIP-2 have in common.
//
//   pixel_values [B*k,3,H,W] -> vision_model -> [B*k,1+p,Hv]
//     -> qformer(query_tokens, instruction) -> [B*k,n,Hq] -> language_projection -> [B*k,n,Ht]
//     -> in place of the image placeholders of input_ids [B,k*n+t] -> language_model
#pragma once

#include <concepts>
#include <filesystem>
#include <memory>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/configuration/image_text_to_text_config.h"
#include "instructblip/core/batch_feature.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/generate.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/padded_batch.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_outputs.h"
#include "instructblip/models/vision_features.h"

namespace instructblip {

namespace detail {
struct ImageTextToTextParts;
}

/// The arguments of `forward`, with the reference's names: views of the caller's tensors; an empty
/// view means "not given". There are B samples of k images each; exactly one of pixel_values,
/// mm_encoder_outputs and vision_features must be given.
struct INSTRUCTBLIP_EXPORT ImageTextToTextInputs {
  /// Floating-point [B * k, 3, height, width]; of a video's k frames also [B, k, 3, height, width].
  TensorView pixel_values{};
  /// The Q-Former's text, int64 [B * k, length] and its mask (default: all 1). Required by
  /// InstructBLIP; of InstructBLIP-Video [B, length]; BLIP-2 has none.
  TensorView qformer_input_ids{};
  TensorView qformer_attention_mask{};
  TensorView input_ids{};  // int64 [B, length], each row with k * num_query_tokens placeholders
  TensorView attention_mask{};          // [B, length]; default: all 1
  TensorView decoder_input_ids{};       // int64 [B, decoder length]; encoder-decoder only
  TensorView decoder_attention_mask{};  // [B, decoder length]; default: all 1
  /// float32 [B, length, embedding size], used instead of embedding input_ids. Without input_ids,
  /// the image goes to the positions that equal the placeholder's embedding.
  TensorView inputs_embeds{};
  /// int64 [B, length] (encoder-decoder: [B, decoder length]); -100 is ignored. For a legacy
  /// decoder-only checkpoint, labels may have fewer columns; they then belong to the last columns,
  /// and logits are returned for those only.
  TensorView labels{};
  bool interpolate_pos_encoding = false;
  /// These two apply to the language model. InstructBlipModel and Blip2Model also return the states
  /// of the vision tower and the Q-Former, as in the reference; with the other models,
  /// get_image_features returns them.
  bool output_hidden_states = false;
  bool output_attentions = false;
  /// Used instead of pixel_values: the reference's mm_encoder_outputs["image"].
  const BaseModelOutputWithVisionQformerOutputs* mm_encoder_outputs = nullptr;
  /// Used instead of pixel_values: the result of `encode_image`, with one image for all rows of
  /// qformer_input_ids (BLIP-2: of input_ids) or one per row. The reference has no such argument.
  const VisionFeatures* vision_features = nullptr;

  /// Views of a processor's output, which must outlive them.
  static ImageTextToTextInputs from(const BatchFeature& features);
};

/// A whole model, which generates answers: InstructBlipForConditionalGeneration,
/// InstructBlipVideoForConditionalGeneration or Blip2ForConditionalGeneration, which add nothing to
/// its state. Immutable; copies share the weights; safe to call from several threads.
class INSTRUCTBLIP_EXPORT ImageTextToTextModel {
 public:
  using Config = ImageTextToTextConfig;

  /// The model of the class that `config` belongs to. The caller must call `weights.finish()`.
  /// Throws ConfigError if the configuration is invalid.
  ImageTextToTextModel(const Weights& weights, const ImageTextToTextConfig& config);
  /// Loads a checkpoint folder of any of the classes, like the reference's
  /// AutoModelForImageTextToText. Throws ConfigError, or CheckpointError that names all missing
  /// tensors. See also `load` (tasks/load.h), which loads the processor too and checks the folder.
  static ImageTextToTextModel from_pretrained(const std::filesystem::path& path,
                                              const LoadOptions& options = {});

  /// Like the reference's forward. Throws InputError, naming the argument, if shapes do not match,
  /// if a row has too many or too few image placeholders (where the reference silently shifts or
  /// drops features), or if logits are not finite.
  ImageTextToTextModelOutput forward(const ImageTextToTextInputs& inputs) const;

  /// Runs the vision tower, the Q-Former and the projection on floating-point pixel_values [images,
  /// 3, height, width] and, of InstructBLIP, int64 qformer_input_ids [images, length]. Throws
  /// InputError, naming the argument, if shapes do not match.
  BaseModelOutputWithVisionQformerOutputs get_image_features(
      const TensorView& pixel_values, const TensorView& qformer_input_ids = {},
      const TensorView& qformer_attention_mask = {}, bool interpolate_pos_encoding = false,
      const ForwardCapture& capture = {}) const;
  /// The same with the result of `encode_image`: one image for all rows of qformer_input_ids, or
  /// one per row.
  BaseModelOutputWithVisionQformerOutputs get_image_features(
      const VisionFeatures& features, const TensorView& qformer_input_ids = {},
      const TensorView& qformer_attention_mask = {}, const ForwardCapture& capture = {}) const;

  /// Runs the vision tower alone: floating-point pixel_values [images, 3, height, width], or those
  /// of videos -> [images, 1 + patches, vision hidden_size]. Throws InputError if the shape is
  /// wrong.
  VisionFeatures encode_image(const TensorView& pixel_values,
                              bool interpolate_pos_encoding = false) const;

  /// The prompts as the language model reads them: embedded, without padding, with image features
  /// in place of the placeholders. Throws InputError like `forward`.
  EmbeddedBatch embed_prompt(const ImageTextToTextInputs& inputs) const;

  /// Answers each prompt. Without input_ids, a prompt consists of the placeholders and the language
  /// model's BOS. See GenerationConfig for lengths and defaults. A legacy decoder-only checkpoint
  /// returns `sequences` without placeholders, and counts lengths like transformers 4.49: for a
  /// prompt of t ids, min_length is reduced by t and max_length by t + 1. Throws InputError like
  /// `forward` and `instructblip::generate`.
  GenerateOutput generate(const ImageTextToTextInputs& inputs, const GenerationConfig& config = {},
                          const GenerateCallbacks& callbacks = {}) const;
  /// The same with a processor's output. (A template, so that `generate({.pixel_values = ...})`
  /// selects the overload above.)
  template <std::same_as<BatchFeature> Features>
  GenerateOutput generate(const Features& inputs, const GenerationConfig& config = {},
                          const GenerateCallbacks& callbacks = {}) const {
    return generate(ImageTextToTextInputs::from(inputs), config, callbacks);
  }
  /// The same with the result of `encode_image`: one image for all Q-Former rows of `text` (BLIP-2:
  /// for all its rows), or one per row; of videos, the frames of all rows. text.pixel_values is not
  /// read.
  GenerateOutput generate(const BatchFeature& text, const GenerationConfig& config,
                          const VisionFeatures& features,
                          const GenerateCallbacks& callbacks = {}) const;

  const ImageTextToTextConfig& config() const;
  const LanguageModel& language_model() const;

 protected:
  explicit ImageTextToTextModel(std::shared_ptr<const detail::ImageTextToTextParts> parts);

  std::shared_ptr<const detail::ImageTextToTextParts> parts_;
};

}  // namespace instructblip
