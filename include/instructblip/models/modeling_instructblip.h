// InstructBLIP: a vision tower, a Q-Former that reads the instruction, and a language model.
// "InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning",
// https://arxiv.org/abs/2305.06500. Mirrors transformers'
// models/instructblip/modeling_instructblip.py; the original is LAVIS' blip2_vicuna_instruct.py and
// blip2_t5_instruct.py.
//
//   pixel_values [B*k,3,H,W] -> vision_model -> [B*k,1+p,Hv]
//     -> qformer(query_tokens, instruction) -> [B*k,n,Hq] -> language_projection -> [B*k,n,Ht]
//     -> in the places of the image placeholders of input_ids [B,k*n+t] -> language_model
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/batch_feature.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/generate.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/padded_batch.h"
#include "instructblip/models/image_features.h"
#include "instructblip/models/load_options.h"
#include "instructblip/models/modeling_instructblip_qformer.h"
#include "instructblip/models/modeling_instructblip_vision.h"

namespace instructblip {

/// What `get_image_features` returns, and what `forward` takes instead of pixels.
struct BaseModelOutputWithVisionQformerOutputs {
  /// The projected queries, float32 [images, num_query_tokens, text hidden_size].
  Tensor pooler_output;
  BaseModelOutputWithPooling vision_outputs;
  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs;
};

/// The fields of the reference's CausalLMOutputWithPast or Seq2SeqLMOutput (of the bare model's
/// outputs in InstructBlipModel); those of the other kind are empty, as are lists that were not
/// asked for. Positions that a mask leaves out hold zeros.
struct LanguageModelOutputs {
  std::optional<float> loss;
  Tensor logits;                      // [B, length, vocab_size]
  Tensor last_hidden_state;           // [B, length, hidden_size], after the final norm
  std::vector<Tensor> hidden_states;  // decoder-only
  std::vector<Tensor> attentions;
  std::vector<Tensor> decoder_hidden_states;  // encoder-decoder
  std::vector<Tensor> decoder_attentions;
  std::vector<Tensor> cross_attentions;
  Tensor encoder_last_hidden_state;
  std::vector<Tensor> encoder_hidden_states;
  std::vector<Tensor> encoder_attentions;
};

struct InstructBlipForConditionalGenerationModelOutput {
  std::optional<float> loss;  // given labels
  Tensor logits;              // [B, length, vocab_size]; decoder length for an encoder-decoder
  BaseModelOutputWithPooling vision_outputs;
  BaseModelOutputWithPoolingAndCrossAttentions qformer_outputs;
  LanguageModelOutputs language_model_outputs;
};

/// The arguments of `forward`, with the reference's names. Views of the caller's tensors; one
/// without data was not given. B samples of k images each, as exactly one of pixel_values,
/// mm_encoder_outputs and image_features.
struct INSTRUCTBLIP_EXPORT InstructBlipInputs {
  TensorView pixel_values;            // floating-point [B * k, 3, height, width]
  TensorView qformer_input_ids;       // int64 [B * k, Q-Former text]
  TensorView qformer_attention_mask;  // [B * k, Q-Former text]; default: all 1
  TensorView input_ids;          // int64 [B, length], k * num_query_tokens of them placeholders
  TensorView attention_mask;     // [B, length]; default: all 1
  TensorView decoder_input_ids;  // int64 [B, decoder length], encoder-decoder
  TensorView decoder_attention_mask;  // [B, decoder length]; default: all 1
  /// float32 [B, length, embedding size], instead of embedding input_ids. Without input_ids the
  /// places that equal the placeholder's embedding are the image's.
  TensorView inputs_embeds;
  /// int64 [B, length] (encoder-decoder: [B, decoder length]); -100 is not counted. A legacy
  /// decoder-only checkpoint's are those of the last columns, and so are the logits then.
  TensorView labels;
  bool interpolate_pos_encoding = false;
  /// Of the language model; InstructBlipModel gives the vision tower's and the Q-Former's too, as
  /// in the reference (for the other model: get_image_features).
  bool output_hidden_states = false;
  bool output_attentions = false;
  /// The reference's mm_encoder_outputs["image"]: instead of pixel_values.
  const BaseModelOutputWithVisionQformerOutputs* mm_encoder_outputs = nullptr;
  /// Ours: what `encode_image` returned, instead of pixel_values.
  const ImageFeatures* image_features = nullptr;

  /// Views of what a processor made, which must outlive them.
  static InstructBlipInputs from(const BatchFeature& features);
};

/// Vision tower, Q-Former and bare language model. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`. With `with_head` the
  /// language model has its head, too, which InstructBlipForConditionalGeneration needs. Throws
  /// ConfigError for a configuration that cannot be.
  InstructBlipModel(const Weights& weights, const InstructBlipConfig& config,
                    bool with_head = false);
  /// From an InstructBlipModel's folder or an InstructBlipForConditionalGeneration's (whose
  /// language model the reference would leave random for OPT and LLaMA). Throws ConfigError or
  /// CheckpointError.
  static InstructBlipModel from_pretrained(const std::filesystem::path& path,
                                           const LoadOptions& options = {});

  /// As the reference's forward: no loss, no logits. Throws InputError naming the argument.
  InstructBlipForConditionalGenerationModelOutput forward(const InstructBlipInputs& inputs) const;

  const InstructBlipConfig& config() const { return config_; }
  const InstructBlipVisionModel& vision_model() const { return vision_model_; }
  const InstructBlipQFormerModel& qformer() const { return qformer_; }
  const LanguageModel& language_model() const { return *language_model_; }

 private:
  friend class InstructBlipForConditionalGeneration;

  BaseModelOutputWithVisionQformerOutputs image_features(const InstructBlipInputs& inputs,
                                                         const ForwardCapture& capture) const;
  EmbeddedBatch embed_prompt(const InstructBlipInputs& inputs, const Tensor& image_features) const;
  InstructBlipForConditionalGenerationModelOutput forward(const InstructBlipInputs& inputs,
                                                          LogitsFor logits) const;

  InstructBlipConfig config_;
  InstructBlipVisionModel vision_model_;
  Tensor query_tokens_;  // [1, num_query_tokens, qformer hidden_size]
  InstructBlipQFormerModel qformer_;
  Linear language_projection_;
  std::shared_ptr<const LanguageModel> language_model_;
};

/// The model that answers. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipForConditionalGeneration {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`. Throws ConfigError for a
  /// configuration that cannot be.
  InstructBlipForConditionalGeneration(const Weights& weights, const InstructBlipConfig& config);
  /// A checkpoint folder. Throws ConfigError or CheckpointError that names all that is missing;
  /// logs warnings about what disagrees in the folder, with the lines to change.
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

  /// The vision tower alone, for `generate` to ask about often: pixel_values as above -> [images,
  /// 1 + patches, vision hidden_size]. Throws InputError on another shape.
  ImageFeatures encode_image(const TensorView& pixel_values,
                             bool interpolate_pos_encoding = false) const;

  /// The prompts as the language model reads them: embedded, without padding, the pictures'
  /// features in the places of their placeholders. Throws InputError as `forward`.
  EmbeddedBatch embed_prompt(const InstructBlipInputs& inputs) const;

  /// Answers each prompt. Without input_ids a prompt is the placeholders and the language model's
  /// BOS. See GenerationConfig for lengths and defaults. The lengths of a legacy decoder-only
  /// checkpoint, whose `sequences` hold no placeholders, are 4.49's: a prompt of t ids is taken off
  /// `min_length` before it counts, t + 1 off `max_length`. Throws InputError as `forward` and
  /// `instructblip::generate` do.
  GenerateOutput generate(const BatchFeature& inputs, const GenerationConfig& config = {},
                          const GenerateCallbacks& callbacks = {}) const;
  /// With pictures that were encoded before, those in `text` being left unread: one for all rows,
  /// or as many as `text` has Q-Former rows.
  GenerateOutput generate(const BatchFeature& text, const GenerationConfig& config,
                          const ImageFeatures& features,
                          const GenerateCallbacks& callbacks = {}) const;
  /// With every argument of the reference's.
  GenerateOutput generate(const InstructBlipInputs& inputs, const GenerationConfig& config = {},
                          const GenerateCallbacks& callbacks = {}) const;

  const InstructBlipConfig& config() const { return model_.config(); }
  const InstructBlipModel& model() const { return model_; }
  const LanguageModel& language_model() const { return model_.language_model(); }

 private:
  InstructBlipModel model_;
};

}  // namespace instructblip
