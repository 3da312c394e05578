// InstructBlipVideoProcessor: the frames of videos and instructions to model inputs, and ids to
// text. Mirrors transformers/models/instructblipvideo/processing_instructblipvideo.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "instructblip/processing/image_text_to_text_processor.h"

namespace instructblip {

/// Makes the inputs of InstructBlipVideoForConditionalGeneration. The caller decodes a video and
/// chooses its frames, any number of them (the reference: four): the `images` of a call are the
/// frames of all videos, one video after another. Without text and num_images, they are one video.
class INSTRUCTBLIP_EXPORT InstructBlipVideoProcessor : public ImageTextToTextProcessor {
 public:
  /// Adds `<video>` (special, not normalised) to `tokenizer` if it has no video token.
  /// num_query_tokens: placeholders per frame; unset for a legacy checkpoint, where the model
  /// itself puts the features before the text. Throws InputError on a null tokenizer and for a
  /// number that is not from 0 to 65536.
  InstructBlipVideoProcessor(BlipImageProcessor video_processor,
                             std::unique_ptr<Tokenizer> tokenizer,
                             std::unique_ptr<Tokenizer> qformer_tokenizer,
                             std::optional<Index> num_query_tokens = {});
  /// Reads a checkpoint folder like InstructBlipProcessor::from_pretrained, but for the frames'
  /// settings: see BlipImageProcessor::from_pretrained. Throws ConfigError or TokenizerError that
  /// names the file.
  static InstructBlipVideoProcessor from_pretrained(const std::filesystem::path& folder,
                                                    const TokenizerOptions& options = {});

  const BlipImageProcessor& video_processor() const { return image_processor(); }
  const Tokenizer& qformer_tokenizer() const { return *find_qformer_tokenizer(); }
  const std::string& video_token() const { return image_token(); }
  std::int64_t video_token_id() const { return image_token_id(); }
};

}  // namespace instructblip
