// The text of a prompt, and where the image's features go among it.
#pragma once

#include <cstdint>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/generation_config.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/models/modeling_instructblip.h"

namespace instructblip::detail {

/// The arguments of a call, checked, as a checkpoint with an image token takes them. A legacy
/// checkpoint names none and puts the features in front of the text: its ids, embeddings, mask and
/// labels get virtual placeholders in front, so that nothing after this needs to know.
class ModernInputs : public InstructBlipInputs {
 public:
  /// features: the image's, [images, num_query_tokens, embedding_size]. `given` must outlive this.
  /// Throws InputError, naming the argument, if text and features do not go together.
  ModernInputs(const InstructBlipInputs& given, const Tensor& features,
               const InstructBlipConfig& config, const LanguageModel& model);

  Index batch() const { return attention_mask.dim(0); }
  Index length() const { return attention_mask.dim(1); }
  std::int64_t image_token_id() const { return image_token_id_; }
  /// How many of the columns are virtual; 0 unless the checkpoint is a legacy one.
  Index virtual_columns() const { return virtual_columns_; }
  /// Logits [batch, length, width] of all columns -> those of the columns that the caller labelled:
  /// a legacy prompt's last ones, else all.
  Tensor without_unlabelled_columns(const Tensor& logits) const;

 private:
  void add_virtual_columns(Index count, bool decoder_only);

  std::int64_t image_token_id_ = 0;
  Index virtual_columns_ = 0;
  Index labelled_columns_ = 0;           // of a legacy prompt with labels
  Tensor ids_, embeds_, mask_, labels_;  // what the views look at where it was made here
};

/// The kept positions of the prompts: the text's embeddings, with the image's features in the
/// places of their placeholders (`get_placeholder_mask`). A placeholder that the mask leaves out
/// takes its feature with it. Throws InputError on a row whose placeholders are too few or too many
/// (the reference drops features or shifts those of later rows) and on an id outside the
/// vocabulary; masked ids may be anything.
EmbeddedBatch embed_prompt(const ModernInputs& inputs, const Tensor& features,
                           const LanguageModel& model);

/// The prompts of `images` images without text: placeholders and the language model's BOS.
Tensor bare_prompts(const InstructBlipConfig& config, const LanguageModelTraits& traits,
                    Index images);

/// The lengths that transformers 4.49 asks of a decoder-only language model for a legacy prompt
/// with `virtual_columns` in front.
GenerationConfig legacy_lengths(GenerationConfig config, Index virtual_columns);

/// Logs which lines a legacy checkpoint's files lack.
void warn_if_legacy(const InstructBlipConfig& config);

}  // namespace instructblip::detail
