// InstructBlipProcessor: pictures and instructions to the model's inputs, ids to text.
// Mirrors transformers/models/instructblip/processing_instructblip.py.
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

/// What a call may say. The text fields go to both tokenizers, as in the reference, except that the
/// language model's `max_length` is reduced by the placeholders: both come out `max_length` long.
struct ProcessingKwargs {
  bool add_special_tokens = true;
  PaddingStrategy padding = PaddingStrategy::DoNotPad;
  /// Unset: true if `max_length` is given and `padding` is not.
  std::optional<bool> truncation = {};
  std::optional<Index> max_length = {};
  std::optional<Index> pad_to_multiple_of = {};
  /// Unset: `padding_side` of the folder's tokenizer_config.json for both tokenizers, else each
  /// tokenizer's own.
  std::optional<Side> padding_side = {};
  ImagesKwargs images_kwargs = {};

  // Ours
  /// Images of each text, for placeholders without pixels (`images` empty): features that the
  /// caller already has. Unset: the number of images over the number of texts.
  std::optional<Index> num_images = {};
  /// The side on which the Q-Former's text is padded. Unset: as `padding_side`. Side::Right keeps a
  /// row's features equal to those of the row alone where the folder says `padding_side: left`,
  /// which in the reference shifts them.
  std::optional<Side> qformer_padding_side = {};
};

/// An image processor, the language model's tokenizer and the Q-Former's. `operator()` and the
/// decoding calls are const and may run in several threads at once.
class INSTRUCTBLIP_EXPORT InstructBlipProcessor {
 public:
  /// Adds `<image>` (special, not normalised) to `tokenizer` where it names no image token.
  /// num_query_tokens: placeholders per image; unset for a legacy checkpoint, whose model puts the
  /// features in front of the text itself. Throws InputError on a null tokenizer or a negative
  /// number.
  InstructBlipProcessor(BlipImageProcessor image_processor, std::unique_ptr<Tokenizer> tokenizer,
                        std::unique_ptr<Tokenizer> qformer_tokenizer,
                        std::optional<Index> num_query_tokens = {});
  InstructBlipProcessor(const InstructBlipProcessor& other);
  InstructBlipProcessor(InstructBlipProcessor&& other) noexcept;
  InstructBlipProcessor& operator=(InstructBlipProcessor other) noexcept;
  ~InstructBlipProcessor();

  /// Reads a checkpoint folder: the hub's layout (preprocessor_config.json) or today's
  /// (processor_config.json), tokenizer files, qformer_tokenizer/. If the folder names no
  /// num_query_tokens but its config.json has an image token, the number is taken from there; a
  /// warning names the lines to add. Without qformer_tokenizer/ the folder's own tokenizer is taken
  /// for it, with a warning. Throws ConfigError or TokenizerError naming the file.
  static InstructBlipProcessor from_pretrained(const std::filesystem::path& folder);

  /// Writes processor_config.json, tokenizer.json, tokenizer_config.json and qformer_tokenizer/, as
  /// the reference does; the folder is made where missing. Throws ConfigError or TokenizerError if
  /// it cannot.
  void save_pretrained(const std::filesystem::path& folder) const;

  /// images [B * k] and text [B] -> BatchFeature; either may be empty. Each row of `input_ids` is
  /// k * num_query_tokens placeholders, then [padding] BOS text [padding]. k images of a sample
  /// follow one another; its Q-Former text is repeated for each. Throws InputError if both are
  /// empty, the counts do not fit (the reference lets them pass), `max_length` does not hold the
  /// placeholders, or rows differ in length and no padding was asked for.
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

  /// See Tokenizer: the language model's. A tensor is int64, [length] for `decode` and [rows,
  /// length] for `batch_decode`; InputError otherwise.
  std::string decode(std::span<const std::int64_t> ids, const DecodeOptions& options = {}) const;
  std::string decode(const TensorView& ids, const DecodeOptions& options = {}) const;
  std::vector<std::string> batch_decode(const std::vector<std::vector<std::int64_t>>& sequences,
                                        const DecodeOptions& options = {}) const;
  std::vector<std::string> batch_decode(const TensorView& sequences,
                                        const DecodeOptions& options = {}) const;

  const BlipImageProcessor& image_processor() const { return image_processor_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const Tokenizer& qformer_tokenizer() const { return *qformer_tokenizer_; }
  std::optional<Index> num_query_tokens() const { return num_query_tokens_; }
  /// "<image>", unless the tokenizer names another, and its id.
  const std::string& image_token() const { return image_token_; }
  std::int64_t image_token_id() const { return image_token_id_; }

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
  std::optional<Side> configured_padding_side_;  // of tokenizer_config.json, for both tokenizers
  std::string image_token_;
  std::int64_t image_token_id_ = 0;
};

}  // namespace instructblip
