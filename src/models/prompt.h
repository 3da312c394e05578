// Builds prompts: the embedded text with the image features in place of the placeholders.
#pragma once

#include <cstdint>
#include <string_view>

#include "instructblip/configuration/image_text_to_text_config.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/generation_config.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/models/image_text_to_text_model.h"

namespace instructblip::detail {

/// `mask` as int64 after a check of its shape; all 1 if it is not given. Throws InputError, naming
/// `argument`.
Tensor mask_or_ones(const TensorView& mask, const Shape& shape, std::string_view argument);

/// The checked arguments of a call, in the form for checkpoints with an image token. A legacy
/// checkpoint has no image token and puts the features before the text. Here its ids, embeddings,
/// mask and labels get virtual placeholders in front, so that later code has only one case.
class ModernInputs : public ImageTextToTextInputs {
 public:
  /// features: the image features, float32 [images, num_query_tokens, embedding_size], or those of
  /// a sample's k images together, [batch, k * num_query_tokens, embedding_size]. `given` must
  /// outlive this object. Throws InputError, naming the argument, if text and features do not
  /// match.
  ModernInputs(const ImageTextToTextInputs& given, const Tensor& features,
               const ImageTextToTextConfig& config, const LanguageModel& model);

  Index batch() const { return attention_mask.dim(0); }
  Index length() const { return attention_mask.dim(1); }
  std::int64_t image_token_id() const { return image_token_id_; }
  Index num_query_tokens() const { return num_query_tokens_; }
  /// Number of virtual columns; 0 unless the checkpoint is a legacy one.
  Index virtual_columns() const { return virtual_columns_; }
  /// Logits [batch, length, width] of all columns -> those of the columns with labels: for a legacy
  /// prompt the last ones, otherwise all.
  Tensor without_unlabelled_columns(const Tensor& logits) const;

 private:
  void add_virtual_columns(Index count, bool decoder_only);

  std::int64_t image_token_id_ = 0;
  Index num_query_tokens_ = 0;
  Index virtual_columns_ = 0;
  Index labelled_columns_ = 0;           // if a legacy prompt has labels
  Tensor ids_, embeds_, mask_, labels_;  // the data of views that were changed here
};

/// The unmasked positions of the prompts: the embedded text, with image features in place of the
/// placeholders (the reference's get_placeholder_mask). The feature of a masked placeholder is
/// dropped. Throws InputError if a row has too few or too many placeholders (where the reference
/// drops features or shifts those of later rows), or if an unmasked id is outside the vocabulary.
EmbeddedBatch embed_prompt(const ModernInputs& inputs, const Tensor& features,
                           const LanguageModel& model);

/// Prompts without text for `features` [prompts, placeholders, embedding_size]: the placeholders
/// and the language model's BOS. Throws InputError if the language model has no BOS.
Tensor bare_prompts(const ImageTextToTextConfig& config, const LanguageModelTraits& traits,
                    const Tensor& features);

/// Converts max_length and min_length to those that transformers 4.49 passes to a decoder-only
/// language model for a legacy prompt with `virtual_columns` in front.
GenerationConfig legacy_lengths(GenerationConfig config, Index virtual_columns);

/// For a legacy checkpoint: logs which lines to add to its files.
void warn_if_legacy(const ImageTextToTextConfig& config);

}  // namespace instructblip::detail
