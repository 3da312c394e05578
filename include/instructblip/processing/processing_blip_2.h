// Blip2Processor: images and texts to model inputs, and ids to text. Mirrors
// transformers/models/blip_2/processing_blip_2.py.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "instructblip/processing/image_text_to_text_processor.h"

namespace instructblip {

/// Makes the inputs of Blip2ForConditionalGeneration: no text for the Q-Former.
class INSTRUCTBLIP_EXPORT Blip2Processor : public ImageTextToTextProcessor {
 public:
  /// Adds `<image>` (special, not normalised) to `tokenizer` if it has no image token.
  /// num_query_tokens: placeholders per image; unset for a legacy checkpoint, where the model
  /// itself puts the features before the text. Throws InputError on a null tokenizer and for a
  /// number that is not from 0 to 65536.
  Blip2Processor(BlipImageProcessor image_processor, std::unique_ptr<Tokenizer> tokenizer,
                 std::optional<Index> num_query_tokens = {});

  /// Reads a checkpoint folder like InstructBlipProcessor::from_pretrained, but for
  /// qformer_tokenizer/. Throws ConfigError or TokenizerError that names the file.
  static Blip2Processor from_pretrained(const std::filesystem::path& folder,
                                        const TokenizerOptions& options = {});
};

}  // namespace instructblip
