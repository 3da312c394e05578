// Compares a real checkpoint with its published outputs. Runs only if these variables are set:
//   INSTRUCTBLIP_REAL_MODEL         folder of instructblip-vicuna-7b or instructblip-flan-t5-xl
//   INSTRUCTBLIP_REAL_IMAGE         LAVIS' docs/_static/Confusing-Pictures.jpg
//   INSTRUCTBLIP_REAL_BEACH_IMAGE   image.jpg of hf-internal-testing/blip-test-image
//   INSTRUCTBLIP_REAL_BLIP2         folder of blip2-opt-2.7b
//   INSTRUCTBLIP_REAL_ITM           folder of blip2-itm-vit-g
//   INSTRUCTBLIP_REAL_CATS_IMAGE    000000039769.jpg of COCO's val2017
#include <array>
#include <cmath>
#include <cstdlib>

#include "end_to_end/demo_files.h"
#include "models/instructblip_testing.h"

namespace instructblip {
namespace {

using Corner = std::array<float, 9>;

/// The published logits[0, :3, :3].
Corner corner_of_logits(const InstructBlipForConditionalGeneration& model,
                        const BatchFeature& inputs) {
  const Tensor logits = model.forward(InstructBlipInputs::from(inputs)).logits;
  Corner corner{};
  for (Index i = 0; i < 9; ++i) {
    corner[static_cast<std::size_t>(i)] = logits.at<float>({0, i / 3, i % 3});
  }
  return corner;
}

BatchFeature read_in_size(const InstructBlipProcessor& processor, const Image& image,
                          const std::string& text, Index size) {
  return processor({image}, {text},
                   {.images_kwargs = {.size = SizeDict{.height = size, .width = size}}});
}

GenerateOutput answer_in_any_size(const InstructBlipForConditionalGeneration& model,
                                  const BatchFeature& features, const GenerationConfig& config) {
  InstructBlipInputs inputs = InstructBlipInputs::from(features);
  inputs.interpolate_pos_encoding = true;
  return model.generate(inputs, config);
}

std::optional<Image> picture(const char* variable) {
  const char* path = std::getenv(variable);
  if (path == nullptr) return std::nullopt;
  return Image::open(std::filesystem::path(path));
}

/// The softmax of the scores.
std::vector<double> softmax(const std::vector<double>& scores) {
  std::vector<double> shares;
  double sum = 0;
  for (const double score : scores) sum += std::exp(score);
  for (const double score : scores) shares.push_back(std::exp(score) / sum);
  return shares;
}

/// The similarities of an image and several texts.
std::vector<double> similarities(const ImageTextRetrieval& retrieval, const Image& image,
                                 const std::vector<std::string>& texts) {
  const Tensor found =
      retrieval.model.similarity(retrieval.embed_images({image}), retrieval.embed_texts(texts));
  return {found.span<float>().begin(), found.span<float>().end()};
}

/// Tests that are skipped unless the variables are set.
class RealCheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("INSTRUCTBLIP_REAL_MODEL");
    if (folder == nullptr) GTEST_SKIP() << "set INSTRUCTBLIP_REAL_MODEL to run this test";
    processor_.emplace(InstructBlipProcessor::from_pretrained(folder));
    model_.emplace(InstructBlipForConditionalGeneration::from_pretrained(folder));
  }

  bool is_vicuna() const { return model_->config().use_decoder_only_language_model(); }
  TokenIds end() const { return is_vicuna() ? 2 : 1; }
  std::string text(const GenerateOutput& output) const {
    return processor_->decode(output.new_tokens()[0], {.skip_special_tokens = true});
  }

  std::optional<InstructBlipProcessor> processor_;
  std::optional<InstructBlipForConditionalGeneration> model_;
};

constexpr const char* kQuestion = "What is unusual about this image?";

// Compares only the beginnings: the published answers come from 8-bit or bfloat16 weights on
// another device.
TEST_F(RealCheckpointTest, AnswersEqualThePublishedOnes) {
  const auto image = picture("INSTRUCTBLIP_REAL_IMAGE");
  if (!image) GTEST_SKIP() << "set INSTRUCTBLIP_REAL_IMAGE to run it";
  const BatchFeature inputs = (*processor_)({*image}, {kQuestion});
  const std::string greedy =
      text(model_->generate(inputs, {.max_new_tokens = 30, .eos_token_id = end()}));
  EXPECT_NE(
      greedy.find(is_vicuna() ? "The unusual aspect of this image is that a man is ironing clothes"
                              : "iron"),
      std::string::npos)
      << greedy;

  const std::string beams = text(model_->generate(inputs, {.max_length = 256,
                                                           .min_length = 1,
                                                           .num_beams = 5,
                                                           .repetition_penalty = 1.5,
                                                           .length_penalty = 1.0,
                                                           .eos_token_id = end()}));
  const std::string beginning =
      is_vicuna() ? "The unusual aspect of this image is that a man is ironing clothes on the back "
                    "of a yellow"
                  : "The unusual image depicts a man ironing clothes on the back of a yellow van";
  EXPECT_NE(beams.find(beginning), std::string::npos) << beams;
}

// The published logits come from 8-bit weights and were revised several times.
TEST_F(RealCheckpointTest, LogitsEqualThePublishedOnes) {
  const auto image = picture("INSTRUCTBLIP_REAL_IMAGE");
  if (!image || !is_vicuna()) GTEST_SKIP() << "set INSTRUCTBLIP_REAL_IMAGE; Vicuna-7B only";
  const Corner found = corner_of_logits(*model_, (*processor_)({*image}, {kQuestion}));
  const Corner published = {-3.3926f, -12.2969f, 8.4922f,   -5.0195f, -11.9531f,
                            8.1406f,  -4.0039f,  -13.3594f, 9.2578f};
  for (std::size_t i = 0; i < 9; ++i) EXPECT_NEAR(found[i], published[i], 0.3) << i;
}

TEST_F(RealCheckpointTest, AnswersAboutALargerImageEqualThePublishedOnes) {
  const auto image = picture("INSTRUCTBLIP_REAL_BEACH_IMAGE");
  if (!image || is_vicuna()) GTEST_SKIP() << "set INSTRUCTBLIP_REAL_BEACH_IMAGE; Flan-T5-XL only";
  const std::string answer = text(answer_in_any_size(
      *model_, read_in_size(*processor_, *image, "What's in the image?", 500), {}));
  EXPECT_EQ(answer.rfind("The image features a woman", 0), 0u) << answer;
}

// From the documentation of Blip2ForConditionalGeneration.
TEST(RealCheckpointBlip2, CaptionEqualsThePublishedOne) {
  const char* folder = std::getenv("INSTRUCTBLIP_REAL_BLIP2");
  const auto image = picture("INSTRUCTBLIP_REAL_CATS_IMAGE");
  if (folder == nullptr || !image) GTEST_SKIP() << "set INSTRUCTBLIP_REAL_BLIP2 and _CATS_IMAGE";
  const InstructBlip loaded = load(folder);
  const GenerateOutput output = loaded.model.generate(loaded.processor(*image));
  const std::string caption =
      loaded.processor.decode(output.new_tokens()[0], {.skip_special_tokens = true});
  EXPECT_EQ(caption.rfind("two cats laying on a couch", 0), 0u) << caption;
}

// From the documentation of Blip2ForImageTextRetrieval, whose example takes the softmax of the
// match twice.
TEST(RealCheckpointBlip2, ScoresEqualThePublishedOnes) {
  const char* folder = std::getenv("INSTRUCTBLIP_REAL_ITM");
  const auto image = picture("INSTRUCTBLIP_REAL_CATS_IMAGE");
  if (folder == nullptr || !image) GTEST_SKIP() << "set INSTRUCTBLIP_REAL_ITM and _CATS_IMAGE";
  const ImageTextRetrieval retrieval = load_retrieval(folder);
  const double match = retrieval.match(*image, {"two cats laying on a pink blanket"})[0];
  EXPECT_NEAR(softmax({1 - match, match})[1], 0.730, 0.002);
  const auto shares =
      softmax(similarities(retrieval, *image, {"a photo of a cat", "a photo of a dog"}));
  EXPECT_NEAR(shares[0], 0.553, 0.002);
}

// Runs the checks above on fixtures, for which the answers are known.
TEST(RealCheckpointChecks, PassForFixtureModels) {
  const testing::Fixture expected("instructblip/llama/expected");
  const Tensor logits = expected["forward.left.logits"];
  const Corner found = corner_of_logits(testing::model_of("llama"),
                                        testing::ForwardCase(expected, "forward.left.").features());
  for (Index i = 0; i < 9; ++i) {
    EXPECT_NEAR(found[static_cast<std::size_t>(i)], logits.at<float>({0, i / 3, i % 3}), 1e-4) << i;
  }

  const testing::Fixture larger("instructblip/t5/picture_size");
  const GenerateOutput output =
      answer_in_any_size(testing::model_of("t5"), testing::ForwardCase(larger, "").features(),
                         {.max_new_tokens = 8, .min_new_tokens = 4});
  testing::expect_equal(output.sequences, larger["sequences"]);

  const BatchFeature read = read_in_size(
      testing::demo().processor, Image::open(testing::kAssets / "scene.png"), "what is it?", 500);
  EXPECT_EQ(read.pixel_values.shape(), (Shape{1, 3, 500, 500}));
  EXPECT_FALSE(read.input_ids.empty());
}

}  // namespace
}  // namespace instructblip
