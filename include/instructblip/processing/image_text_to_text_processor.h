// Images and texts to model inputs, and ids to text: what InstructBlipProcessor,
// InstructBlipVideoProcessor and Blip2Processor have in common. "The reference" means transformers
// 5.24.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/batch_feature.h"
#include "instructblip/core/export.h"
#include "instructblip/image_processing/image.h"
#include "instructblip/image_processing/image_processing_blip.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {

/// Options of a call. The text options apply to both tokenizers of InstructBLIP, as in the
/// reference, but the language model's `max_length` includes the image placeholders: both results
/// are `max_length` long. Of a video, it includes those of the first frame only, as in the
/// reference.
struct ProcessingKwargs {
  bool add_special_tokens = true;
  PaddingStrategy padding = PaddingStrategy::DoNotPad;
  /// Unset: true if `max_length` is given and `padding` is not.
  std::optional<bool> truncation = {};
  std::optional<Index> max_length = {};
  std::optional<Index> pad_to_multiple_of = {};
  /// Padding side of the language model's text. Unset: `padding_side` of TokenizerOptions, that of
  /// the folder's tokenizer_config.json, or the tokenizer's own. For T5, the folder's is ignored
  /// and text is padded on the right: on the left, padding shifts T5's relative positions, so that
  /// a sample's answer depends on the batch.
  std::optional<Side> padding_side = {};
  ImagesKwargs images_kwargs = {};

  // Additions of this library:
  /// Images per text. Set it if `images` is empty because the caller already has the features:
  /// placeholders are inserted without pixels. Unset: the number of images divided by the number of
  /// texts, with a warning if that is more than 1 and they are no frames. At most 65536.
  std::optional<Index> num_images = {};
  /// Padding side of the Q-Former's text (InstructBLIP). On the right, a sample's features do not
  /// depend on the batch; on the left, padding shifts its positions. The reference pads on
  /// `padding_side` here, too: pass the same side for its results.
  Side qformer_padding_side = Side::Right;
};

/// An image processor, the language model's tokenizer and, of InstructBLIP, the Q-Former's: an
/// InstructBlipProcessor, an InstructBlipVideoProcessor or a Blip2Processor, which add nothing to
/// its state. `operator()` and the decoding calls are const and may run in several threads at once.
class INSTRUCTBLIP_EXPORT ImageTextToTextProcessor {
 public:
  ImageTextToTextProcessor(const ImageTextToTextProcessor& other);
  ImageTextToTextProcessor(ImageTextToTextProcessor&& other) noexcept;
  ImageTextToTextProcessor& operator=(ImageTextToTextProcessor other) noexcept;
  ~ImageTextToTextProcessor();

  /// Reads a checkpoint folder of any of the classes: that of `model_type` (default: config.json's)
  /// or, without it, of processor_config.json's processor_class, else an InstructBlipProcessor.
  /// Throws ConfigError or TokenizerError that names the file.
  static ImageTextToTextProcessor from_pretrained(const std::filesystem::path& folder,
                                                  const TokenizerOptions& options = {},
                                                  std::string model_type = {});

  /// Writes processor_config.json, tokenizer.json, tokenizer_config.json and, of InstructBLIP,
  /// qformer_tokenizer/, as the reference does; creates the folder if necessary. Throws ConfigError
  /// or TokenizerError on failure.
  void save_pretrained(const std::filesystem::path& folder) const;

  /// images [B * k] and text [B] -> BatchFeature; either may be empty. Each row of `input_ids`
  /// holds k * num_query_tokens placeholders, then [padding] BOS text [padding]. The k images of a
  /// sample are adjacent; InstructBLIP's Q-Former text is repeated for each (of a video's frames,
  /// by the model). BLIP-2's may take one image with several texts, to be compared with each.
  /// Throws InputError if both are empty, if the number of images is not a multiple of the number
  /// of texts (which the reference accepts), if `max_length` is less than the number of placeholders, or if
  /// rows differ in length without padding.
  BatchFeature operator()(const std::vector<Image>& images, const std::vector<std::string>& text,
                          const ProcessingKwargs& kwargs = {}) const {
    return process(images, text, kwargs);
  }

  /// One image and its text, without copying the pixels: processor(image, "Is it day?").
  template <class Text>
  requires std::convertible_to<const Text&, std::string_view> BatchFeature
  operator()(const Image& image, const Text& text, const ProcessingKwargs& kwargs = {}) const {
    return process({&image, 1}, {std::string(std::string_view(text))}, kwargs);
  }
  /// One image without text: pixel_values alone.
  BatchFeature operator()(const Image& image) const { return process({&image, 1}, {}, {}); }

  /// Call the language model's tokenizer; see Tokenizer. A tensor is int64, [length] for `decode`
  /// and [rows, length] for `batch_decode`; otherwise InputError is thrown.
  std::string decode(std::span<const std::int64_t> ids, const DecodeOptions& options = {}) const;
  std::string decode(const TensorView& ids, const DecodeOptions& options = {}) const;
  std::vector<std::string> batch_decode(const std::vector<std::vector<std::int64_t>>& sequences,
                                        const DecodeOptions& options = {}) const;
  std::vector<std::string> batch_decode(const TensorView& sequences,
                                        const DecodeOptions& options = {}) const;

  const BlipImageProcessor& image_processor() const { return image_processor_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  /// Null if the Q-Former reads no text (BLIP-2).
  const Tokenizer* find_qformer_tokenizer() const { return qformer_tokenizer_.get(); }
  std::optional<Index> num_query_tokens() const { return num_query_tokens_; }
  /// The image token ("<image>", of a video "<video>", unless the tokenizer names another) and its
  /// id.
  const std::string& image_token() const { return image_token_; }
  std::int64_t image_token_id() const { return image_token_id_; }

 protected:
  ImageTextToTextProcessor(BlipImageProcessor image_processor, std::unique_ptr<Tokenizer> tokenizer,
                           std::unique_ptr<Tokenizer> qformer_tokenizer,
                           std::optional<Index> num_query_tokens, std::string modality = "image");
  /// Pads text on the side that `options` or the folder's files name.
  void use_padding_side(const std::filesystem::path& folder, const TokenizerOptions& options);

 private:
  BatchFeature process(std::span<const Image> images, const std::vector<std::string>& text,
                       const ProcessingKwargs& kwargs) const;
  Index images_per_text(std::size_t images, std::size_t texts,
                        const ProcessingKwargs& kwargs) const;
  void encode_text(const std::vector<std::string>& text, Index images_per_text,
                   const ProcessingKwargs& kwargs, BatchFeature& features) const;

  BlipImageProcessor image_processor_;
  std::unique_ptr<Tokenizer> tokenizer_, qformer_tokenizer_;
  std::optional<Index> num_query_tokens_;
  std::optional<Side> configured_padding_side_;  // of TokenizerOptions or the folder
  std::string modality_;                         // "image" or "video"
  std::string image_token_;
  std::int64_t image_token_id_ = 0;
};

}  // namespace instructblip
