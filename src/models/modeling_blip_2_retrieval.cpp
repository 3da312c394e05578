#include "instructblip/models/modeling_blip_2_retrieval.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/layers/float_copy.h"
#include "instructblip/layers/linear.h"
#include "instructblip/models/modeling_blip_2_qformer.h"
#include "instructblip/models/modeling_blip_2_vision.h"
#include "models/prompt.h"

namespace instructblip {
namespace {

std::shared_ptr<const Blip2QFormerModel> qformer_of(const Weights& weights,
                                                    const Blip2Config& config) {
  return std::make_shared<const Blip2QFormerModel>(weights["qformer"], config.qformer_config);
}

// Throws ConfigError if the configuration is invalid, or that of a model which writes text.
const Blip2Config& checked(const Blip2Config& config) {
  const auto found = config.other.find("architectures");
  if (found != config.other.end() &&
      found->second.find("ForConditionalGeneration") != std::string::npos) {
    throw ConfigError("config.json: \"architectures\" is " + found->second +
                      ", a model that writes text, expected Blip2ForImageTextRetrieval: use load");
  }
  return validated(config);
}

Tensor query_tokens_of(const Weights& weights, const Blip2Config& config) {
  return float_copy(weights[detail::kQueryTokens].get(
      {1, config.num_query_tokens, config.qformer_config.hidden_size}));
}

// torch.nn.functional.normalize over the last dimension of states [batch, length, width], after the
// projection.
Tensor projected(const Linear& projection, const TensorView& states) {
  Matrix rows = projection(Matrix::from(states));
  for (Index r = 0; r < rows.rows(); ++r) {
    float* const row = rows.row(r);
    double squares = 0.0;
    for (Index i = 0; i < rows.cols(); ++i) squares += static_cast<double>(row[i]) * row[i];
    const auto norm = static_cast<float>(std::max(std::sqrt(squares), 1e-12));
    for (Index i = 0; i < rows.cols(); ++i) row[i] /= norm;
  }
  return rows.to_tensor({states.dim(0), states.dim(1), rows.cols()});
}

// Texts without the image placeholders that a processor puts in front, and their int64 mask.
struct Texts {
  TensorView ids;
  Tensor mask;

  Texts(const TensorView& input_ids, const TensorView& attention_mask, const Blip2Config& config)
      : ids(input_ids) {
    if (ids.rank() != 2 || ids.dim(0) < 1 || ids.dim(1) < 1) {
      throw InputError("input_ids have shape " + to_string(ids.shape) +
                       ", expected [texts, length], neither of them 0");
    }
    mask = detail::mask_or_ones(attention_mask, ids.shape, "attention_mask");
    const Index placeholders = leading_placeholders(config);
    const Index length = ids.dim(1) - placeholders;
    ids = ids.narrow(1, placeholders, length);
    mask = Tensor::copy_of(mask.narrow(1, placeholders, length));
  }

 private:
  Index leading_placeholders(const Blip2Config& config) const {
    if (!config.image_token_index) return 0;
    const Tensor all = detail::as_ids(ids, ids.shape, "input_ids");
    const auto is_placeholder = [&](Index column) {
      for (Index b = 0; b < all.dim(0); ++b) {
        if (all.at<std::int64_t>({b, column}) != *config.image_token_index) return false;
      }
      return true;
    };
    Index count = 0;
    while (count < all.dim(1) && is_placeholder(count)) ++count;
    if (count < all.dim(1)) return count;
    throw InputError("input_ids " + to_string(ids.shape) +
                     " hold image placeholders alone: pass the processor a text");
  }
};

// [batch or 1, ...] -> [batch, ...].
Tensor for_all(const Tensor& values, Index batch) {
  return values.repeat_interleave(batch / values.dim(0));
}

// Queries [1, q, width] in front of each text [texts, t, width].
Tensor with_queries(const Tensor& queries, const Tensor& texts) {
  const Index batch = texts.dim(0);
  Tensor all =
      Tensor::uninitialized(DType::Float32, {batch, queries.dim(1) + texts.dim(1), texts.dim(2)});
  float* out = all.data<float>();
  for (Index b = 0; b < batch; ++b) {
    const Index size = texts.size() / batch;
    out = std::copy_n(queries.data<float>(), queries.size(), out);
    out = std::copy_n(texts.data<float>() + b * size, size, out);
  }
  return all;
}

Tensor transposed(const Tensor& matrix) {
  Tensor result = Tensor::uninitialized(DType::Float32, {matrix.dim(1), matrix.dim(0)});
  for (Index r = 0; r < matrix.dim(0); ++r) {
    for (Index c = 0; c < matrix.dim(1); ++c) {
      result.at<float>({c, r}) = matrix.at<float>({r, c});
    }
  }
  return result;
}

}  // namespace

struct Blip2VisionModelWithProjection::Parts {
  Blip2Config config;
  Blip2VisionModel vision_model;
  Tensor query_tokens;  // [1, num_query_tokens, qformer hidden_size]
  std::shared_ptr<const Blip2QFormerModel> qformer;
  Linear vision_projection;
};

Blip2VisionModelWithProjection::Blip2VisionModelWithProjection(
    const Weights& weights, const Blip2Config& config,
    std::shared_ptr<const Blip2QFormerModel> qformer)
    : parts_(std::make_shared<const Parts>(
          Parts{validated(config), Blip2VisionModel(weights["vision_model"], config.vision_config),
                query_tokens_of(weights, config), qformer ? qformer : qformer_of(weights, config),
                Linear(weights["vision_projection"], config.qformer_config.hidden_size,
                       config.image_text_hidden_size)})) {}

Blip2VisionModelWithProjection Blip2VisionModelWithProjection::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  return detail::load_model<Blip2VisionModelWithProjection>(
      path, options, {""}, "", {"embeddings", "text_projection", "itm_head"});
}

const Blip2Config& Blip2VisionModelWithProjection::config() const { return parts_->config; }

Blip2VisionModelOutput Blip2VisionModelWithProjection::forward(
    const TensorView& pixel_values, const ForwardCapture& capture,
    bool interpolate_pos_encoding) const {
  BaseModelOutputWithPooling states = parts_->vision_model.forward(
      pixel_values, {.interpolate_pos_encoding = interpolate_pos_encoding,
                     .output_hidden_states = capture.hidden_states,
                     .output_attentions = capture.attentions});
  VisionFeatures features(std::move(states.last_hidden_state));
  Tensor image_embeds = embed(features);
  return {.image_embeds = std::move(image_embeds),
          .last_hidden_state = std::move(features.last_hidden_state),
          .hidden_states = std::move(states.hidden_states),
          .attentions = std::move(states.attentions)};
}

Tensor Blip2VisionModelWithProjection::embed(const VisionFeatures& features) const {
  const auto states = parts_->qformer->forward(
      {.query_embeds = parts_->query_tokens, .encoder_hidden_states = features.last_hidden_state});
  return projected(parts_->vision_projection, states.last_hidden_state);
}

VisionFeatures Blip2VisionModelWithProjection::encode_image(const TensorView& pixel_values) const {
  return VisionFeatures(parts_->vision_model.forward(pixel_values).last_hidden_state);
}

struct Blip2TextModelWithProjection::Parts {
  Blip2Config config;
  Blip2TextEmbeddings embeddings;
  std::shared_ptr<const Blip2QFormerModel> qformer;
  Linear text_projection;

  /// The embedded words [texts, t, hidden_size] as the Q-Former takes them.
  Tensor embed(const Texts& texts, const TensorView& position_ids = {}) const {
    PaddedBatch batch(texts.ids.dim(0), texts.ids.dim(1), texts.mask);
    if (position_ids.has_value()) batch.use_positions(position_ids);
    return batch.scatter(embeddings(texts.ids, batch));
  }
  BaseModelOutputWithPoolingAndCrossAttentions read(const Texts& texts,
                                                    const TensorView& position_ids = {},
                                                    const ForwardCapture& capture = {}) const {
    return qformer->forward({.query_embeds = embed(texts, position_ids),
                             .query_length = 0,
                             .attention_mask = texts.mask,
                             .output_hidden_states = capture.hidden_states,
                             .output_attentions = capture.attentions});
  }
  /// The first position stands for the text: [texts, image_text_hidden_size].
  Tensor project_first(const Tensor& last_hidden_state) const {
    const Tensor embeds = projected(text_projection, last_hidden_state.narrow(1, 0, 1));
    return embeds.reshaped({embeds.dim(0), embeds.dim(2)});
  }
};

Blip2TextModelWithProjection::Blip2TextModelWithProjection(
    const Weights& weights, const Blip2Config& config,
    std::shared_ptr<const Blip2QFormerModel> qformer)
    : parts_(std::make_shared<const Parts>(Parts{
          validated(config), Blip2TextEmbeddings(weights["embeddings"], config.qformer_config),
          qformer ? qformer : qformer_of(weights, config),
          Linear(weights["text_projection"], config.qformer_config.hidden_size,
                 config.image_text_hidden_size)})) {
  if (config.qformer_config.use_qformer_text_input) return;
  throw ConfigError(
      "config.json: qformer_config has \"use_qformer_text_input\": false, so that its Q-Former "
      "reads no text; expected true in a model that compares images and texts");
}

Blip2TextModelWithProjection Blip2TextModelWithProjection::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  return detail::load_model<Blip2TextModelWithProjection>(
      path, options, {""}, "",
      {"vision_model", "vision_projection", "itm_head", detail::kQueryTokens});
}

const Blip2Config& Blip2TextModelWithProjection::config() const { return parts_->config; }

Blip2TextModelOutput Blip2TextModelWithProjection::forward(const TensorView& input_ids,
                                                           const TensorView& attention_mask,
                                                           const TensorView& position_ids,
                                                           const ForwardCapture& capture) const {
  auto states =
      parts_->read(Texts(input_ids, attention_mask, parts_->config), position_ids, capture);
  Tensor text_embeds = projected(parts_->text_projection, states.last_hidden_state);
  return {.text_embeds = std::move(text_embeds),
          .last_hidden_state = std::move(states.last_hidden_state),
          .hidden_states = std::move(states.hidden_states),
          .attentions = std::move(states.attentions)};
}

Blip2ForImageTextRetrieval::Blip2ForImageTextRetrieval(const Weights& weights,
                                                       const Blip2Config& config)
    : Blip2ForImageTextRetrieval(weights, checked(config), qformer_of(weights, config)) {}

Blip2ForImageTextRetrieval::Blip2ForImageTextRetrieval(
    const Weights& weights, const Blip2Config& config,
    const std::shared_ptr<const Blip2QFormerModel>& qformer)
    : vision_(weights, config, qformer),
      text_(weights, config, qformer),
      itm_head_(std::make_shared<const Linear>(weights["itm_head"],
                                               config.qformer_config.hidden_size, 2)) {}

Blip2ForImageTextRetrieval Blip2ForImageTextRetrieval::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  return detail::load_model<Blip2ForImageTextRetrieval>(path, options, {""}, "");
}

Tensor Blip2ForImageTextRetrieval::embed_text(const TensorView& input_ids,
                                              const TensorView& attention_mask) const {
  const auto states = text_.parts_->read(Texts(input_ids, attention_mask, config()));
  return text_.parts_->project_first(states.last_hidden_state);
}

Tensor Blip2ForImageTextRetrieval::similarity(const TensorView& image_embeds,
                                              const TensorView& text_embeds) {
  if (image_embeds.rank() != 3 || text_embeds.rank() != 2 ||
      image_embeds.dim(2) != text_embeds.dim(1) || image_embeds.dtype != DType::Float32 ||
      text_embeds.dtype != DType::Float32) {
    throw InputError("similarity: image_embeds are " + to_string(image_embeds.shape) +
                     " and text_embeds " + to_string(text_embeds.shape) +
                     ", expected float32 [images, queries, width] and [texts, width]");
  }
  const Index images = image_embeds.dim(0), queries = image_embeds.dim(1);
  const auto texts = PreparedMatrix::prepare(SharedTensor(text_embeds, nullptr));
  Matrix cosines(images * queries, text_embeds.dim(0));
  matmul(Matrix::from(image_embeds), texts, cosines);
  Tensor nearest(DType::Float32, {images, cosines.cols()});
  for (Index i = 0; i < images; ++i) {
    float* const out = nearest.data<float>() + i * cosines.cols();
    std::copy_n(cosines.row(i * queries), cosines.cols(), out);
    for (Index q = 1; q < queries; ++q) {
      const float* const row = cosines.row(i * queries + q);
      std::transform(out, out + cosines.cols(), row, out,
                     [](float a, float b) { return std::max(a, b); });
    }
  }
  return nearest;
}

Blip2ImageTextMatchingModelOutput Blip2ForImageTextRetrieval::forward(
    const Blip2ImageTextMatchingInputs& inputs) const {
  if (inputs.pixel_values.has_value() == (inputs.vision_features != nullptr)) {
    throw InputError("pass the image once, as pixel_values or as vision_features");
  }
  const Texts texts(inputs.input_ids, inputs.attention_mask, config());
  Blip2ImageTextMatchingModelOutput output;
  if (inputs.vision_features != nullptr) {
    output.vision_model_output.last_hidden_state = inputs.vision_features->last_hidden_state;
  } else {
    output.vision_model_output = vision_.parts_->vision_model.forward(
        inputs.pixel_values, {.output_hidden_states = inputs.output_hidden_states,
                              .output_attentions = inputs.output_attentions});
  }
  const Tensor& states = output.vision_model_output.last_hidden_state;
  if (!inputs.use_image_text_matching_head) {
    output.image_embeds = embed_image(VisionFeatures(states));
    output.text_model_output = text_.parts_->read(texts);
    output.text_embeds = text_.parts_->project_first(output.text_model_output.last_hidden_state);
    output.logits_per_image = similarity(output.image_embeds, output.text_embeds);
    output.logits_per_text = transposed(output.logits_per_image);
    return output;
  }
  const Index images = states.dim(0), pairs = std::max(images, texts.ids.dim(0));
  if ((images != 1 && images != pairs) || (texts.ids.dim(0) != 1 && texts.ids.dim(0) != pairs)) {
    throw InputError("matching compares pairs, but there are " + std::to_string(images) +
                     " images and " + std::to_string(texts.ids.dim(0)) +
                     " texts: give as many of both, or one image or one text for all");
  }
  const Tensor& query_tokens = vision_.parts_->query_tokens;
  const Index queries = query_tokens.dim(1);
  output.text_model_output = text_.parts_->qformer->forward(
      {.query_embeds = with_queries(query_tokens, for_all(text_.parts_->embed(texts), pairs)),
       .query_length = queries,
       .attention_mask = prepend_columns(for_all(texts.mask, pairs), queries, 1),
       .encoder_hidden_states = states});
  output.text_embeds = output.text_model_output.last_hidden_state;
  output.image_embeds = states;
  const Matrix logits = (*itm_head_)(Matrix::from(output.text_embeds.narrow(1, 0, queries)));
  output.logits_per_image = Tensor(DType::Float32, {pairs, 2});
  for (Index r = 0; r < logits.rows(); ++r) {
    float* const mean = output.logits_per_image.data<float>() + r / queries * 2;
    for (Index i = 0; i < 2; ++i) mean[i] += logits.row(r)[i] / static_cast<float>(queries);
  }
  output.logits_per_text = transposed(output.logits_per_image);
  return output;
}

}  // namespace instructblip
