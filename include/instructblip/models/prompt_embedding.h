// Where the image's features go among the text's embeddings. Used by InstructBlipModel; not meant
// for callers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/generation/language_model.h"

namespace instructblip {

struct InstructBlipInputs;

namespace detail {

/// A contiguous float32 tensor [..., cols] as rows.
MatrixView as_rows(const Tensor& tensor);

/// `count` columns of `value` in front of an int64 matrix.
Tensor columns_before(Index count, std::int64_t value, const Tensor& right);

/// An int64 matrix without its first `count` columns.
Tensor without_columns(Index count, const Tensor& matrix);

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

/// Says which lines a legacy checkpoint's files lack.
void warn_legacy(Index num_query_tokens);

}  // namespace detail
}  // namespace instructblip

#ifdef INSTRUCTBLIP_HEADER_DEFINITIONS
#include "instructblip/models/prompt_embedding-inl.h"
#endif
