#include "instructblip/models/image_text_to_text_model.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/layers/float_copy.h"
#include "instructblip/models/auto_language_model.h"
#include "instructblip/models/modeling_blip_2.h"
#include "instructblip/models/modeling_instructblip.h"
#include "instructblip/models/modeling_instructblipvideo.h"
#include "models/image_text_to_text_parts.h"
#include "models/prompt.h"

namespace instructblip {
namespace {

void require_one_source(const ImageTextToTextInputs& inputs) {
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

}  // namespace

ImageTextToTextInputs ImageTextToTextInputs::from(const BatchFeature& features) {
  const auto view = [](const Tensor& tensor) {
    return tensor.empty() ? TensorView() : tensor.view();
  };
  return {.pixel_values = view(features.pixel_values),
          .qformer_input_ids = view(features.qformer_input_ids),
          .qformer_attention_mask = view(features.qformer_attention_mask),
          .input_ids = view(features.input_ids),
          .attention_mask = view(features.attention_mask)};
}

namespace detail {

ImageTextToTextParts::ImageTextToTextParts(const Weights& weights,
                                           const ImageTextToTextConfig& config, bool with_head)
    : query_tokens(float_copy(
          weights[kQueryTokens].get({1, config.num_query_tokens, config.qformer().hidden_size}))),
      language_projection(weights["language_projection"], config.qformer().hidden_size,
                          config.text_config->get_hidden_size()),
      language_model(AutoLanguageModel::from_config(weights["language_model"], *config.text_config,
                                                    with_head)) {
  if (!with_head) weights["language_model"]["lm_head"].ignore();
  const Index width = config.text_config->get_hidden_size();
  const Index embedding_size = language_model->traits().embedding_size;
  if (embedding_size == width) return;
  throw ConfigError("config.json: text_config has word_embed_proj_dim " +
                    std::to_string(embedding_size) + " and hidden_size " + std::to_string(width) +
                    ", but image features take the place of token embeddings, so both must be "
                    "equal. Use another language model");
}

BaseModelOutputWithPooling ImageTextToTextParts::encode_image(const ImageTextToTextInputs& inputs,
                                                              const ForwardCapture& capture) const {
  if (inputs.vision_features != nullptr) {
    BaseModelOutputWithPooling given;
    given.last_hidden_state = inputs.vision_features->last_hidden_state;
    return given;
  }
  return vision_model().forward(inputs.pixel_values,
                                {.interpolate_pos_encoding = inputs.interpolate_pos_encoding,
                                 .output_hidden_states = capture.hidden_states,
                                 .output_attentions = capture.attentions});
}

BaseModelOutputWithVisionQformerOutputs ImageTextToTextParts::image_features(
    const ImageTextToTextInputs& inputs, const ForwardCapture& capture) const {
  if (inputs.mm_encoder_outputs != nullptr) return *inputs.mm_encoder_outputs;
  check_qformer_text(inputs);
  BaseModelOutputWithVisionQformerOutputs outputs;
  outputs.vision_outputs = encode_image(inputs, capture);
  outputs.qformer_outputs = qformer_outputs(inputs, outputs.vision_outputs, capture);
  const Tensor& states = outputs.qformer_outputs.last_hidden_state;
  const Index num_query_tokens = config().num_query_tokens;
  const Matrix projected = language_projection(Matrix::from(states.narrow(1, 0, num_query_tokens)));
  outputs.pooler_output = projected.to_tensor({states.dim(0), num_query_tokens, projected.cols()});
  const TensorView& text = inputs.input_ids.has_value() ? inputs.input_ids : inputs.inputs_embeds;
  if (inputs.vision_features != nullptr && states.dim(0) == 1 && text.rank() > 0 &&
      text.dim(0) > 1) {
    outputs.pooler_output = outputs.pooler_output.repeat_interleave(text.dim(0));
  }
  return outputs;
}

ImageTextToTextModelOutput ImageTextToTextParts::forward(const ImageTextToTextInputs& given,
                                                         const ForwardCapture& capture,
                                                         LogitsFor logits) const {
  require_one_source(given);
  ImageTextToTextModelOutput outputs;
  // vision -> qformer -> project
  BaseModelOutputWithVisionQformerOutputs features = image_features(given, capture);
  // -> place among the text
  const detail::ModernInputs inputs(given, features.pooler_output, config(), *language_model);
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

ImageTextToTextModelOutput ImageTextToTextParts::forward_without_logits(
    const ImageTextToTextInputs& inputs) const {
  ImageTextToTextInputs read = inputs;
  // Without logits, labels only make an encoder-decoder's decoder ids.
  if (!language_model->traits().is_encoder_decoder) read.labels = {};
  return forward(read, {inputs.output_hidden_states, inputs.output_attentions}, LogitsFor::None);
}

}  // namespace detail

namespace {

struct ImageTextToTextKind {
  std::string_view model_type;
  ImageTextToTextModel (*make)(const Weights& weights, const ImageTextToTextConfig& config);
};

template <class Model>
constexpr ImageTextToTextKind image_text_to_text_kind() {
  using Config = typename Model::Config;
  return {Config::kModelType,
          [](const Weights& weights, const ImageTextToTextConfig& config) -> ImageTextToTextModel {
            return Model(weights, dynamic_cast<const Config&>(config));
          }};
}

// One line per model.
constexpr ImageTextToTextKind kImageTextToTextKinds[] = {
    image_text_to_text_kind<InstructBlipForConditionalGeneration>(),
    image_text_to_text_kind<Blip2ForConditionalGeneration>(),
    image_text_to_text_kind<InstructBlipVideoForConditionalGeneration>(),
};

ImageTextToTextModel make_model(const Weights& weights, const ImageTextToTextConfig& config) {
  if (!config.writes_text()) {
    throw ConfigError("config.json: \"architectures\" is " + config.other.at("architectures") +
                      ", a model that compares images and texts and writes none: use "
                      "load_retrieval, or the program retrieve");
  }
  for (const ImageTextToTextKind& kind : kImageTextToTextKinds) {
    if (kind.model_type == config.model_type()) return kind.make(weights, config);
  }
  throw ConfigError("there is no model for configurations of model_type \"" +
                    std::string(config.model_type()) + "\"");
}

}  // namespace

ImageTextToTextModel::ImageTextToTextModel(
    std::shared_ptr<const detail::ImageTextToTextParts> parts)
    : parts_(std::move(parts)) {}

ImageTextToTextModel::ImageTextToTextModel(const Weights& weights,
                                           const ImageTextToTextConfig& config)
    : ImageTextToTextModel(make_model(weights, config)) {}

ImageTextToTextModel ImageTextToTextModel::from_pretrained(const std::filesystem::path& path,
                                                           const LoadOptions& options) {
  const auto config = load_image_text_to_text_config(path);
  const Weights weights = detail::open_weights(path, options);
  ImageTextToTextModel model(weights, *config);
  weights.finish();
  detail::warn_if_legacy(*config);
  return model;
}

const ImageTextToTextConfig& ImageTextToTextModel::config() const { return parts_->config(); }
const LanguageModel& ImageTextToTextModel::language_model() const {
  return *parts_->language_model;
}

ImageTextToTextModelOutput ImageTextToTextModel::forward(
    const ImageTextToTextInputs& inputs) const {
  return parts_->forward(inputs, {}, LogitsFor::AllRows);
}

BaseModelOutputWithVisionQformerOutputs ImageTextToTextModel::get_image_features(
    const TensorView& pixel_values, const TensorView& qformer_input_ids,
    const TensorView& qformer_attention_mask, bool interpolate_pos_encoding,
    const ForwardCapture& capture) const {
  return parts_->image_features({.pixel_values = pixel_values,
                                 .qformer_input_ids = qformer_input_ids,
                                 .qformer_attention_mask = qformer_attention_mask,
                                 .interpolate_pos_encoding = interpolate_pos_encoding},
                                capture);
}

BaseModelOutputWithVisionQformerOutputs ImageTextToTextModel::get_image_features(
    const VisionFeatures& features, const TensorView& qformer_input_ids,
    const TensorView& qformer_attention_mask, const ForwardCapture& capture) const {
  return parts_->image_features({.qformer_input_ids = qformer_input_ids,
                                 .qformer_attention_mask = qformer_attention_mask,
                                 .vision_features = &features},
                                capture);
}

VisionFeatures ImageTextToTextModel::encode_image(const TensorView& pixel_values,
                                                  bool interpolate_pos_encoding) const {
  return VisionFeatures(parts_
                            ->encode_image({.pixel_values = pixel_values,
                                            .interpolate_pos_encoding = interpolate_pos_encoding},
                                           {})
                            .last_hidden_state);
}

EmbeddedBatch ImageTextToTextModel::embed_prompt(const ImageTextToTextInputs& inputs) const {
  require_one_source(inputs);
  const Tensor features = parts_->image_features(inputs, {}).pooler_output;
  return detail::embed_prompt(detail::ModernInputs(inputs, features, config(), language_model()),
                              features, language_model());
}

GenerateOutput ImageTextToTextModel::generate(const BatchFeature& text,
                                              const GenerationConfig& config,
                                              const VisionFeatures& features,
                                              const GenerateCallbacks& callbacks) const {
  ImageTextToTextInputs inputs = ImageTextToTextInputs::from(text);
  inputs.pixel_values = {};
  inputs.vision_features = &features;
  return generate(inputs, config, callbacks);
}

GenerateOutput ImageTextToTextModel::generate(const ImageTextToTextInputs& given,
                                              const GenerationConfig& config,
                                              const GenerateCallbacks& callbacks) const {
  require_one_source(given);
  const Tensor features = parts_->image_features(given, {}).pooler_output;
  ImageTextToTextInputs complete = given;
  complete.labels = {};
  Tensor bare;
  if (!given.input_ids.has_value() && !given.inputs_embeds.has_value()) {
    bare = detail::bare_prompts(this->config(), language_model().traits(), features);
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
