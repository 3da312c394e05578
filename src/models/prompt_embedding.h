// Where the image's features go among the text's embeddings. Used by InstructBlipModel; not meant
// for callers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/generation_config.h"
#include "instructblip/generation/language_model.h"

namespace instructblip {

struct InstructBlipInputs;

namespace detail {

/// A contiguous float32 tensor [..., cols] as rows.
MatrixView as_rows(const Tensor& tensor);

/// `count` columns of `value` in front of an int64 matrix.
Tensor columns_before(Index count, std::int64_t value, const Tensor& right);

/// `mask` as int64 after a check of its shape; all 1 where none is given.
Tensor mask_or_ones(const TensorView& mask, const Shape& shape, std::string_view argument);

/// Which places of a prompt [batch, length] are the image's (`get_placeholder_mask`).
std::vector<bool> placeholder_mask(const LanguageModel& model, std::int64_t image_token_id,
                                   const InstructBlipInputs& inputs, Index batch, Index length);

/// The text of a prompt [batch, length], one row a place. Places of the image and padding are never
/// read, so that their ids need not be in the vocabulary (padding of -1).
Matrix text_embeddings(const LanguageModel& model, const InstructBlipInputs& inputs,
                       const std::vector<bool>& placeholders, const Tensor& mask);

/// The reference never counts: too few drop features silently, and shift those of later rows.
void check_placeholders(const std::vector<bool>& mask, Index batch, Index length, Index expected,
                        Index images_per_row, std::int64_t image_token_id);

/// Batch and length of the prompt's text, after a check that text and features go together.
Shape prompt_shape(const InstructBlipInputs& inputs, const Tensor& features,
                   const LanguageModel& model);

/// Says which lines a legacy checkpoint's files lack, where a model is loaded.
void warn_if_legacy(const InstructBlipConfig& config);

/// Labels of the last columns of a legacy prompt [batch, length] as labels of all. The first is
/// predicted by the image, which 4.49 does not count.
Tensor legacy_labels(const TensorView& labels, Index batch, Index length);

/// The last `count` columns of a float32 tensor [batch, length, width].
Tensor last_columns(const Tensor& values, Index count);

/// The lengths that 4.49 asks of a decoder-only language model for a prompt with `image_columns`
/// in front.
GenerationConfig legacy_lengths(GenerationConfig config, Index image_columns);

}  // namespace detail
}  // namespace instructblip
