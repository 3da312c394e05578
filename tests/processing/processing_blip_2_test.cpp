#include "instructblip/processing/processing_blip_2.h"

#include "instructblip/processing/processing_instructblip.h"
#include "processing/processor_testing.h"
#include "support/expect_error.h"
#include "support/log_capture.h"

namespace instructblip {
namespace {

class EveryBlip2Processor : public ::testing::TestWithParam<std::pair<std::string, std::string>> {};

INSTANTIATE_TEST_SUITE_P(Folders, EveryBlip2Processor,
                         ::testing::Values(std::pair{"opt", ""}, std::pair{"t5", ""},
                                           std::pair{"opt", "left"}),
                         [](const auto& info) { return info.param.first + info.param.second; });

TEST_P(EveryBlip2Processor, MatchesTheReference) {
  const auto& [name, side] = GetParam();
  const ProcessorFolder folder(name, side);
  const testing::LogCapture log;
  std::filesystem::remove_all(folder.path() / "qformer_tokenizer");
  const auto processor = Blip2Processor::from_pretrained(folder.path());
  EXPECT_TRUE(log.messages().empty());
  const testing::Fixture fixture("processing/processor_blip_2");
  const std::string key = side.empty() ? name : name + "_" + side;
  EXPECT_EQ(processor.image_token_id(),
            fixture[key + ".image_token"].to(DType::Int64).data<std::int64_t>()[0]);
  for (const auto& [option, kwargs] : kCases) {
    for (const bool with_images : {false, true}) {
      const BatchFeature batch =
          processor(with_images ? pictures() : std::vector<Image>(), texts(), kwargs);
      EXPECT_EQ(batch.items().size(), with_images ? 3u : 2u);
      expect_batch(batch, fixture, key + "." + option + (with_images ? ".images." : ".text."));
    }
  }
}

TEST_P(EveryBlip2Processor, IsTheSameAfterSavingAndLoading) {
  const auto& [name, side] = GetParam();
  const ProcessorFolder folder(name, side);
  const auto processor = Blip2Processor::from_pretrained(folder.path());
  const TemporaryFolder saved;
  processor.save_pretrained(saved.path());
  EXPECT_FALSE(std::filesystem::exists(saved.path() / "qformer_tokenizer"));
  // Without config.json, processor_config.json says which class it is.
  const auto loaded = ImageTextToTextProcessor::from_pretrained(saved.path());
  EXPECT_EQ(loaded.num_query_tokens(), kTokens);
  EXPECT_EQ(loaded.find_qformer_tokenizer(), nullptr);
  const ProcessingKwargs kwargs{.padding = PaddingStrategy::Longest};
  const BatchFeature before = processor(pictures(), texts(), kwargs);
  const BatchFeature after = loaded(pictures(), texts(), kwargs);
  ASSERT_EQ(before.items().size(), after.items().size());
  for (std::size_t i = 0; i < before.items().size(); ++i) {
    testing::expect_close(*after.items()[i].second, *before.items()[i].second, 0);
  }
}

TEST(Blip2Processor, ImagesWithoutTextGiveOnlyPixels) {
  const ProcessorFolder folder("opt");
  const BatchFeature batch = Blip2Processor::from_pretrained(folder.path())(picture(0));
  EXPECT_EQ(batch.items().size(), 1u);
  EXPECT_EQ(batch.pixel_values.shape(), (Shape{1, 3, 14, 14}));
}

TEST(Blip2Processor, OneImageMayHaveSeveralTexts) {
  const ProcessorFolder folder("opt");
  const auto processor = Blip2Processor::from_pretrained(folder.path());
  const std::vector<std::string> texts{"what is this?", "what is that?"};
  const ProcessingKwargs kwargs{.padding = PaddingStrategy::Longest};
  const BatchFeature batch = processor({picture(0)}, texts, kwargs);
  EXPECT_EQ(batch.pixel_values.dim(0), 1);
  testing::expect_equal(batch.input_ids,
                        processor({picture(0), picture(0)}, texts, kwargs).input_ids);
  testing::expect_error<InputError>([&] { processor({picture(0)}, texts, {.num_images = 2}); },
                                    {"1 image for 2 texts"});
}

TEST(Blip2Processor, LoadsALegacyFolderWithoutNumQueryTokens) {
  const ProcessorFolder folder("opt");
  folder.folder().write("processor_config.json", "{}");
  const testing::LogCapture log;
  const auto processor = Blip2Processor::from_pretrained(folder.path());
  EXPECT_EQ(processor.num_query_tokens(), std::nullopt);
  EXPECT_TRUE(log.contains("add \"num_query_tokens\" to processor_config.json"));
  const BatchFeature batch = processor({picture(0)}, {"what is this?"});
  EXPECT_NE(batch.input_ids.at<std::int64_t>({0, 0}), processor.image_token_id());
}

TEST(Blip2Processor, CopiesAnswerAlike) {
  const ProcessorFolder folder("opt");
  const auto processor = Blip2Processor::from_pretrained(folder.path());
  ImageTextToTextProcessor copy(processor);
  copy = processor;
  testing::expect_equal(copy({}, {"what is this?"}).input_ids,
                        processor({}, {"what is this?"}).input_ids);
}

TEST(ImageTextToTextProcessor, TheFoldersModelTypeSelectsTheClass) {
  const ProcessorFolder folder("opt");
  const auto has_qformer_tokenizer = [&] {
    return ImageTextToTextProcessor::from_pretrained(folder.path()).find_qformer_tokenizer() !=
           nullptr;
  };
  EXPECT_TRUE(has_qformer_tokenizer());
  folder.folder().write("config.json", R"({"model_type": "blip-2"})");
  EXPECT_FALSE(has_qformer_tokenizer());
  folder.folder().write("config.json", R"({"model_type": "instructblip"})");
  EXPECT_TRUE(has_qformer_tokenizer());
}

TEST(Blip2Processor, NullTokenizersAreRejected) {
  const ProcessorFolder folder("opt");
  const auto images = BlipImageProcessor::from_pretrained(folder.path());
  testing::expect_error<InputError>([&] { Blip2Processor(images, nullptr); }, {"tokenizer"});
  testing::expect_error<InputError>(
      [&] {
        InstructBlipProcessor(images, AutoTokenizer::from_pretrained(folder.path()), nullptr);
      },
      {"qformer_tokenizer must not be null"});
}

}  // namespace
}  // namespace instructblip
