#include "models/prompt.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/core/log.h"

namespace instructblip::detail {
namespace {

// An id that no tokenizer produces.
constexpr std::int64_t kVirtualImageToken = std::numeric_limits<std::int64_t>::min();

// Checks text and features. Returns the text's batch and length.
Shape check_prompt(const ImageTextToTextInputs& inputs, const Tensor& features, Index width) {
  const bool embedded = inputs.inputs_embeds.has_value();
  const TensorView& text = embedded ? inputs.inputs_embeds : inputs.input_ids;
  if (!text.has_value() || text.rank() != (embedded ? 3 : 2)) {
    throw InputError(
        "no text given: expected input_ids [batch, length] or inputs_embeds [batch, length, " +
        std::to_string(width) + "], found " + to_string(text.shape));
  }
  if (features.dtype() != DType::Float32 || features.rank() != 3) {
    throw InputError("image features are " + std::string(name_of(features.dtype())) + " " +
                     to_string(features.shape()) +
                     ", expected float32 [images, num_query_tokens, " + std::to_string(width) +
                     "]");
  }
  if ((embedded && text.dim(2) != width) || features.dim(-1) != width) {
    throw InputError("image features of width " + std::to_string(features.dim(-1)) +
                     (embedded ? " and inputs_embeds " + to_string(text.shape) : "") +
                     ", but the language model's embeddings have width " + std::to_string(width));
  }
  const Index batch = text.dim(0);
  if (batch == 0 || features.dim(0) % batch != 0) {
    throw InputError(std::to_string(features.dim(0)) + " images for " + std::to_string(batch) +
                     " prompts: each prompt needs the same number of images");
  }
  return {batch, text.dim(1)};
}

// Extends the labels of a legacy prompt's last columns to all columns, [batch, length]. The first
// label is ignored, as in transformers 4.49: it would be predicted from the image.
Tensor legacy_labels(const TensorView& labels, Index batch, Index length) {
  if (labels.rank() != 2 || labels.dim(0) != batch || labels.dim(1) < 1 || labels.dim(1) > length) {
    throw InputError("labels have shape " + to_string(labels.shape) + ", expected [" +
                     std::to_string(batch) + ", at most " + std::to_string(length) + "]");
  }
  Tensor text = as_ids(labels, labels.shape, "labels");
  for (Index b = 0; b < batch; ++b) text.at<std::int64_t>({b, 0}) = kIgnoredLabel;
  return prepend_columns(text, length - labels.dim(1), kIgnoredLabel);
}

// For each position [batch * length], whether it is a placeholder.
std::vector<bool> find_placeholders(const ModernInputs& inputs, const LanguageModel& model) {
  std::vector<bool> found;
  if (inputs.input_ids.has_value()) {
    const Tensor ids = as_ids(inputs.input_ids, {inputs.batch(), inputs.length()}, "input_ids");
    for (const std::int64_t id : ids.span<std::int64_t>()) {
      found.push_back(id == inputs.image_token_id());
    }
    return found;
  }
  const std::vector<std::int64_t> placeholder = {inputs.image_token_id()};
  const Matrix embedding = model.embed_tokens(placeholder);
  const Matrix embeds = Matrix::from(Tensor::copy_of(inputs.inputs_embeds).to(DType::Float32));
  for (Index r = 0; r < embeds.rows(); ++r) {
    found.push_back(std::equal(embeds.row(r), embeds.row(r) + embeds.cols(), embedding.row(0)));
  }
  return found;
}

void check_placeholders(const std::vector<bool>& placeholders, const ModernInputs& inputs,
                        const Tensor& features) {
  const Index expected = features.dim(0) / inputs.batch() * features.dim(1);
  const Index images = expected / inputs.num_query_tokens();
  for (Index b = 0; b < inputs.batch(); ++b) {
    const auto begin = placeholders.begin() + b * inputs.length();
    const auto found = static_cast<Index>(std::count(begin, begin + inputs.length(), true));
    if (found == expected) continue;
    if (found == 0) {
      throw InputError("prompt " + std::to_string(b) +
                       " has no place for its image: pass the processor the text together with "
                       "the image, or with num_images = " +
                       std::to_string(images) + " (it holds no image placeholders, id " +
                       std::to_string(inputs.image_token_id()) + ", expected " +
                       std::to_string(expected) + ")");
    }
    throw InputError("row " + std::to_string(b) + " of the prompt holds " + std::to_string(found) +
                     " image placeholders (id " + std::to_string(inputs.image_token_id()) +
                     "), expected " + std::to_string(expected) + " for " + std::to_string(images) +
                     " image(s). The processor's num_query_tokens and image token must be those "
                     "of the model's config.json");
  }
}

// The embeddings of the unmasked positions; those of placeholders are arbitrary.
Matrix embed_text(const ModernInputs& inputs, const PaddedBatch& batch,
                  const std::vector<bool>& placeholders, const LanguageModel& model) {
  if (inputs.inputs_embeds.has_value()) return batch.gather(inputs.inputs_embeds);
  std::vector<std::int64_t> ids = batch.gather_ids(inputs.input_ids);
  for (Index b = 0; b < batch.batch; ++b) {
    for (Index r = batch.rows.begin(b); r < batch.rows.begin(b + 1); ++r) {
      std::int64_t& id = at(ids, r);
      if (at(placeholders, b * batch.length + batch.column(r))) {
        id = 0;
      } else if (id < 0 || id >= model.traits().vocab_size) {
        throw InputError("input_ids[" + std::to_string(b) + "][" +
                         std::to_string(batch.column(r) - inputs.virtual_columns()) + "] is " +
                         std::to_string(id) + ", expected an id from 0 to " +
                         std::to_string(model.traits().vocab_size - 1));
      }
    }
  }
  return model.embed_tokens(ids);
}

}  // namespace

Tensor mask_or_ones(const TensorView& mask, const Shape& shape, std::string_view argument) {
  if (mask.has_value()) return as_ids(mask, shape, argument);
  Tensor ones(DType::Int64, shape);
  std::fill_n(ones.data<std::int64_t>(), ones.size(), std::int64_t{1});
  return ones;
}

ModernInputs::ModernInputs(const ImageTextToTextInputs& given, const Tensor& features,
                           const ImageTextToTextConfig& config, const LanguageModel& model)
    : ImageTextToTextInputs(given), num_query_tokens_(config.num_query_tokens) {
  const Shape shape = check_prompt(given, features, model.traits().embedding_size);
  mask_ = mask_or_ones(given.attention_mask, shape, "attention_mask");
  attention_mask = mask_;
  if (config.image_token_index) {
    image_token_id_ = *config.image_token_index;
  } else {
    add_virtual_columns(features.dim(0) * features.dim(1) / shape[0],
                        !model.traits().is_encoder_decoder);
  }
}

void ModernInputs::add_virtual_columns(Index count, bool decoder_only) {
  image_token_id_ = kVirtualImageToken;
  virtual_columns_ = count;
  ids_ = input_ids.has_value() ? as_ids(input_ids, mask_.shape(), "input_ids")
                               : Tensor(DType::Int64, mask_.shape());
  ids_ = prepend_columns(ids_, count, kVirtualImageToken);
  mask_ = prepend_columns(mask_, count, 1);
  input_ids = ids_;
  attention_mask = mask_;
  if (inputs_embeds.has_value()) {
    const Tensor text = Tensor::copy_of(inputs_embeds).to(DType::Float32);
    const Index text_size = text.dim(1) * text.dim(2);
    embeds_ = Tensor(DType::Float32, {batch(), length(), text.dim(2)});
    for (Index b = 0; b < batch(); ++b) {
      std::copy_n(text.data<float>() + b * text_size, text_size,
                  embeds_.data<float>() + (b * length() + count) * text.dim(2));
    }
    inputs_embeds = embeds_;
  }
  if (labels.has_value() && decoder_only) {
    labels_ = legacy_labels(labels, batch(), length());
    labelled_columns_ = labels.dim(1);
    labels = labels_;
  }
}

Tensor ModernInputs::without_unlabelled_columns(const Tensor& logits) const {
  if (labelled_columns_ == 0 || logits.empty()) return logits;
  return Tensor::copy_of(logits.narrow(1, length() - labelled_columns_, labelled_columns_));
}

EmbeddedBatch embed_prompt(const ModernInputs& inputs, const Tensor& features,
                           const LanguageModel& model) {
  const std::vector<bool> placeholders = find_placeholders(inputs, model);
  check_placeholders(placeholders, inputs, features);
  EmbeddedBatch prompt{PaddedBatch(inputs.batch(), inputs.length(), inputs.attention_mask), {}};
  prompt.embeddings = embed_text(inputs, prompt.batch, placeholders, model);

  std::vector<Index> feature_rows, prompt_rows;
  Index next_feature = 0, next_row = 0;
  for (Index b = 0; b < inputs.batch(); ++b) {
    for (Index column = 0; column < inputs.length(); ++column) {
      const bool kept =
          next_row < prompt.batch.rows.begin(b + 1) && prompt.batch.column(next_row) == column;
      if (at(placeholders, b * inputs.length() + column)) {
        if (kept) {
          feature_rows.push_back(next_feature);
          prompt_rows.push_back(next_row);
        }
        ++next_feature;
      }
      if (kept) ++next_row;
    }
  }
  Matrix placed(static_cast<Index>(feature_rows.size()), features.dim(-1));
  gather_rows(as_rows(features), feature_rows, placed);
  scatter_rows(placed, prompt_rows, prompt.embeddings);
  return prompt;
}

Tensor bare_prompts(const ImageTextToTextConfig& config, const LanguageModelTraits& traits,
                    const Tensor& features) {
  if (!traits.bos_token_id) {
    throw InputError(
        "input_ids must be given: the language model has no bos_token_id to start a prompt with");
  }
  const Tensor bos(std::vector<std::int64_t>(to_size(features.dim(0)), *traits.bos_token_id),
                   {features.dim(0), 1});
  if (!config.image_token_index) return bos;
  return prepend_columns(bos, features.dim(1), *config.image_token_index);
}

GenerationConfig legacy_lengths(GenerationConfig config, Index virtual_columns) {
  if (config.max_length) {
    config.max_length = saturating_add(*config.max_length, virtual_columns - 1);
  }
  if (config.min_length) config.min_length = saturating_add(*config.min_length, virtual_columns);
  return config;
}

void warn_if_legacy(const ImageTextToTextConfig& config) {
  if (config.image_token_index) return;
  const std::string key = config.modality() + "_token_index";
  log_warning("config.json has no " + key + ", so image features are put before the text. Add \"" +
              key + "\" to it, and \"num_query_tokens\": " +
              std::to_string(config.num_query_tokens) + " to processor_config.json");
}

}  // namespace instructblip::detail
