#include "instructblip/processing/processing_instructblip.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "processing/processor_testing.h"
#include "support/expect_error.h"
#include "support/log_capture.h"

namespace instructblip {
namespace {

using testing::expect_error;
using testing::Fixture;
using testing::LogCapture;
using testing::TemporaryFolder;

class EveryProcessor : public ::testing::TestWithParam<std::pair<std::string, std::string>> {};

INSTANTIATE_TEST_SUITE_P(Folders, EveryProcessor,
                         ::testing::Values(std::pair{"llama_legacy_hub", ""},
                                           std::pair{"llama", ""}, std::pair{"opt", ""},
                                           std::pair{"t5", ""}, std::pair{"opt", "left"}),
                         [](const auto& info) { return info.param.first + info.param.second; });

TEST_P(EveryProcessor, MatchesTheReference) {
  const auto& [name, side] = GetParam();
  const ProcessorFolder folder(name, side);
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const Fixture fixture("processing/processor");
  const std::string key = side.empty() ? name : name + "_" + side;
  EXPECT_EQ(processor.image_token_id(),
            fixture[key + ".image_token"].to(DType::Int64).data<std::int64_t>()[0]);
  for (auto [option, kwargs] : kCases) {
    kwargs.qformer_padding_side =
        kwargs.padding_side.value_or(side == "left" ? Side::Left : Side::Right);
    for (const bool with_images : {false, true}) {
      const BatchFeature batch =
          processor(with_images ? pictures() : std::vector<Image>(), texts(), kwargs);
      const std::string prefix = key + "." + option + (with_images ? ".images." : ".text.");
      expect_batch(batch, fixture, prefix);
      EXPECT_EQ(batch.pixel_values.empty(), !with_images);
    }
  }
}

TEST_P(EveryProcessor, IsTheSameAfterSavingAndLoading) {
  const auto& [name, side] = GetParam();
  const ProcessorFolder folder(name, side);
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const TemporaryFolder saved;
  processor.save_pretrained(saved.path() / "new");
  const auto loaded = InstructBlipProcessor::from_pretrained(saved.path() / "new");
  EXPECT_EQ(loaded.num_query_tokens(), kTokens);
  EXPECT_EQ(loaded.image_token_id(), processor.image_token_id());
  const ProcessingKwargs kwargs{.padding = PaddingStrategy::Longest};
  const BatchFeature before = processor(pictures(), texts(), kwargs);
  const BatchFeature after = loaded(pictures(), texts(), kwargs);
  ASSERT_EQ(before.items().size(), after.items().size());
  for (std::size_t i = 0; i < before.items().size(); ++i) {
    testing::expect_close(*after.items()[i].second, *before.items()[i].second, 0);
  }
}

TEST(InstructBlipProcessor, ImagesWithoutTextGiveOnlyPixels) {
  const ProcessorFolder folder("llama");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const BatchFeature batch = processor({picture(0)}, {});
  EXPECT_EQ(batch.items().size(), 1u);
  EXPECT_EQ(batch.pixel_values.shape(), (Shape{1, 3, 14, 14}));
}

TEST(InstructBlipProcessor, InconsistentInputsAreErrors) {
  const ProcessorFolder folder("llama");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  EXPECT_THROW(processor({}, {}), InputError);
  EXPECT_THROW(processor({picture(0)}, {"a", "b"}, {.padding = PaddingStrategy::Longest}),
               InputError);
  EXPECT_THROW(processor({picture(0)}, {"a"}, {.max_length = kTokens - 1}), InputError);
  EXPECT_THROW(processor({picture(0), picture(1)}, {"a", "a longer text"}), InputError);
  EXPECT_THROW(processor({picture(0)}, {"\xff"}), TokenizerError);
  EXPECT_THROW(processor({}, {"a"}, {.num_images = -1}), InputError);
}

TEST(InstructBlipProcessor, TheNumberOfPlaceholdersIsBounded) {
  const ProcessorFolder folder("llama");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  expect_error<InputError>([&] { processor({}, {"a"}, {.num_images = Index{1} << 61}); },
                           {"num_images is 2305843009213693952, expected 0 to 65536"});
  expect_error<InputError>(
      [&] {
        InstructBlipProcessor(processor.image_processor(), processor.tokenizer().clone(),
                              processor.qformer_tokenizer().clone(), Index{1} << 40);
      },
      {"num_query_tokens is 1099511627776, expected 0 to 65536"});
  folder.folder().write("processor_config.json", "{\"num_query_tokens\": 1099511627776}");
  expect_error<ConfigError>([&] { InstructBlipProcessor::from_pretrained(folder.path()); },
                            {"processor_config.json: \"num_query_tokens\": expected a whole number "
                             "from 0 to 65536, found 1099511627776"});
}

TEST(InstructBlipProcessor, MessagesAreInTheUsersWords) {
  const ProcessorFolder folder("llama");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const auto call = [&](std::vector<Image> images, std::vector<std::string> texts) {
    return [&, images, texts] { processor(images, texts, {.padding = PaddingStrategy::Longest}); };
  };
  expect_error<InputError>(call({}, {}), {"no image and no text given"});
  expect_error<InputError>(call({picture(0)}, {"a", "b"}), {"1 image for 2 texts: "});
  expect_error<InputError>(call({picture(0), picture(1), picture(0)}, {"a", "b"}),
                           {"3 images for 2 texts: "});
}

TEST(InstructBlipProcessor, InsertsPlaceholdersWithoutPixelsOnRequest) {
  const ProcessorFolder folder("llama");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const BatchFeature with_pixels = processor({picture(0)}, {"what is this?"});
  const BatchFeature without = processor({}, {"what is this?"}, {.num_images = 1});
  testing::expect_close(without.input_ids, with_pixels.input_ids, 0);
  testing::expect_close(without.qformer_input_ids, with_pixels.qformer_input_ids, 0);
  EXPECT_TRUE(without.pixel_values.empty());
}

TEST(InstructBlipProcessor, AcceptsSeveralImagesPerText) {
  const ProcessorFolder folder("llama");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const ProcessingKwargs kwargs{.padding = PaddingStrategy::Longest};
  const std::vector<Image> images = {picture(0), picture(1), picture(2), picture(3)};
  const testing::LogCapture log;
  const BatchFeature two = processor(images, texts(), kwargs);
  EXPECT_TRUE(
      log.contains("4 images for 2 texts: every 2 images are taken as views of one sample"));
  const std::size_t warnings = log.messages().size();
  ProcessingKwargs meant = kwargs;
  meant.num_images = 2;
  testing::expect_equal(processor(images, texts(), meant).input_ids, two.input_ids);
  EXPECT_EQ(log.messages().size(), warnings);
  const BatchFeature one = processor(pictures(), texts(), kwargs);
  EXPECT_EQ(two.pixel_values.dim(0), 4);
  EXPECT_EQ(two.qformer_input_ids.dim(0), 4);
  EXPECT_EQ(two.input_ids.dim(1), one.input_ids.dim(1) + kTokens);
  for (Index c = 0; c < 2 * kTokens; ++c) {
    EXPECT_EQ(two.input_ids.at<std::int64_t>({1, c}), processor.image_token_id());
  }
  for (Index c = 0; c < one.qformer_input_ids.dim(1); ++c) {
    for (Index row = 0; row < 4; ++row) {
      EXPECT_EQ(two.qformer_input_ids.at<std::int64_t>({row, c}),
                one.qformer_input_ids.at<std::int64_t>({row / 2, c}));
    }
  }
}

TEST(InstructBlipProcessor, PadsTheQFormersTextOnTheRightUnlessRequested) {
  const ProcessorFolder folder("opt", "left");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const ProcessingKwargs defaults{.padding = PaddingStrategy::Longest};
  ProcessingKwargs as_the_reference = defaults;
  as_the_reference.qformer_padding_side = Side::Left;
  const BatchFeature left = processor(pictures(), texts(), as_the_reference);
  const BatchFeature right = processor(pictures(), texts(), defaults);
  EXPECT_EQ(left.qformer_attention_mask.at<std::int64_t>({0, 0}), 0);
  EXPECT_EQ(right.qformer_attention_mask.at<std::int64_t>({0, 0}), 1);
  testing::expect_close(right.input_ids, left.input_ids, 0);
}

TEST(InstructBlipProcessor, PadsT5sTextOnTheRightUnlessRequested) {
  const auto is_padded_on_the_left = [&](const ProcessorFolder& folder,
                                         const TokenizerOptions& options,
                                         std::optional<Side> side) {
    const auto processor = InstructBlipProcessor::from_pretrained(folder.path(), options);
    const ProcessingKwargs kwargs{.padding = PaddingStrategy::Longest, .padding_side = side};
    return processor({}, texts(), kwargs).attention_mask.at<std::int64_t>({0, 0}) == 0;
  };
  const ProcessorFolder t5("t5", "left");
  EXPECT_FALSE(is_padded_on_the_left(t5, {}, {}));
  EXPECT_TRUE(is_padded_on_the_left(t5, {}, Side::Left));
  EXPECT_TRUE(is_padded_on_the_left(t5, {.padding_side = Side::Left}, {}));
  // With another tokenizer, config.json names the language model.
  const ProcessorFolder other("opt", "left");
  other.folder().write("config.json", R"({"text_config": {"model_type": "opt"}})");
  EXPECT_TRUE(is_padded_on_the_left(other, {}, {}));
  other.folder().write("config.json", R"({"text_config": {"model_type": "t5"}})");
  EXPECT_FALSE(is_padded_on_the_left(other, {}, {}));
}

TEST(InstructBlipProcessor, LoadsALegacyFolderWithoutNumQueryTokens) {
  const ProcessorFolder folder("llama");
  folder.folder().write("processor_config.json", "{}");
  LogCapture log;
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  EXPECT_EQ(processor.num_query_tokens(), std::nullopt);
  EXPECT_TRUE(log.contains("add \"num_query_tokens\" to processor_config.json"));
  const auto said = log.messages();
  const BatchFeature batch = processor({picture(0)}, {"what is this?"});
  EXPECT_EQ(log.messages(), said);  // warns on loading, not per question
  EXPECT_NE(batch.input_ids.at<std::int64_t>({0, 0}), processor.image_token_id());
}

TEST(InstructBlipProcessor, UsesTheMainTokenizerWithAWarningIfTheQFormersIsMissing) {
  const ProcessorFolder folder("llama");
  std::filesystem::remove_all(folder.path() / "qformer_tokenizer");
  LogCapture log;
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  EXPECT_TRUE(log.contains("qformer_tokenizer"));
  EXPECT_EQ(processor.qformer_tokenizer().class_name(), "LlamaTokenizer");
}

TEST(InstructBlipProcessor, OptionsAndLoaderAreForTheLanguageModelsTokenizer) {
  const ProcessorFolder folder("llama_hub", "left");
  const auto given = folder.path();
  int calls = 0;
  TokenizerOptions options{.pad_token = "<unk>", .padding_side = Side::Right};
  options.loader = [&](const std::filesystem::path& path, const TokenizerOptions& passed) {
    ++calls;
    EXPECT_EQ(path, given);
    EXPECT_EQ(passed.pad_token, "<unk>");
    TokenizerOptions others = passed;
    others.loader = nullptr;
    return AutoTokenizer::from_pretrained(path, others);
  };
  const auto processor = InstructBlipProcessor::from_pretrained(given, options);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(processor.qformer_tokenizer().pad_token(), "[PAD]");
  const BatchFeature features =
      processor({}, {"a", "what is this?"}, {.padding = PaddingStrategy::Longest});
  EXPECT_EQ(features.attention_mask.at<std::int64_t>({0, 0}), 1);  // padded on the right
  options.loader = [](const auto&, const auto&) { return nullptr; };
  EXPECT_THROW(InstructBlipProcessor::from_pretrained(given, options), TokenizerError);
}

TEST(InstructBlipProcessor, DecodesWithTheLanguageModelsTokenizer) {
  const ProcessorFolder folder("llama");
  const auto processor = InstructBlipProcessor::from_pretrained(folder.path());
  const BatchFeature batch = processor({picture(0)}, {"what is this?"});
  const auto ids = batch.input_ids.span<std::int64_t>();
  EXPECT_EQ(processor.decode(ids, {.skip_special_tokens = true}), "what is this?");
}

}  // namespace
}  // namespace instructblip
