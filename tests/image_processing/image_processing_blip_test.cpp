#include "instructblip/image_processing/image_processing_blip.h"

#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::expect_equal;
using testing::expect_error;
using testing::Fixture;
using testing::LogCapture;
using testing::TemporaryFolder;

const Fixture& fixture() {
  static const Fixture values("image_processing/processor");
  return values;
}

Image image_named(const std::string& name) {
  const Tensor pixels = fixture()[name];
  return Image::from_pixels(pixels.data<std::uint8_t>(), pixels.dim(1), pixels.dim(0),
                            static_cast<PixelFormat>(pixels.dim(2) - 1));
}

TEST(BlipImageProcessor, EveryOptionMatchesTheReference) {
  const std::vector<std::string> configs = fixture().texts("configs");
  ASSERT_GE(configs.size(), 15u);
  for (std::size_t i = 1; i < configs.size(); ++i) {
    SCOPED_TRACE(configs[i]);
    const auto processor = BlipImageProcessor::from_json(configs[i]);
    expect_equal(processor.preprocess({image_named("image")}),
                 fixture()["pixel_values." + std::to_string(i)]);
  }
}

TEST(BlipImageProcessor, WritesWhatTheReferenceWrites) {
  const std::vector<std::string> configs = fixture().texts("configs"),
                                 written = fixture().texts("written");
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const std::string json = BlipImageProcessor::from_json(configs[i]).to_json();
    EXPECT_EQ(json, written[i]) << configs[i];
    EXPECT_EQ(BlipImageProcessor::from_json(json).to_json(), written[i]) << configs[i];
  }
  EXPECT_EQ(BlipImageProcessor().to_json(), written[0]);
}

TEST(BlipImageProcessor, AllByteValuesAreRescaledAndNormalisedBitForBit) {
  Image levels(16, 16);
  for (Index i = 0; i < 256 * 3; ++i)
    levels.pixels()[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i / 3);
  expect_equal(BlipImageProcessor()({levels}, {.do_resize = false}), fixture()["levels"]);
}

TEST(BlipImageProcessor, TakesEveryPixelFormat) {
  for (const char* name : {"L", "LA", "RGBA"}) {
    SCOPED_TRACE(name);
    const Image image = image_named(name);
    const ImagesKwargs small{.size = SizeDict{.height = 10, .width = 10}};
    expect_equal(BlipImageProcessor()({image}, small), fixture()[std::string(name) + ".rgb"]);
    ImagesKwargs plain = small;
    plain.do_convert_rgb = false;
    plain.image_mean = {{0.4}};
    plain.image_std = {{0.3}};
    expect_equal(BlipImageProcessor()({image}, plain), fixture()[std::string(name) + ".plain"]);
  }
}

TEST(BlipImageProcessor, ATransparentColourBecomesWhiteIfConvertedToRgb) {
  const Fixture files("image_processing/decoding");
  const Tensor file = files["gif_transparent.file"];
  const Image image = Image::open(file.span<std::uint8_t>());
  const auto pixels = [&](bool do_convert_rgb) {
    return BlipImageProcessor()({image}, {.do_convert_rgb = do_convert_rgb,
                                          .do_resize = false,
                                          .do_rescale = false,
                                          .do_normalize = false});
  };
  for (const bool converted : {true, false}) {
    const Tensor expected = files[converted ? "gif_transparent.opaque" : "gif_transparent.rgb"];
    const Tensor found = pixels(converted);
    for (Index i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(found.data<std::uint8_t>()[i % 3 * 4 + i / 3], expected.data<std::uint8_t>()[i]);
    }
  }
}

TEST(BlipImageProcessor, BatchesImages) {
  const std::vector<Image> images{image_named("two.0"), image_named("two.1")};
  expect_equal(BlipImageProcessor()(images, {.size = SizeDict{.height = 10, .width = 10}}),
               fixture()["two"]);
  BlipImageProcessor padding;
  padding.size = SizeDict{.shortest_edge = 8};
  EXPECT_THROW(padding(images), ImageError);
  padding.do_pad = true;
  expect_equal(padding(images), fixture()["two.padded"]);
}

TEST(BlipImageProcessor, DefaultsAreTheReferences) {
  const Tensor pixels = BlipImageProcessor()({image_named("image")});
  EXPECT_EQ(pixels.shape(), (Shape{1, 3, 384, 384}));
  EXPECT_EQ(pixels.dtype(), DType::Float32);
}

TEST(BlipImageProcessor, LoadsEitherFileOfAFolder) {
  const TemporaryFolder folder;
  EXPECT_THROW(BlipImageProcessor::from_pretrained(folder.path()), ConfigError);
  folder.write("preprocessor_config.json", R"({"size": 30})");
  folder.write("processor_config.json", R"({"num_query_tokens": 32})");
  EXPECT_EQ(BlipImageProcessor::from_pretrained(folder.path()).size->height, 30);
  folder.write("processor_config.json",
               R"({"image_processor": {"size": {"height": 40, "width": 50}}})");
  EXPECT_EQ(BlipImageProcessor::from_pretrained(folder.path()).size->width, 50);
  EXPECT_EQ(
      BlipImageProcessor::from_pretrained(folder.path() / "preprocessor_config.json").size->height,
      30);
}

TEST(BlipImageProcessor, SavesIntoAFolder) {
  const TemporaryFolder folder;
  auto processor = BlipImageProcessor::from_json(R"({"mine": [1.5, "x"], "size": 30})");
  processor.resample = Resampling::Lanczos;
  const BlipImageProcessor copy = processor;
  copy.save_pretrained(folder.path() / "new");
  const auto loaded = BlipImageProcessor::from_pretrained(folder.path() / "new");
  EXPECT_EQ(loaded.resample, Resampling::Lanczos);
  EXPECT_EQ(loaded.to_json(), processor.to_json());
  EXPECT_NE(loaded.to_json().find("\"mine\""), std::string::npos);
}

TEST(BlipImageProcessor, WrongValuesAreNamedByKey) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"size": "big"})", "size"},
      {R"({"size": 0})", "size"},
      {R"({"size": -3})", "size"},
      {R"({"size": 2.5})", "size"},
      {R"({"size": [1, 2, 3]})", "size"},
      {R"({"size": {"height": 3}})", "size"},
      {R"({"size": {"height": 3, "width": "4"}})", "size.width"},
      {R"({"size": {"depth": 3}})", "size"},
      {R"({"crop_size": true})", "crop_size"},
      {R"({"resample": 6})", "resample"},
      {R"({"resample": "bicubic"})", "resample"},
      {R"({"do_resize": 1})", "do_resize"},
      {R"({"rescale_factor": "1/255"})", "rescale_factor"},
      {R"({"image_mean": []})", "image_mean"},
      {R"({"image_std": [1, null, 1]})", "image_std"},
      {R"([1])", "object"},
      {R"({"size": )", "not valid JSON"},
      {"", "not valid JSON"},
      {"{\"\xff\": 1}", "not valid JSON"},
  };
  for (const auto& [json, part] : wrong) {
    try {
      BlipImageProcessor::from_json(json);
      ADD_FAILURE() << json << " was accepted";
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(BlipImageProcessor::from_json("{\"a\": " + std::string(100000, '[')), ConfigError);
}

TEST(BlipImageProcessor, InconsistentOptionsAreErrors) {
  const std::vector<Image> one{Image(4, 4)};
  const BlipImageProcessor processor;
  EXPECT_THROW(processor({}), InputError);
  EXPECT_THROW(processor({Image()}), InputError);
  EXPECT_THROW(processor(one, {.size = SizeDict{.longest_edge = 5}}), InputError);
  EXPECT_THROW(processor(one, {.size = SizeDict{.height = 5}}), InputError);
  EXPECT_THROW(processor(one, {.size = SizeDict{.height = -5, .width = 5}}), InputError);
  EXPECT_THROW(processor(one, {.do_center_crop = true}), InputError);
  EXPECT_THROW(processor(one, {.crop_size = SizeDict{.shortest_edge = 3}, .do_center_crop = true}),
               InputError);
  EXPECT_THROW(processor(one, {.image_mean = {{0.5, 0.5}}}), InputError);
  EXPECT_THROW(processor(one, {.image_std = {{0.5, 0.0, 1.0}}}), InputError);
  EXPECT_THROW(processor(one, {.do_pad = true, .pad_size = SizeDict{.height = 3, .width = 3}}),
               InputError);
  EXPECT_THROW(processor({Image(1, 1), Image(1, 1, PixelFormat::Gray)}, {.do_convert_rgb = false}),
               InputError);
  BlipImageProcessor empty;
  empty.size.reset();
  EXPECT_THROW(empty(one), InputError);
  EXPECT_NO_THROW(empty(one, {.do_resize = false}));
  EXPECT_THROW(
      processor({Image(1000, 1)}, {.size = SizeDict{.longest_edge = 50, .shortest_edge = 20}}),
      ImageError);
}

TEST(BlipImageProcessor, SizesBeyondMemoryAreErrors) {
  const std::vector<Image> one{Image(20, 10)};
  const BlipImageProcessor processor;
  constexpr Index kLargest = Index{1} << 40;
  const SizeDict sizes[] = {{.height = 40000, .width = 40000},
                            {.height = 400, .width = kLargest},
                            {.height = kLargest, .width = kLargest}};
  for (const SizeDict& size : sizes) {
    expect_error<InputError>([&] { processor(one, {.size = size}); }, {"2^30 pixels"});
    expect_error<InputError>([&] { processor(one, {.crop_size = size, .do_center_crop = true}); },
                             {"crop_size", "2^30 pixels"});
    expect_error<InputError>([&] { processor(one, {.do_pad = true, .pad_size = size}); },
                             {"pad_size", "2^30 pixels"});
  }
  // The longer side does not fit into an Index.
  for (const SizeDict& size : {SizeDict{.shortest_edge = kLargest},
                               SizeDict{.longest_edge = kLargest, .shortest_edge = kLargest},
                               SizeDict{.max_height = kLargest, .max_width = kLargest}}) {
    expect_error<InputError>([&] { processor({Image(1 << 24, 1)}, {.size = size}); },
                             {"2^30 pixels"});
  }
}

TEST(BlipImageProcessor, AnotherClassInTheFileCausesAWarning) {
  const LogCapture log;
  BlipImageProcessor::from_json(R"({"image_processor_type": "BlipImageProcessorFast"})");
  EXPECT_TRUE(log.messages().empty());
  BlipImageProcessor::from_json(R"({"image_processor_type": "CLIPImageProcessor"})");
  EXPECT_TRUE(log.contains("CLIPImageProcessor"));
}

}  // namespace
}  // namespace instructblip
