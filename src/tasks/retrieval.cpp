#include "instructblip/tasks/retrieval.h"

#include <cmath>

#include "instructblip/core/error.h"

namespace instructblip {

Tensor ImageTextRetrieval::embed_images(const std::vector<Image>& images) const {
  return model.embed_image(model.encode_image(processor(images, {}).pixel_values));
}

Tensor ImageTextRetrieval::embed_texts(const std::vector<std::string>& texts) const {
  const BatchFeature inputs = processor({}, texts, {.padding = PaddingStrategy::Longest});
  return model.embed_text(inputs.input_ids, inputs.attention_mask);
}

std::vector<double> ImageTextRetrieval::match(const Image& image,
                                              const std::vector<std::string>& texts) const {
  const BatchFeature pixels = processor(image);
  const BatchFeature words = processor({}, texts, {.padding = PaddingStrategy::Longest});
  const Tensor logits = model
                            .forward({.pixel_values = pixels.pixel_values,
                                      .input_ids = words.input_ids,
                                      .attention_mask = words.attention_mask,
                                      .use_image_text_matching_head = true})
                            .logits_per_image;
  std::vector<double> probabilities;
  for (Index i = 0; i < logits.dim(0); ++i) {
    const double margin = logits.at<float>({i, 0}) - double{logits.at<float>({i, 1})};
    probabilities.push_back(1.0 / (1.0 + std::exp(margin)));
  }
  return probabilities;
}

ImageTextRetrieval load_retrieval(const std::filesystem::path& folder, const LoadOptions& options,
                                  const TokenizerOptions& tokenizer) {
  auto model = Blip2ForImageTextRetrieval::from_pretrained(folder, options);
  return {Blip2Processor::from_pretrained(folder, tokenizer), std::move(model)};
}

}  // namespace instructblip
