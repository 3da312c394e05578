#include "instructblip/models/modeling_instructblip.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/core/timings.h"
#include "instructblip/models/auto_language_model.h"
#include "instructblip/models/folder_check.h"
#include "instructblip/models/loss_utils.h"
#include "models/prompt_embedding.h"

namespace instructblip {
namespace detail {

void require_finite(const Tensor& logits) {
  const auto values = logits.span<float>();
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  if (bad == values.end()) return;
  throw InputError("the language model's logits are not finite (first at element " +
                   std::to_string(bad - values.begin()) + " of " + to_string(logits.shape()) +
                   "): the checkpoint is damaged or its activations overflow");
}

/// Prompts of one image each that hold placeholders and BOS only.
Tensor bare_prompts(const InstructBlipConfig& config, const LanguageModelTraits& traits,
                    Index images) {
  if (!traits.bos_token_id) {
    throw InputError(
        "input_ids are needed: the language model has no bos_token_id to begin a prompt with");
  }
  const Index places = config.image_token_index ? config.num_query_tokens : 0;
  const Tensor bos(
      std::vector<std::int64_t>(static_cast<std::size_t>(images), *traits.bos_token_id),
      {images, 1});
  return columns_before(places, config.image_token_index.value_or(0), bos);
}

void require_one_source(const InstructBlipInputs& inputs) {
  const int sources = int{is_given(inputs.pixel_values)} +
                      int{inputs.mm_encoder_outputs != nullptr} +
                      int{inputs.image_features != nullptr};
  if (sources != 1) {
    throw InputError(
        "exactly one of pixel_values, mm_encoder_outputs and image_features is needed, found " +
        std::to_string(sources));
  }
}

/// One picture's features for each of `images` rows.
Tensor repeat_image(const Tensor& features, Index images) {
  Tensor repeated =
      Tensor::uninitialized(DType::Float32, {images, features.dim(1), features.dim(2)});
  for (Index i = 0; i < images; ++i) {
    std::copy_n(features.data<float>(), features.size(),
                repeated.data<float>() + i * features.size());
  }
  return repeated;
}

}  // namespace detail

InstructBlipInputs InstructBlipInputs::from(const BatchFeature& features) {
  InstructBlipInputs inputs;
  const auto view = [](const Tensor& tensor) {
    return tensor.empty() ? TensorView() : tensor.view();
  };
  inputs.pixel_values = view(features.pixel_values);
  inputs.qformer_input_ids = view(features.qformer_input_ids);
  inputs.qformer_attention_mask = view(features.qformer_attention_mask);
  inputs.input_ids = view(features.input_ids);
  inputs.attention_mask = view(features.attention_mask);
  return inputs;
}

InstructBlipModel::InstructBlipModel(const Weights& weights, const InstructBlipConfig& config,
                                     bool with_head)
    : config_((config.validate(), config)),
      vision_model_(weights["vision_model"], config.vision_config),
      qformer_(weights["qformer"], config.qformer_config),
      language_projection_(weights["language_projection"], config.qformer_config.hidden_size,
                           config.text_config->get_hidden_size()),
      language_model_(AutoLanguageModel::from_config(weights["language_model"], *config.text_config,
                                                     with_head)) {
  const Index width = config.text_config->get_hidden_size();
  const Index embedding_size = language_model_->traits().embedding_size;
  if (embedding_size != width) {
    throw ConfigError("config.json: text_config embeds tokens in " +
                      std::to_string(embedding_size) +
                      " numbers (word_embed_proj_dim), but image "
                      "features are projected to its hidden_size, " +
                      std::to_string(width) +
                      ": they cannot stand among them. Use a language model where both are equal");
  }
  const SharedTensor tokens =
      weights["query_tokens"].get({1, config.num_query_tokens, config.qformer_config.hidden_size});
  if (tokens.data != nullptr) query_tokens_ = Tensor::copy_of(tokens).to(DType::Float32);
}

InstructBlipModel InstructBlipModel::from_pretrained(const std::filesystem::path& path,
                                                     const LoadOptions& options) {
  const InstructBlipConfig config = InstructBlipConfig::from_pretrained(path);
  const Weights weights = detail::open_weights(path, options);
  InstructBlipModel model(weights, config);
  weights["language_model"]["lm_head"].ignore();
  weights.finish();
  detail::warn_if_legacy(config);
  return model;
}

BaseModelOutputWithVisionQformerOutputs InstructBlipModel::image_features(
    const InstructBlipInputs& inputs, const ForwardCapture& capture) const {
  if (!detail::is_given(inputs.qformer_input_ids) || inputs.qformer_input_ids.rank() != 2) {
    throw InputError(
        "qformer_input_ids [images, length] are needed: the instruction as the Q-Former "
        "reads it");
  }
  const Index images = inputs.qformer_input_ids.dim(0);
  BaseModelOutputWithVisionQformerOutputs outputs;
  if (inputs.image_features != nullptr) {
    const Tensor& features = inputs.image_features->last_hidden_state;
    outputs.vision_outputs.last_hidden_state =
        inputs.image_features->images() == 1 ? detail::repeat_image(features, images) : features;
  } else {
    const TimedZone zone("vision_model");
    outputs.vision_outputs = vision_model_.forward(
        inputs.pixel_values, {.interpolate_pos_encoding = inputs.interpolate_pos_encoding,
                              .output_hidden_states = capture.hidden_states,
                              .output_attentions = capture.attentions});
  }
  const Tensor& image_embeds = outputs.vision_outputs.last_hidden_state;
  if (image_embeds.rank() != 3 || image_embeds.dim(0) != images) {
    throw InputError("qformer_input_ids " + to_string(inputs.qformer_input_ids.shape) +
                     " do not go with image features " + to_string(image_embeds.shape()) +
                     ": each image needs one row of instruction");
  }

  const TimedZone zone("qformer");
  const Index queries = config_.num_query_tokens;
  const Tensor attention_mask = detail::columns_before(
      queries, 1,
      detail::mask_or_ones(inputs.qformer_attention_mask, inputs.qformer_input_ids.shape,
                           "qformer_attention_mask"));
  outputs.qformer_outputs = qformer_.forward({.input_ids = inputs.qformer_input_ids,
                                              .attention_mask = attention_mask,
                                              .query_embeds = query_tokens_,
                                              .encoder_hidden_states = image_embeds,
                                              .output_hidden_states = capture.hidden_states,
                                              .output_attentions = capture.attentions});

  // query_outputs[0][:, :num_query_tokens]
  const Tensor& hidden = outputs.qformer_outputs.last_hidden_state;
  const MatrixView rows = detail::as_rows(hidden);
  Matrix query_output(images * queries, hidden.dim(2));
  for (Index r = 0; r < query_output.rows(); ++r) {
    std::copy_n(rows.row(r / queries * hidden.dim(1) + r % queries), rows.cols,
                query_output.row(r));
  }
  const Matrix projected = language_projection_(query_output);
  outputs.pooler_output = projected.to_tensor({images, queries, projected.cols()});
  return outputs;
}

EmbeddedBatch InstructBlipModel::embed_prompt(const InstructBlipInputs& inputs,
                                              const Tensor& features) const {
  const Shape shape = detail::prompt_shape(inputs, features, *language_model_);
  const Index batch = shape[0], length = shape[1];
  const MatrixView image_rows = detail::as_rows(features);
  const Index expected = image_rows.rows / batch;
  Tensor mask = detail::mask_or_ones(inputs.attention_mask, shape, "attention_mask");

  // Legacy checkpoints know no placeholder: the features come in front of the text.
  const bool legacy = !config_.image_token_index;
  const Index before = legacy ? expected : 0;
  std::vector<bool> placeholders;
  if (!legacy) {
    placeholders = detail::placeholder_mask(*language_model_, *config_.image_token_index, inputs,
                                            batch, length);
    detail::check_placeholders(placeholders, batch, length, expected, features.dim(0) / batch,
                               *config_.image_token_index);
  }
  const Matrix text_rows = detail::text_embeddings(*language_model_, inputs, placeholders, mask);
  if (legacy) mask = detail::columns_before(expected, 1, mask);

  EmbeddedBatch prompt{PaddedBatch(batch, before + length, mask), {}};
  prompt.embeddings = Matrix(prompt.batch.rows.rows(), features.dim(-1));
  for (Index b = 0; b < batch; ++b) {
    const auto is_image = [&](Index c) {
      return legacy ? c < before : bool{placeholders[static_cast<std::size_t>(b * length + c)]};
    };
    Index column = 0, image_row = b * expected;
    for (Index r = prompt.batch.rows.begin(b); r < prompt.batch.rows.begin(b + 1); ++r) {
      // A placeholder that the mask leaves out takes its feature with it.
      const Index kept = prompt.batch.columns[static_cast<std::size_t>(r)];
      for (; column < kept; ++column) image_row += is_image(column);
      const float* source =
          is_image(kept) ? image_rows.row(image_row) : text_rows.row(b * length + kept - before);
      std::copy_n(source, features.dim(-1), prompt.embeddings.row(r));
    }
  }
  return prompt;
}

namespace detail {

LanguageModelOutputs forward_decoder_only(const LanguageModel& model, PaddedBatch& batch,
                                          MatrixView embeddings, const InstructBlipInputs& inputs,
                                          LogitsFor logits) {
  if (model.traits().forward_positions_from_mask) batch.use_compact_positions();
  const ForwardCapture capture{inputs.output_hidden_states, inputs.output_attentions};
  const auto state = model.start(embeddings, batch.rows);
  const DecodeOutput decoded = model.decode(*state, embeddings, batch.rows, logits, capture);

  LanguageModelOutputs outputs;
  outputs.last_hidden_state = batch.scatter(as_rows(decoded.last_hidden_state));
  outputs.hidden_states = batch.scatter(decoded.states.hidden_states);
  outputs.attentions = batch.scatter_attentions(decoded.states.attentions, batch);
  if (logits == LogitsFor::None) return outputs;
  require_finite(decoded.logits);
  if (is_given(inputs.labels)) {
    outputs.loss = for_causal_lm_loss(as_rows(decoded.logits), inputs.labels, batch);
  }
  outputs.logits = batch.scatter(as_rows(decoded.logits));
  return outputs;
}

LanguageModelOutputs forward_encoder_decoder(const LanguageModel& model, const PaddedBatch& batch,
                                             MatrixView embeddings,
                                             const InstructBlipInputs& inputs, LogitsFor logits) {
  Tensor shifted;
  if (!is_given(inputs.decoder_input_ids) && is_given(inputs.labels)) {
    shifted = shift_tokens_right(inputs.labels, model.traits().decoder_start_token_id,
                                 model.traits().pad_token_id);
  }
  const TensorView ids = shifted.empty() ? inputs.decoder_input_ids : shifted.view();
  if (!is_given(ids) || ids.rank() != 2 || ids.dim(0) != batch.batch) {
    throw InputError("an encoder-decoder needs decoder_input_ids [" + std::to_string(batch.batch) +
                     ", length] or labels, found " + to_string(ids.shape));
  }
  const ForwardCapture capture{inputs.output_hidden_states, inputs.output_attentions};
  const PaddedBatch decoder(ids.dim(0), ids.dim(1), inputs.decoder_attention_mask,
                            "decoder_attention_mask");
  const auto state = model.start(embeddings, batch.rows, capture);
  const Matrix decoder_rows = model.embed_decoder_tokens(decoder.gather_ids(ids));
  const DecodeOutput decoded = model.decode(*state, decoder_rows, decoder.rows, logits, capture);

  LanguageModelOutputs outputs;
  outputs.last_hidden_state = decoder.scatter(as_rows(decoded.last_hidden_state));
  outputs.decoder_hidden_states = decoder.scatter(decoded.states.hidden_states);
  outputs.decoder_attentions = decoder.scatter_attentions(decoded.states.attentions, decoder);
  outputs.cross_attentions = decoder.scatter_attentions(decoded.states.cross_attentions, batch);
  if (const Tensor* last = state->encoder_last_hidden_state()) {
    outputs.encoder_last_hidden_state = batch.scatter(as_rows(*last));
  }
  if (const CapturedStates* states = state->encoder_states()) {
    outputs.encoder_hidden_states = batch.scatter(states->hidden_states);
    outputs.encoder_attentions = batch.scatter_attentions(states->attentions, batch);
  }
  if (logits == LogitsFor::None) return outputs;
  require_finite(decoded.logits);
  if (is_given(inputs.labels)) {
    outputs.loss = cross_entropy(as_rows(decoded.logits), decoder.gather_ids(inputs.labels));
  }
  outputs.logits = decoder.scatter(as_rows(decoded.logits));
  return outputs;
}

}  // namespace detail

InstructBlipForConditionalGenerationModelOutput InstructBlipModel::forward(
    const InstructBlipInputs& inputs, LogitsFor logits) const {
  detail::require_one_source(inputs);
  // The bare model's keyword arguments reach all parts, the other's the language model alone.
  ForwardCapture capture;
  if (logits == LogitsFor::None) {
    capture = {inputs.output_hidden_states, inputs.output_attentions};
  }
  BaseModelOutputWithVisionQformerOutputs features =
      inputs.mm_encoder_outputs ? *inputs.mm_encoder_outputs : image_features(inputs, capture);
  EmbeddedBatch prompt = embed_prompt(inputs, features.pooler_output);
  InstructBlipForConditionalGenerationModelOutput outputs;
  const TimedZone zone("language_model");
  const bool decoder_only = config_.use_decoder_only_language_model();
  InstructBlipInputs read = inputs;
  Tensor labels;
  const bool legacy_loss = decoder_only && !config_.image_token_index &&
                           detail::is_given(inputs.labels) && logits != LogitsFor::None;
  if (legacy_loss) {
    labels = detail::legacy_labels(inputs.labels, prompt.batch.batch, prompt.batch.length);
    read.labels = labels;
  }
  outputs.language_model_outputs =
      decoder_only ? detail::forward_decoder_only(*language_model_, prompt.batch, prompt.embeddings,
                                                  read, logits)
                   : detail::forward_encoder_decoder(*language_model_, prompt.batch,
                                                     prompt.embeddings, read, logits);
  outputs.loss = outputs.language_model_outputs.loss;
  outputs.logits = outputs.language_model_outputs.logits;
  if (legacy_loss) outputs.logits = detail::last_columns(outputs.logits, inputs.labels.dim(1));
  outputs.vision_outputs = std::move(features.vision_outputs);
  outputs.qformer_outputs = std::move(features.qformer_outputs);
  return outputs;
}

InstructBlipForConditionalGenerationModelOutput InstructBlipModel::forward(
    const InstructBlipInputs& inputs) const {
  return forward(inputs, LogitsFor::None);
}

InstructBlipForConditionalGeneration::InstructBlipForConditionalGeneration(
    const Weights& weights, const InstructBlipConfig& config)
    : model_(weights, config, true) {}

InstructBlipForConditionalGeneration InstructBlipForConditionalGeneration::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  const InstructBlipConfig config = InstructBlipConfig::from_pretrained(path);
  const Weights weights = detail::open_weights(path, options);
  InstructBlipForConditionalGeneration model(weights, config);
  weights.finish();
  const bool is_checked = options.check_folder && warn_about_folder(path);
  if (!is_checked) detail::warn_if_legacy(config);
  return model;
}

InstructBlipForConditionalGenerationModelOutput InstructBlipForConditionalGeneration::forward(
    const InstructBlipInputs& inputs) const {
  return model_.forward(inputs, LogitsFor::AllRows);
}

BaseModelOutputWithVisionQformerOutputs InstructBlipForConditionalGeneration::get_image_features(
    const TensorView& pixel_values, const TensorView& qformer_input_ids,
    const TensorView& qformer_attention_mask, bool interpolate_pos_encoding,
    const ForwardCapture& capture) const {
  InstructBlipInputs inputs;
  inputs.pixel_values = pixel_values;
  inputs.qformer_input_ids = qformer_input_ids;
  inputs.qformer_attention_mask = qformer_attention_mask;
  inputs.interpolate_pos_encoding = interpolate_pos_encoding;
  return model_.image_features(inputs, capture);
}

ImageFeatures InstructBlipForConditionalGeneration::encode_image(
    const TensorView& pixel_values, bool interpolate_pos_encoding) const {
  const TimedZone zone("vision_model");
  return {model_.vision_model()
              .forward(pixel_values, {.interpolate_pos_encoding = interpolate_pos_encoding})
              .last_hidden_state};
}

EmbeddedBatch InstructBlipForConditionalGeneration::embed_prompt(
    const InstructBlipInputs& inputs) const {
  detail::require_one_source(inputs);
  if (inputs.mm_encoder_outputs != nullptr) {
    return model_.embed_prompt(inputs, inputs.mm_encoder_outputs->pooler_output);
  }
  return model_.embed_prompt(inputs, model_.image_features(inputs, {}).pooler_output);
}

GenerateOutput InstructBlipForConditionalGeneration::generate(
    const BatchFeature& inputs, const GenerationConfig& config,
    const GenerateCallbacks& callbacks) const {
  return generate(InstructBlipInputs::from(inputs), config, callbacks);
}

GenerateOutput InstructBlipForConditionalGeneration::generate(
    const BatchFeature& text, const GenerationConfig& config, const ImageFeatures& features,
    const GenerateCallbacks& callbacks) const {
  InstructBlipInputs inputs = InstructBlipInputs::from(text);
  inputs.pixel_values = {};
  inputs.image_features = &features;
  return generate(inputs, config, callbacks);
}

GenerateOutput InstructBlipForConditionalGeneration::generate(
    const InstructBlipInputs& given_inputs, const GenerationConfig& config,
    const GenerateCallbacks& callbacks) const {
  detail::require_one_source(given_inputs);
  InstructBlipInputs inputs = given_inputs;
  const BaseModelOutputWithVisionQformerOutputs features =
      inputs.mm_encoder_outputs ? *inputs.mm_encoder_outputs : model_.image_features(inputs, {});

  Tensor beginnings;
  if (!detail::is_given(inputs.input_ids) && !detail::is_given(inputs.inputs_embeds)) {
    beginnings = detail::bare_prompts(this->config(), language_model().traits(),
                                      features.pooler_output.dim(0));
    inputs.input_ids = beginnings;
  }

  EmbeddedBatch prompt = model_.embed_prompt(inputs, features.pooler_output);
  const bool decoder_only = this->config().use_decoder_only_language_model();
  if (decoder_only) prompt.batch.use_compact_positions();
  GenerateInputs prompts{.inputs_embeds = prompt.embeddings,
                         .rows = prompt.batch.rows,
                         .decoder_input_ids = inputs.decoder_input_ids};
  if (decoder_only) {
    prompts.input_ids = inputs.input_ids;
    prompts.attention_mask = inputs.attention_mask;
  }
  GenerationConfig lengths = config;
  Tensor mask;
  if (decoder_only && !this->config().image_token_index) {
    const Shape text = detail::prompt_shape(inputs, features.pooler_output, language_model());
    const Index before = prompt.batch.length - text[1];
    mask = detail::columns_before(
        before, 1, detail::mask_or_ones(inputs.attention_mask, text, "attention_mask"));
    prompts.attention_mask = mask;
    lengths = detail::legacy_lengths(config, before);
  }
  const TimedZone zone("language_model");
  return instructblip::generate(language_model(), prompts, lengths, callbacks);
}

}  // namespace instructblip
