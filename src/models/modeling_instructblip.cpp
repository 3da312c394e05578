#include "instructblip/models/modeling_instructblip.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/layers/linear.h"
#include "instructblip/models/auto_language_model.h"
#include "instructblip/models/modeling_instructblip_qformer.h"
#include "instructblip/models/modeling_instructblip_vision.h"
#include "models/prompt.h"

namespace instructblip {
namespace {

void require_one_source(const InstructBlipInputs& inputs) {
  const int sources = int{inputs.pixel_values.has_value()} +
                      int{inputs.mm_encoder_outputs != nullptr} +
                      int{inputs.vision_features != nullptr};
  if (sources == 0) {
    throw InputError(
        "no image given: pass the processor an image with the text, or pass the result of "
        "encode_image (pixel_values, vision_features and mm_encoder_outputs are empty)");
  }
  if (sources > 1) {
    throw InputError("the image is given " + std::to_string(sources) +
                     " times: pass only one of pixel_values, vision_features and "
                     "mm_encoder_outputs");
  }
}

void require_finite(const Tensor& logits) {
  const auto values = logits.span<float>();
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  if (bad == values.end()) return;
  throw InputError("the language model's logits are not finite (first at element " +
                   std::to_string(bad - values.begin()) + " of " + to_string(logits.shape()) +
                   "): the checkpoint is damaged, or its activations overflow");
}

// The Q-Former's mask: all queries are valid, and the text is masked as given.
Tensor queries_and_text_mask(Index num_query_tokens, const InstructBlipInputs& inputs) {
  return prepend_columns(
      detail::mask_or_ones(inputs.qformer_attention_mask, inputs.qformer_input_ids.shape,
                           "qformer_attention_mask"),
      num_query_tokens, 1);
}

}  // namespace

InstructBlipInputs InstructBlipInputs::from(const BatchFeature& features) {
  const auto view = [](const Tensor& tensor) {
    return tensor.empty() ? TensorView() : tensor.view();
  };
  return {.pixel_values = view(features.pixel_values),
          .qformer_input_ids = view(features.qformer_input_ids),
          .qformer_attention_mask = view(features.qformer_attention_mask),
          .input_ids = view(features.input_ids),
          .attention_mask = view(features.attention_mask)};
}

struct InstructBlipModel::Parts {
  Parts(const Weights& weights, const InstructBlipConfig& given, bool with_head)
      : config(validated(given)),
        vision_model(weights["vision_model"], config.vision_config),
        query_tokens(float_copy(weights[detail::kQueryTokens].get(
            {1, config.num_query_tokens, config.qformer_config.hidden_size}))),
        qformer(weights["qformer"], config.qformer_config),
        language_projection(weights["language_projection"], config.qformer_config.hidden_size,
                            config.text_config->get_hidden_size()),
        language_model(AutoLanguageModel::from_config(weights["language_model"],
                                                      *config.text_config, with_head)) {
    if (!with_head) weights["language_model"]["lm_head"].ignore();
    const Index width = config.text_config->get_hidden_size();
    const Index embedding_size = language_model->traits().embedding_size;
    if (embedding_size == width) return;
    throw ConfigError("config.json: text_config has word_embed_proj_dim " +
                      std::to_string(embedding_size) + " and hidden_size " + std::to_string(width) +
                      ", but image features take the place of token embeddings, so both must be "
                      "equal. Use another language model");
  }

  /// The vision tower's output, computed or taken from `inputs`.
  BaseModelOutputWithPooling vision(const InstructBlipInputs& inputs,
                                    const ForwardCapture& capture) const {
    if (inputs.vision_features != nullptr) {
      BaseModelOutputWithPooling given;
      given.last_hidden_state = inputs.vision_features->last_hidden_state;
      return given;
    }
    return vision_model.forward(inputs.pixel_values,
                                {.interpolate_pos_encoding = inputs.interpolate_pos_encoding,
                                 .output_hidden_states = capture.hidden_states,
                                 .output_attentions = capture.attentions});
  }

  /// vision tower -> Q-Former -> projection.
  BaseModelOutputWithVisionQformerOutputs image_features(const InstructBlipInputs& inputs,
                                                         const ForwardCapture& capture = {}) const {
    if (inputs.mm_encoder_outputs != nullptr) return *inputs.mm_encoder_outputs;
    if (!inputs.qformer_input_ids.has_value() || inputs.qformer_input_ids.rank() != 2) {
      throw InputError(
          "no text given: pass the processor a text with the image (qformer_input_ids [images, "
          "length], the text for the Q-Former, are " +
          (inputs.qformer_input_ids.has_value() ? to_string(inputs.qformer_input_ids.shape)
                                                : "empty") +
          ")");
    }
    BaseModelOutputWithVisionQformerOutputs outputs;
    outputs.vision_outputs = vision(inputs, capture);
    const Tensor& image_embeds = outputs.vision_outputs.last_hidden_state;
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
    outputs.qformer_outputs =
        qformer.forward({.input_ids = inputs.qformer_input_ids,
                         .attention_mask = queries_and_text_mask(config.num_query_tokens, inputs),
                         .query_embeds = query_tokens,
                         .encoder_hidden_states = image_embeds,
                         .output_hidden_states = capture.hidden_states,
                         .output_attentions = capture.attentions});
    const TensorView query_output =
        outputs.qformer_outputs.last_hidden_state.narrow(1, 0, config.num_query_tokens);
    const Matrix projected = language_projection(Matrix::from(query_output));
    outputs.pooler_output =
        projected.to_tensor({images, config.num_query_tokens, projected.cols()});
    return outputs;
  }

  InstructBlipForConditionalGenerationModelOutput forward(const InstructBlipInputs& given,
                                                          const ForwardCapture& capture,
                                                          LogitsFor logits) const {
    require_one_source(given);
    InstructBlipForConditionalGenerationModelOutput outputs;
    // vision -> qformer -> project
    BaseModelOutputWithVisionQformerOutputs features = image_features(given, capture);
    // -> place among the text
    const detail::ModernInputs inputs(given, features.pooler_output, config, *language_model);
    EmbeddedBatch prompt = detail::embed_prompt(inputs, features.pooler_output, *language_model);
    if (language_model->traits().forward_positions_from_mask) prompt.batch.use_compact_positions();
    // -> language model
    outputs.language_model_outputs =
        language_model->forward(prompt,
                                {.decoder_input_ids = inputs.decoder_input_ids,
                                 .decoder_attention_mask = inputs.decoder_attention_mask,
                                 .labels = inputs.labels,
                                 .output_hidden_states = inputs.output_hidden_states,
                                 .output_attentions = inputs.output_attentions},
                                logits);
    require_finite(outputs.language_model_outputs.logits);
    outputs.loss = outputs.language_model_outputs.loss;
    outputs.logits = inputs.without_unlabelled_columns(outputs.language_model_outputs.logits);
    outputs.vision_outputs = std::move(features.vision_outputs);
    outputs.qformer_outputs = std::move(features.qformer_outputs);
    return outputs;
  }

  InstructBlipConfig config;
  InstructBlipVisionModel vision_model;
  Tensor query_tokens;  // [1, num_query_tokens, qformer hidden_size]
  InstructBlipQFormerModel qformer;
  Linear language_projection;
  std::unique_ptr<const LanguageModel> language_model;
};

InstructBlipModel::InstructBlipModel(const Weights& weights, const InstructBlipConfig& config,
                                     bool with_head)
    : parts_(std::make_shared<const Parts>(weights, config, with_head)) {}

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

const InstructBlipConfig& InstructBlipModel::config() const { return parts_->config; }
const InstructBlipVisionModel& InstructBlipModel::vision_model() const {
  return parts_->vision_model;
}
const InstructBlipQFormerModel& InstructBlipModel::qformer() const { return parts_->qformer; }
const LanguageModel& InstructBlipModel::language_model() const { return *parts_->language_model; }

InstructBlipForConditionalGeneration::InstructBlipForConditionalGeneration(
    const Weights& weights, const InstructBlipConfig& config)
    : model_(weights, config, true) {}

InstructBlipForConditionalGeneration InstructBlipForConditionalGeneration::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  auto model = detail::load_model<InstructBlipForConditionalGeneration>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

InstructBlipForConditionalGenerationModelOutput InstructBlipForConditionalGeneration::forward(
    const InstructBlipInputs& inputs) const {
  return model_.parts_->forward(inputs, {}, LogitsFor::AllRows);
}

BaseModelOutputWithVisionQformerOutputs InstructBlipForConditionalGeneration::get_image_features(
    const TensorView& pixel_values, const TensorView& qformer_input_ids,
    const TensorView& qformer_attention_mask, bool interpolate_pos_encoding,
    const ForwardCapture& capture) const {
  return model_.parts_->image_features({.pixel_values = pixel_values,
                                        .qformer_input_ids = qformer_input_ids,
                                        .qformer_attention_mask = qformer_attention_mask,
                                        .interpolate_pos_encoding = interpolate_pos_encoding},
                                       capture);
}

BaseModelOutputWithVisionQformerOutputs InstructBlipForConditionalGeneration::get_image_features(
    const VisionFeatures& features, const TensorView& qformer_input_ids,
    const TensorView& qformer_attention_mask, const ForwardCapture& capture) const {
  return model_.parts_->image_features({.qformer_input_ids = qformer_input_ids,
                                        .qformer_attention_mask = qformer_attention_mask,
                                        .vision_features = &features},
                                       capture);
}

VisionFeatures InstructBlipForConditionalGeneration::encode_image(
    const TensorView& pixel_values, bool interpolate_pos_encoding) const {
  return VisionFeatures(model_.parts_
                            ->vision({.pixel_values = pixel_values,
                                      .interpolate_pos_encoding = interpolate_pos_encoding},
                                     {})
                            .last_hidden_state);
}

EmbeddedBatch InstructBlipForConditionalGeneration::embed_prompt(
    const InstructBlipInputs& inputs) const {
  require_one_source(inputs);
  const Tensor features = model_.parts_->image_features(inputs).pooler_output;
  return detail::embed_prompt(detail::ModernInputs(inputs, features, config(), language_model()),
                              features, language_model());
}

GenerateOutput InstructBlipForConditionalGeneration::generate(
    const BatchFeature& text, const GenerationConfig& config, const VisionFeatures& features,
    const GenerateCallbacks& callbacks) const {
  InstructBlipInputs inputs = InstructBlipInputs::from(text);
  inputs.pixel_values = {};
  inputs.vision_features = &features;
  return generate(inputs, config, callbacks);
}

GenerateOutput InstructBlipForConditionalGeneration::generate(
    const InstructBlipInputs& given, const GenerationConfig& config,
    const GenerateCallbacks& callbacks) const {
  require_one_source(given);
  const Tensor features = model_.parts_->image_features(given).pooler_output;
  InstructBlipInputs complete = given;
  complete.labels = {};
  Tensor bare;
  if (!given.input_ids.has_value() && !given.inputs_embeds.has_value()) {
    bare = detail::bare_prompts(this->config(), language_model().traits(), features.dim(0));
    complete.input_ids = bare;
  }
  const detail::ModernInputs inputs(complete, features, this->config(), language_model());
  const EmbeddedBatch prompt = detail::embed_prompt(inputs, features, language_model());
  const bool decoder_only = !language_model().traits().is_encoder_decoder;
  const GenerateInputs prompts{.inputs_embeds = prompt.embeddings,
                               .batch = prompt.batch,
                               .input_ids = complete.input_ids,
                               .decoder_input_ids = inputs.decoder_input_ids};
  GenerationConfig lengths = config;
  if (decoder_only && inputs.virtual_columns() > 0) {
    lengths = detail::legacy_lengths(config, inputs.virtual_columns());
  }
  return instructblip::generate(language_model(), prompts, lengths, callbacks);
}

}  // namespace instructblip
