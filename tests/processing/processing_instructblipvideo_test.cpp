#include "instructblip/processing/processing_instructblipvideo.h"

#include "processing/processor_testing.h"
#include "support/expect_error.h"
#include "support/log_capture.h"

namespace instructblip {
namespace {

// As in tests/reference/processing.py: two videos of four frames.
std::vector<Image> frames(int count = 8) {
  std::vector<Image> pictures;
  for (int i = 0; i < count; ++i) pictures.push_back(picture(i));
  return pictures;
}

class EveryInstructBlipVideoProcessor : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Folders, EveryInstructBlipVideoProcessor, ::testing::Values("opt", "t5"),
                         [](const auto& info) { return info.param; });

TEST_P(EveryInstructBlipVideoProcessor, MatchesTheReference) {
  const ProcessorFolder folder(GetParam());
  const testing::LogCapture log;
  const auto processor = InstructBlipVideoProcessor::from_pretrained(folder.path());
  const testing::Fixture fixture("processing/processor_instructblipvideo");
  EXPECT_EQ(processor.video_token(), "<video>");
  EXPECT_EQ(processor.video_token_id(),
            fixture[GetParam() + ".video_token"].to(DType::Int64).data<std::int64_t>()[0]);
  for (auto [option, kwargs] : kCases) {
    kwargs.qformer_padding_side = kwargs.padding_side.value_or(Side::Right);  // as the reference
    for (const bool with_images : {false, true}) {
      SCOPED_TRACE(option);
      const BatchFeature batch =
          processor(with_images ? frames() : std::vector<Image>(), texts(), kwargs);
      EXPECT_EQ(batch.items().size(), with_images ? 5u : 4u);
      const std::string prefix = GetParam() + "." + option + (with_images ? ".images." : ".text.");
      for (const auto& [part, tensor] : batch.items()) {
        const bool pixels = part == "pixel_values";
        const Tensor expected = fixture[pixels ? "pixel_values" : prefix + std::string(part)];
        testing::expect_close(*tensor, expected, 0);
      }
    }
  }
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
}

TEST_P(EveryInstructBlipVideoProcessor, IsTheSameAfterSavingAndLoading) {
  const ProcessorFolder folder(GetParam());
  const auto processor = InstructBlipVideoProcessor::from_pretrained(folder.path());
  const TemporaryFolder saved;
  processor.save_pretrained(saved.path());
  std::ifstream file(saved.path() / "processor_config.json");
  const std::string json(std::istreambuf_iterator<char>(file), {});
  for (const char* part : {"\"video_processor\": {", "InstructBlipVideoVideoProcessor",
                           "\"processor_class\": \"InstructBlipVideoProcessor\""}) {
    EXPECT_NE(json.find(part), std::string::npos) << json;
  }
  EXPECT_EQ(json.find("image_processor"), std::string::npos) << json;
  // Without config.json, processor_config.json says which class it is. A copy answers alike.
  ImageTextToTextProcessor loaded(ImageTextToTextProcessor::from_pretrained(saved.path()));
  const ImageTextToTextProcessor copy(loaded);
  loaded = copy;
  EXPECT_EQ(loaded.image_token(), "<video>");
  const ProcessingKwargs kwargs{.padding = PaddingStrategy::Longest};
  const BatchFeature before = processor(frames(), texts(), kwargs);
  const BatchFeature after = loaded(frames(), texts(), kwargs);
  ASSERT_EQ(before.items().size(), after.items().size());
  for (std::size_t i = 0; i < before.items().size(); ++i) {
    testing::expect_close(*after.items()[i].second, *before.items()[i].second, 0);
  }
}

TEST(InstructBlipVideoProcessor, TakesAnyNumberOfFrames) {
  const ProcessorFolder folder("opt");
  const auto processor = InstructBlipVideoProcessor::from_pretrained(folder.path());
  const BatchFeature text = processor({}, {"What happens?"}, {.num_images = 5});
  const BatchFeature batch = processor(frames(5), {"What happens?"});
  EXPECT_EQ(batch.pixel_values.shape(), (Shape{1, 5, 3, 14, 14}));
  EXPECT_EQ(batch.qformer_input_ids.dim(0), 1);
  testing::expect_equal(text.input_ids, batch.input_ids);
  const auto ids = batch.input_ids.span<std::int64_t>();
  EXPECT_EQ(std::count(ids.begin(), ids.end(), processor.video_token_id()), 5 * kTokens);

  EXPECT_EQ(processor(frames(6), {}).pixel_values.shape(), (Shape{1, 6, 3, 14, 14}));
  EXPECT_EQ(processor(frames(6), {}, {.num_images = 3}).pixel_values.shape(),
            (Shape{2, 3, 3, 14, 14}));
  testing::expect_error<InputError>([&] { processor(frames(5), {}, {.num_images = 2}); },
                                    {"5 frames"});
  testing::expect_error<InputError>([&] { processor(frames(5), texts()); }, {"5 images"});
}

// The order of the reference: the section, the video's file, the images' file.
TEST(InstructBlipVideoProcessor, ReadsTheSettingsOfFramesWhereTheReferenceDoes) {
  const ProcessorFolder folder("opt");
  const auto height = [&] {
    return InstructBlipVideoProcessor::from_pretrained(folder.path())
        .video_processor()
        .size->height;
  };
  const testing::LogCapture log;
  folder.folder().write(
      "preprocessor_config.json",
      R"({"image_processor_type": "InstructBlipVideoImageProcessor", "size": 10})");
  EXPECT_EQ(height(), 10);
  folder.folder().write(
      "video_preprocessor_config.json",
      R"({"video_processor_type": "InstructBlipVideoVideoProcessor", "size": 11})");
  EXPECT_EQ(height(), 11);
  EXPECT_EQ(BlipImageProcessor::from_pretrained(folder.path()).size->height, 10);
  folder.folder().write("processor_config.json",
                        R"({"num_query_tokens": 5, "image_processor": {"size": 12}})");
  EXPECT_EQ(height(), 11);
  folder.folder().write("processor_config.json",
                        R"({"num_query_tokens": 5, "video_processor": {"size": 13}})");
  EXPECT_EQ(height(), 13);
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  folder.folder().write(
      "processor_config.json",
      R"({"num_query_tokens": 5, "video_processor": {"do_sample_frames": true}})");
  height();
  EXPECT_TRUE(log.contains("frames are used as the caller gives them"));
  for (const char* name :
       {"processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"}) {
    std::filesystem::remove(folder.path() / name);
  }
  testing::expect_error<ConfigError>(height, {"no video processor", "\"video_processor\""});
}

TEST(InstructBlipVideoProcessor, TheConfigurationsNumberOfQueriesServesAVideoToken) {
  const ProcessorFolder folder("opt");
  folder.folder().write("processor_config.json", "{}");
  folder.folder().write("config.json", R"({"model_type": "instructblipvideo",
    "num_query_tokens": 5, "video_token_index": 7})");
  const testing::LogCapture log;
  const auto processor = ImageTextToTextProcessor::from_pretrained(folder.path());
  EXPECT_EQ(processor.num_query_tokens(), 5);
  EXPECT_EQ(processor.image_token(), "<video>");
  folder.folder().write("config.json", R"({"model_type": "instructblipvideo",
    "num_query_tokens": 5, "image_token_index": 7})");
  EXPECT_EQ(ImageTextToTextProcessor::from_pretrained(folder.path()).num_query_tokens(),
            std::nullopt);
  EXPECT_TRUE(log.contains("\"video_token_index\" to config.json"));
}

TEST(InstructBlipVideoProcessor, NullTokenizersAreRejected) {
  const ProcessorFolder folder("opt");
  testing::expect_error<InputError>(
      [&] {
        InstructBlipVideoProcessor(BlipImageProcessor::from_pretrained(folder.path()),
                                   AutoTokenizer::from_pretrained(folder.path()), nullptr);
      },
      {"qformer_tokenizer must not be null"});
}

}  // namespace
}  // namespace instructblip
