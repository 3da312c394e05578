// InstructBlipProcessor: images and instructions to model inputs, and ids to text. Mirrors
// transformers/models/instructblip/processing_instructblip.py.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "instructblip/processing/image_text_to_text_processor.h"

namespace instructblip {

/// Makes the inputs of InstructBlipForConditionalGeneration.
class INSTRUCTBLIP_EXPORT InstructBlipProcessor : public ImageTextToTextProcessor {
 public:
  /// Adds `<image>` (special, not normalised) to `tokenizer` if it has no image token.
  /// num_query_tokens: placeholders per image; unset for a legacy checkpoint, where the model
  /// itself puts the features before the text. Throws InputError on a null tokenizer and for a
  /// number that is not from 0 to 65536.
  InstructBlipProcessor(BlipImageProcessor image_processor, std::unique_ptr<Tokenizer> tokenizer,
                        std::unique_ptr<Tokenizer> qformer_tokenizer,
                        std::optional<Index> num_query_tokens = {});
  /// Reads a checkpoint folder: preprocessor_config.json (older layout) or processor_config.json,
  /// the tokenizer files, and qformer_tokenizer/. If processor_config.json has no num_query_tokens
  /// but config.json has an image token, the number is taken from there, with a warning that gives
  /// the line to add. Without qformer_tokenizer/, the folder's own tokenizer is used for the
  /// Q-Former, with a warning. `options` are for the language model's tokenizer; see
  /// TokenizerOptions. Throws ConfigError or TokenizerError that names the file.
  static InstructBlipProcessor from_pretrained(const std::filesystem::path& folder,
                                               const TokenizerOptions& options = {});

  const Tokenizer& qformer_tokenizer() const { return *find_qformer_tokenizer(); }
};

}  // namespace instructblip
