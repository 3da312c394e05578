// Comparing pictures and sentences with BLIP-2's first-stage checkpoints.
//
//   const ImageTextRetrieval retrieval = load_retrieval("blip2-itm-vit-g");
//   const Image image = Image::open("street.jpg");
//   for (double p : retrieval.match(image, {"a red bus", "a dog"})) std::cout << p << '\n';
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/image_processing/image.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_blip_2_retrieval.h"
#include "instructblip/processing/processing_blip_2.h"

namespace instructblip {

/// A checkpoint folder's processor and model. Safe to call from several threads.
struct INSTRUCTBLIP_EXPORT ImageTextRetrieval {
  Blip2Processor processor;
  Blip2ForImageTextRetrieval model;

  /// Embeddings for `similarity`: [images, num_query_tokens, image_text_hidden_size] and [texts,
  /// image_text_hidden_size]. They may be kept. Throw InputError, naming the argument, for a text
  /// that is longer than the model's table of positions, and if there is none.
  Tensor embed_images(const std::vector<Image>& images) const;
  Tensor embed_texts(const std::vector<std::string>& texts) const;

  /// How probable it is that each text describes the image (matching, ITM): the softmax of the
  /// reference's logits_per_image with use_image_text_matching_head. Throws InputError like
  /// embed_texts.
  std::vector<double> match(const Image& image, const std::vector<std::string>& texts) const;
};

/// Loads a folder of Blip2ForImageTextRetrieval, such as Salesforce/blip2-itm-vit-g. Throws
/// ConfigError, which names the class of a folder of another one, TokenizerError or
/// CheckpointError, naming the file.
INSTRUCTBLIP_EXPORT ImageTextRetrieval load_retrieval(const std::filesystem::path& folder,
                                                      const LoadOptions& options = {},
                                                      const TokenizerOptions& tokenizer = {});

}  // namespace instructblip
