// InstructBLIP: a vision tower, a Q-Former that reads the instruction, and a language model.
// "InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning",
// https://arxiv.org/abs/2305.06500. Mirrors transformers'
// models/instructblip/modeling_instructblip.py; the original is LAVIS' blip2_vicuna_instruct.py and
// blip2_t5_instruct.py.
//
//   pixel_values [B*k,3,H,W] -> vision_model -> [B*k,1+p,Hv]
//     -> qformer(query_tokens, instruction) -> [B*k,n,Hq] -> language_projection -> [B*k,n,Ht]
//     -> in the places of the image placeholders of input_ids [B,k*n+t] -> language_model
//
// This header declares the facade. The parts are one header each (modeling_instructblip_vision.h,
// modeling_instructblip_qformer.h, modeling_llama.h, ...); a program that calls the facade alone
// does not include them.
#pragma once

#include <concepts>
#include <filesystem>
#include <memory>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/configuration/configuration_instructblip.h"
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

class InstructBlipVisionModel;
class InstructBlipQFormerModel;

/// The arguments of `forward`, with the reference's names. Views of the caller's tensors; one that
/// is left out was not given. B samples of k images each, as exactly one of pixel_values,
/// mm_encoder_outputs and vision_features.
struct INSTRUCTBLIP_EXPORT InstructBlipInputs {
  TensorView pixel_values{};            // floating-point [B * k, 3, height, width]
  TensorView qformer_input_ids{};       // int64 [B * k, Q-Former text]
  TensorView qformer_attention_mask{};  // [B * k, Q-Former text]; default: all 1
  TensorView input_ids{};          // int64 [B, length], k * num_query_tokens of them placeholders
  TensorView attention_mask{};     // [B, length]; default: all 1
  TensorView decoder_input_ids{};  // int64 [B, decoder length], encoder-decoder
  TensorView decoder_attention_mask{};  // [B, decoder length]; default: all 1
  /// float32 [B, length, embedding size], instead of embedding input_ids. Without input_ids the
  /// positions that equal the placeholder's embedding are the image's.
  TensorView inputs_embeds{};
  /// int64 [B, length] (encoder-decoder: [B, decoder length]); -100 is not counted. A legacy
  /// decoder-only checkpoint's are those of the last columns, and so are the logits then.
  TensorView labels{};
  bool interpolate_pos_encoding = false;
  /// Of the language model; InstructBlipModel also gives the vision tower's and the Q-Former's, as
  /// in the reference (for the other model: get_image_features).
  bool output_hidden_states = false;
  bool output_attentions = false;
  /// The reference's mm_encoder_outputs["image"]: instead of pixel_values.
  const BaseModelOutputWithVisionQformerOutputs* mm_encoder_outputs = nullptr;
  /// Ours: what `encode_image` returned, instead of pixel_values; one image for all B * k rows of
  /// qformer_input_ids, or as many.
  const VisionFeatures* vision_features = nullptr;

  /// Views of what a processor made, which must outlive them.
  static InstructBlipInputs from(const BatchFeature& features);
};

/// Vision tower, Q-Former and bare language model. Immutable; copies share the weights; safe to
/// call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipModel {
 public:
  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. `with_head`: the
  /// language model gets its head, which InstructBlipForConditionalGeneration needs. Throws
  /// ConfigError if the configuration is invalid.
  InstructBlipModel(const Weights& weights, const InstructBlipConfig& config,
                    bool with_head = false);
  /// From an InstructBlipModel's folder or an InstructBlipForConditionalGeneration's (whose
  /// language model the reference would leave random for OPT and LLaMA). Throws ConfigError or
  /// CheckpointError.
  static InstructBlipModel from_pretrained(const std::filesystem::path& path,
                                           const LoadOptions& options = {});

  /// As the reference's forward: no loss, no logits. Throws InputError naming the argument.
  InstructBlipForConditionalGenerationModelOutput forward(const InstructBlipInputs& inputs) const;

  const InstructBlipConfig& config() const;
  const InstructBlipVisionModel& vision_model() const;
  const InstructBlipQFormerModel& qformer() const;
  const LanguageModel& language_model() const;

 private:
  friend class InstructBlipForConditionalGeneration;
  struct Parts;

  std::shared_ptr<const Parts> parts_;
};

/// The model that answers. Immutable; copies share the weights; safe to call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipForConditionalGeneration {
 public:
  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  InstructBlipForConditionalGeneration(const Weights& weights, const InstructBlipConfig& config);
  /// A checkpoint folder. Throws ConfigError, or CheckpointError that names all missing tensors.
  /// See `load` (tasks/load.h), which also loads the processor and checks the folder.
  static InstructBlipForConditionalGeneration from_pretrained(const std::filesystem::path& path,
                                                              const LoadOptions& options = {});

  /// As the reference's forward. Throws InputError, naming the argument, on shapes that do not fit,
  /// on a row with too many or too few image placeholders (which the reference shifts or drops),
  /// and on logits that are not finite.
  InstructBlipForConditionalGenerationModelOutput forward(const InstructBlipInputs& inputs) const;

  /// Vision tower, Q-Former and projection. pixel_values floating-point [images, 3, height, width],
  /// qformer_input_ids int64 [images, length]. Throws InputError, naming the argument, on shapes
  /// that do not fit.
  BaseModelOutputWithVisionQformerOutputs get_image_features(
      const TensorView& pixel_values, const TensorView& qformer_input_ids,
      const TensorView& qformer_attention_mask = {}, bool interpolate_pos_encoding = false,
      const ForwardCapture& capture = {}) const;
  /// The same for images that were encoded before: one for all rows of qformer_input_ids, or as
  /// many.
  BaseModelOutputWithVisionQformerOutputs get_image_features(
      const VisionFeatures& features, const TensorView& qformer_input_ids,
      const TensorView& qformer_attention_mask = {}, const ForwardCapture& capture = {}) const;

  /// The vision tower alone: pixel_values as above -> [images, 1 + patches, vision hidden_size].
  /// Throws InputError on another shape.
  VisionFeatures encode_image(const TensorView& pixel_values,
                              bool interpolate_pos_encoding = false) const;

  /// The prompts as the language model reads them: embedded, without padding, the images' features
  /// in the places of their placeholders. Throws InputError as `forward`.
  EmbeddedBatch embed_prompt(const InstructBlipInputs& inputs) const;

  /// Answers each prompt. Without input_ids a prompt is the placeholders and the language model's
  /// BOS. See GenerationConfig for lengths and defaults. The lengths of a legacy decoder-only
  /// checkpoint, whose `sequences` hold no placeholders, are 4.49's: a prompt of t ids is
  /// subtracted from `min_length` before it counts, t + 1 from `max_length`. Throws InputError as
  /// `forward` and `instructblip::generate` do.
  GenerateOutput generate(const InstructBlipInputs& inputs, const GenerationConfig& config = {},
                          const GenerateCallbacks& callbacks = {}) const;
  /// What a processor made. (A template, so that `generate({.pixel_values = ...})` means the
  /// overload above.)
  template <std::same_as<BatchFeature> Features>
  GenerateOutput generate(const Features& inputs, const GenerationConfig& config = {},
                          const GenerateCallbacks& callbacks = {}) const {
    return generate(InstructBlipInputs::from(inputs), config, callbacks);
  }
  /// With images that were encoded before (`text.pixel_values` is not read): one for all rows, or
  /// as many as `text` has Q-Former rows.
  GenerateOutput generate(const BatchFeature& text, const GenerationConfig& config,
                          const VisionFeatures& features,
                          const GenerateCallbacks& callbacks = {}) const;

  const InstructBlipConfig& config() const { return model_.config(); }
  const InstructBlipModel& model() const { return model_; }
  const LanguageModel& language_model() const { return model_.language_model(); }

 private:
  InstructBlipModel model_;
};

}  // namespace instructblip
