// Compares the scores of the demo that compares pictures and sentences with those of the reference
// (matches.json, written by examples/demo_model/matches.py).
#include "end_to_end/demo_files.h"
#include "support/compare.h"

namespace instructblip {
namespace {

const ImageTextRetrieval& retrieval_demo() {
  static const ImageTextRetrieval demo =
      load_retrieval(testing::kAssets / "blip2-demo-itm", {.dtype = DType::Float32});
  return demo;
}

struct Pictures {
  std::vector<Image> images;
  std::vector<std::string> texts;
  std::vector<std::vector<double>> similarities, probabilities;  // of each picture

  Pictures() {
    for (const std::string& line : testing::demo_lines("matches.json")) {
      if (line.find("\"texts\"") != line.npos) {
        texts = testing::strings_of(testing::field(line, "texts"));
        continue;
      }
      images.push_back(Image::open(testing::kDemoAnswers / testing::field(line, "image")));
      similarities.push_back(testing::numbers_of(testing::field(line, "similarities")));
      probabilities.push_back(testing::numbers_of(testing::field(line, "probabilities")));
    }
  }
};

TEST(RetrievalDemo, ScoresEqualTheReference) {
  const Pictures pictures;
  ASSERT_EQ(pictures.images.size(), 24u);
  const auto& [processor, model] = retrieval_demo();
  const Tensor similarities = model.similarity(retrieval_demo().embed_images(pictures.images),
                                               retrieval_demo().embed_texts(pictures.texts));
  for (std::size_t i = 0; i < pictures.images.size(); ++i) {
    const std::vector<double> matches = retrieval_demo().match(pictures.images[i], pictures.texts);
    ASSERT_EQ(matches.size(), pictures.texts.size());
    for (std::size_t t = 0; t < matches.size(); ++t) {
      SCOPED_TRACE(pictures.texts[t]);
      EXPECT_NEAR(similarities.at<float>({static_cast<Index>(i), static_cast<Index>(t)}),
                  pictures.similarities[i][t], 1e-5);
      EXPECT_NEAR(matches[t], pictures.probabilities[i][t], 1e-5);
    }
  }
}

// The reference's call: a processor's output, with the placeholders of one image for each text.
TEST(RetrievalDemo, AProcessorsOutputOfOneImageAndSeveralTextsGivesTheSame) {
  const Pictures pictures;
  const auto& [processor, model] = retrieval_demo();
  const BatchFeature inputs =
      processor({pictures.images[3]}, pictures.texts, {.padding = PaddingStrategy::Longest});
  Blip2ImageTextMatchingInputs call{.pixel_values = inputs.pixel_values,
                                    .input_ids = inputs.input_ids,
                                    .attention_mask = inputs.attention_mask};
  const Tensor contrast = model.forward(call).logits_per_image;
  call.use_image_text_matching_head = true;
  const Tensor matching = model.forward(call).logits_per_image;
  for (std::size_t t = 0; t < pictures.texts.size(); ++t) {
    const auto text = static_cast<Index>(t);
    EXPECT_NEAR(contrast.at<float>({0, text}), pictures.similarities[3][t], 1e-5);
    const double margin = matching.at<float>({text, 1}) - double{matching.at<float>({text, 0})};
    EXPECT_NEAR(1 / (1 + std::exp(-margin)), pictures.probabilities[3][t], 1e-5);
  }
}

TEST(RetrievalDemo, WeightsOf8BitsGiveNearlyTheSameProbabilities) {
  const Pictures pictures;
  const ImageTextRetrieval quantized = load_retrieval(
      testing::kAssets / "blip2-demo-itm", {.quantization = quantization_recipe("int8")});
  for (std::size_t i = 0; i < pictures.images.size(); ++i) {
    const std::vector<double> matches = quantized.match(pictures.images[i], pictures.texts);
    for (std::size_t t = 0; t < matches.size(); ++t) {
      EXPECT_NEAR(matches[t], pictures.probabilities[i][t], 0.05) << i << " " << pictures.texts[t];
    }
  }
}

}  // namespace
}  // namespace instructblip
