// Shared by the tests of the processors: folders, pictures, texts and the cases of the fixtures.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/processing/image_text_to_text_processor.h"
#include "support/compare.h"
#include "support/fixtures.h"
#include "support/temporary_folder.h"

namespace instructblip {

using testing::TemporaryFolder;

inline constexpr Index kTokens = 5;
inline constexpr const char* kPreprocessor = R"({"image_processor_type": "BlipImageProcessor",
 "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
 "image_mean": [0.48, 0.45, 0.4], "image_std": [0.26, 0.25, 0.27], "resample": 3,
 "rescale_factor": 0.00392156862745098, "size": {"height": 14, "width": 14}})";

/// A checkpoint's processor files, built from the tokenizers of the fixtures.
class ProcessorFolder {
 public:
  explicit ProcessorFolder(const std::string& name, const std::string& padding_side = "") {
    const auto from = testing::fixtures_folder() / "tokenization";
    std::filesystem::copy(from / name, path());
    std::filesystem::copy(from / "bert", path() / "qformer_tokenizer");
    folder_.write("preprocessor_config.json", kPreprocessor);
    folder_.write("processor_config.json", "{\"num_query_tokens\": 5}");
    if (padding_side.empty()) return;
    std::ifstream stream(path() / "tokenizer_config.json");
    std::string config(std::istreambuf_iterator<char>(stream), {});
    config.insert(config.find('{') + 1, "\"padding_side\": \"" + padding_side + "\",");
    folder_.write("tokenizer_config.json", config);
  }
  std::filesystem::path path() const { return folder_.path() / "."; }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
};

inline std::vector<std::string> texts() {
  std::string second = "the <image> dog</s> and[SEP] the cat ";
  for (int i = 0; i < 10; ++i) second += "blue ";
  return {"What is unusual about this image?", second};
}

inline Image picture(int number) {
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < 30; ++y) {
    for (int x = 0; x < 40; ++x) {
      for (int c = 0; c < 3; ++c) {
        pixels.push_back(static_cast<std::uint8_t>((x * 7 + y * 13 + c * 29 + number * 50) % 256));
      }
    }
  }
  return Image::from_pixels(pixels.data(), 40, 30, PixelFormat::RGB);
}

inline std::vector<Image> pictures() { return {picture(0), picture(1)}; }

/// The CASES of tests/reference/processing.py.
inline const std::vector<std::pair<std::string, ProcessingKwargs>> kCases = {
    {"longest", {.padding = PaddingStrategy::Longest}},
    {"longest_left", {.padding = PaddingStrategy::Longest, .padding_side = Side::Left}},
    {"longest_right", {.padding = PaddingStrategy::Longest, .padding_side = Side::Right}},
    {"max_length", {.padding = PaddingStrategy::MaxLength, .max_length = 120}},
    {"max_length_cut",
     {.padding = PaddingStrategy::MaxLength, .truncation = true, .max_length = 12}},
    {"cut", {.padding = PaddingStrategy::Longest, .truncation = true, .max_length = 9}},
    {"cut_to_nothing",
     {.padding = PaddingStrategy::Longest, .truncation = true, .max_length = kTokens + 1}},
    {"plain", {.add_special_tokens = false, .padding = PaddingStrategy::Longest}},
    {"multiple", {.padding = PaddingStrategy::Longest, .pad_to_multiple_of = 8}}};

/// The texts' parts of `batch` are those of the fixture whose names begin with `prefix`.
inline void expect_batch(const BatchFeature& batch, const testing::Fixture& fixture,
                         const std::string& prefix) {
  SCOPED_TRACE(prefix);
  for (const auto& [part, tensor] : batch.items()) {
    if (part == "pixel_values") {
      testing::expect_close(*tensor, testing::Fixture("processing/processor")["pixel_values"], 0);
    } else {
      testing::expect_close(*tensor, fixture[prefix + std::string(part)], 0);
    }
  }
}

}  // namespace instructblip
