#include "models/prompt_embedding.h"

#include <algorithm>
#include <string>

#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/layers/padded_batch.h"
#include "instructblip/models/loss_utils.h"
#include "instructblip/models/modeling_instructblip.h"

namespace instructblip::detail {

MatrixView as_rows(const Tensor& tensor) {
  const Index cols = tensor.dim(-1);
  return {tensor.raw(), DType::Float32, cols == 0 ? 0 : tensor.size() / cols, cols, cols};
}

Tensor columns_before(Index count, std::int64_t value, const Tensor& right) {
  const Index rows = right.dim(0), width = right.dim(1);
  Tensor result = Tensor::uninitialized(DType::Int64, {rows, count + width});
  auto* out = result.data<std::int64_t>();
  for (Index r = 0; r < rows; ++r) {
    out = std::fill_n(out, count, value);
    out = std::copy_n(right.data<std::int64_t>() + r * width, width, out);
  }
  return result;
}

Tensor mask_or_ones(const TensorView& mask, const Shape& shape, std::string_view argument) {
  if (is_given(mask)) return as_ids(mask, shape, argument);
  Tensor ones(DType::Int64, shape);
  std::fill_n(ones.data<std::int64_t>(), ones.size(), std::int64_t{1});
  return ones;
}

std::vector<bool> placeholder_mask(const LanguageModel& model, std::int64_t image_token_id,
                                   const InstructBlipInputs& inputs, Index batch, Index length) {
  std::vector<bool> mask(static_cast<std::size_t>(batch * length));
  if (is_given(inputs.input_ids)) {
    const Tensor ids = as_ids(inputs.input_ids, {batch, length}, "input_ids");
    for (std::size_t i = 0; i < mask.size(); ++i) {
      mask[i] = ids.data<std::int64_t>()[i] == image_token_id;
    }
    return mask;
  }
  const std::vector<std::int64_t> placeholder = {image_token_id};
  const Matrix embedding = model.embed_tokens(placeholder);
  const Tensor embeds = Tensor::copy_of(inputs.inputs_embeds).to(DType::Float32);
  for (std::size_t i = 0; i < mask.size(); ++i) {
    const float* row = embeds.data<float>() + static_cast<Index>(i) * embedding.cols();
    mask[i] = std::equal(row, row + embedding.cols(), embedding.row(0));
  }
  return mask;
}

Matrix text_embeddings(const LanguageModel& model, const InstructBlipInputs& inputs,
                       const std::vector<bool>& placeholders, const Tensor& mask) {
  const Index batch = mask.dim(0), length = mask.dim(1);
  if (is_given(inputs.inputs_embeds))
    return PaddedBatch(batch, length).gather(inputs.inputs_embeds);
  const Tensor ids = as_ids(inputs.input_ids, {batch, length}, "input_ids");
  std::vector<std::int64_t> read(ids.span<std::int64_t>().begin(), ids.span<std::int64_t>().end());
  for (std::size_t i = 0; i < read.size(); ++i) {
    const bool unread = mask.data<std::int64_t>()[i] == 0;
    if (unread || (!placeholders.empty() && placeholders[i])) {
      read[i] = 0;
    } else if (read[i] < 0 || read[i] >= model.traits().vocab_size) {
      const Index place = static_cast<Index>(i);
      throw InputError("input_ids[" + std::to_string(place / length) + "][" +
                       std::to_string(place % length) + "] is " + std::to_string(read[i]) +
                       ", expected an id from 0 to " +
                       std::to_string(model.traits().vocab_size - 1));
    }
  }
  return model.embed_tokens(read);
}

void check_placeholders(const std::vector<bool>& mask, Index batch, Index length, Index expected,
                        Index images_per_row, std::int64_t image_token_id) {
  for (Index b = 0; b < batch; ++b) {
    const auto begin = mask.begin() + b * length;
    const auto found = static_cast<Index>(std::count(begin, begin + length, true));
    if (found == expected) continue;
    throw InputError(
        "row " + std::to_string(b) + " of the prompt holds " + std::to_string(found) +
        " image placeholders (id " + std::to_string(image_token_id) + "), expected " +
        std::to_string(expected) + " for " + std::to_string(images_per_row) +
        " image(s). The processor's num_query_tokens and image token must be those of the "
        "model's config.json");
  }
}

Shape prompt_shape(const InstructBlipInputs& inputs, const Tensor& features,
                   const LanguageModel& model) {
  const bool embedded = is_given(inputs.inputs_embeds);
  const TensorView& text = embedded ? inputs.inputs_embeds : inputs.input_ids;
  const Index width = model.traits().embedding_size;
  if (!is_given(text) || text.rank() != (embedded ? 3 : 2)) {
    throw InputError(
        "the prompt is needed: input_ids [batch, length] or inputs_embeds [batch, length, " +
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
                     ", but the language model embeds tokens in " + std::to_string(width));
  }
  const Index batch = text.dim(0);
  if (batch == 0 || features.dim(0) % batch != 0) {
    throw InputError(std::to_string(features.dim(0)) + " images do not go with " +
                     std::to_string(batch) + " prompts: each needs the same number of images");
  }
  return {batch, text.dim(1)};
}

void warn_if_legacy(const InstructBlipConfig& config) {
  if (config.image_token_index) return;
  log_warning(
      "config.json names no image_token_index: the image's features are put in front of the "
      "text. Add \"image_token_index\" to it, and \"num_query_tokens\": " +
      std::to_string(config.num_query_tokens) + " to processor_config.json");
}

Tensor legacy_labels(const TensorView& labels, Index batch, Index length) {
  if (labels.rank() != 2 || labels.dim(0) != batch || labels.dim(1) < 1 || labels.dim(1) > length) {
    throw InputError("labels have the shape " + to_string(labels.shape) + ", expected [" +
                     std::to_string(batch) + ", at most " + std::to_string(length) + "]");
  }
  Tensor text = as_ids(labels, labels.shape, "labels");
  for (Index b = 0; b < batch; ++b) text.at<std::int64_t>({b, 0}) = kIgnoredLabel;
  return columns_before(length - labels.dim(1), kIgnoredLabel, text);
}

Tensor last_columns(const Tensor& values, Index count) {
  const Index batch = values.dim(0), length = values.dim(1), width = values.dim(2);
  Tensor result = Tensor::uninitialized(DType::Float32, {batch, count, width});
  for (Index b = 0; b < batch; ++b) {
    std::copy_n(values.data<float>() + ((b + 1) * length - count) * width, count * width,
                result.data<float>() + b * count * width);
  }
  return result;
}

GenerationConfig legacy_lengths(GenerationConfig config, Index image_columns) {
  if (config.max_length) *config.max_length += image_columns - 1;
  if (config.min_length) *config.min_length += image_columns;
  return config;
}

}  // namespace instructblip::detail
