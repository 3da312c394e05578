// Compares InstructBlipVisionModel with the reference (tests/reference/instructblip.py).
#include "instructblip/models/modeling_instructblip_vision.h"

#include "instructblip/core/threads.h"
#include "models/instructblip_testing.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"

namespace instructblip::testing {
namespace {

InstructBlipVisionModel load_vision_model(std::string_view kind, DType dtype = DType::Float32) {
  return InstructBlipVisionModel::from_pretrained(checkpoint_folder(kind), {.dtype = dtype});
}

Tensor image_of(const Tensor& images, Index i) {
  const Shape& shape = images.shape();
  const Index size = images.size() / shape[0];
  return Tensor::copy_of(TensorView(images.data<float>() + i * size, DType::Float32,
                                    {1, shape[1], shape[2], shape[3]}));
}

TEST(InstructBlipVisionModel, MatchesTheReferencesStatesAndAttentions) {
  const Fixture expected("instructblip/opt/expected");
  const auto output = load_vision_model("opt").forward(
      expected["vision.pixel_values"], {.output_hidden_states = true, .output_attentions = true});
  expect_close(output.last_hidden_state, expected["vision.last_hidden_state"]);
  expect_close(output.pooler_output, expected["vision.pooler_output"]);
  ASSERT_EQ(output.hidden_states.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    expect_close(output.hidden_states[i], expected["vision.hidden_states." + std::to_string(i)]);
  }
  ASSERT_EQ(output.attentions.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    expect_close(output.attentions[i], expected["vision.attentions." + std::to_string(i)]);
  }
}

TEST(InstructBlipVisionModel, RecordsNothingUnlessRequested) {
  const Fixture expected("instructblip/opt/expected");
  const auto output = load_vision_model("opt").forward(expected["vision.pixel_values"]);
  EXPECT_TRUE(output.hidden_states.empty());
  EXPECT_TRUE(output.attentions.empty());
  expect_close(output.last_hidden_state, expected["vision.last_hidden_state"]);
}

TEST(InstructBlipVisionModel, InterpolatesPositionsForOtherImageSizes) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_vision_model("opt");
  for (const char* size : {"24x16", "13x22", "8x8", "32x8", "17x17", "20x37"}) {
    SCOPED_TRACE(size);
    const std::string name = std::string("vision.") + size;
    const auto output =
        model.forward(expected[name + ".pixel_values"], {.interpolate_pos_encoding = true});
    expect_close(output.last_hidden_state, expected[name + ".last_hidden_state"]);
  }
}

TEST(InstructBlipVisionModel, AcceptsAnotherShapeWithTheSameNumberOfPatches) {
  const Fixture expected("instructblip/opt/expected");
  const auto output = load_vision_model("opt").forward(expected["vision.32x8.pixel_values"]);
  expect_close(output.last_hidden_state, expected["vision.32x8.plain.last_hidden_state"]);
}

TEST(InstructBlipVisionModel, LoadsFromItsOwnFolderWithoutAQkvBias) {
  const LogCapture log;
  const Fixture expected("instructblip/vision/expected");
  const auto output = load_vision_model("vision").forward(expected["pixel_values"]);
  expect_close(output.last_hidden_state, expected["last_hidden_state"]);
  expect_close(output.pooler_output, expected["pooler_output"]);
  EXPECT_TRUE(log.messages().empty());
}

TEST(InstructBlipVisionModel, LoadsFromAWholeCheckpointWithoutWarnings) {
  const LogCapture log;
  load_vision_model("llama");
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
}

TEST(InstructBlipVisionModel, AnImageGivesTheSameBitsAloneAndInABatch) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_vision_model("opt");
  const Tensor pixels = expected["vision.pixel_values"];
  const Tensor together = model.forward(pixels).last_hidden_state;
  for (Index i = 0; i < pixels.dim(0); ++i) {
    const Tensor alone = model.forward(image_of(pixels, i)).last_hidden_state;
    const TensorView row(together.data<float>() + i * alone.size(), DType::Float32, alone.shape());
    expect_equal(alone, row);
  }
}

TEST(InstructBlipVisionModel, ResultDoesNotDependOnTheNumberOfThreads) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_vision_model("opt");
  const int before = num_threads();
  set_num_threads(1);
  const Tensor one = model.forward(expected["vision.pixel_values"]).last_hidden_state;
  set_num_threads(3);
  const Tensor three = model.forward(expected["vision.pixel_values"]).last_hidden_state;
  set_num_threads(before);
  expect_equal(three, one);
}

TEST(InstructBlipVisionModel, ComputesInBFloat16) {
  const Fixture expected("instructblip/opt/expected");
  const auto output =
      load_vision_model("opt", DType::BFloat16).forward(expected["vision.pixel_values"]);
  expect_close(output.last_hidden_state, expected["vision.last_hidden_state"], 0.05);
}

void expect_pixels_refused(const InstructBlipVisionModel& model, const Tensor& pixels,
                           const VisionForwardOptions& options, std::string_view text) {
  SCOPED_TRACE(to_string(pixels.shape()));
  expect_error<InputError>([&] { model.forward(pixels, options); }, {text});
}

TEST(InstructBlipVisionModel, RejectsPixelsOfTheWrongShape) {
  const auto model = load_vision_model("opt");
  const auto pixels = [](Shape shape) { return Tensor(DType::Float32, std::move(shape)); };
  expect_pixels_refused(
      model, pixels({1, 3, 24, 16}), {},
      "24 x 16 pixels, expected 16 x 16 (16 patches, found 24); resize the image, "
      "or set interpolate_pos_encoding");
  expect_pixels_refused(model, pixels({1, 3, 16, 12}), {},
                        "16 x 12 pixels, expected 16 x 16 (16 patches, found 12)");
  expect_pixels_refused(model, pixels({1, 3, 3, 16}), {.interpolate_pos_encoding = true},
                        "at least one patch of 4 x 4");
  expect_pixels_refused(model, pixels({1, 1, 16, 16}), {}, "[1, 1, 16, 16], expected");
  expect_pixels_refused(model, pixels({3, 16, 16}), {}, "[batch, 3, height, width]");
  expect_pixels_refused(model, pixels({0, 3, 16, 16}), {}, "[0, 3, 16, 16]");
  expect_pixels_refused(model, pixels({}), {}, "expected floating-point");
  expect_pixels_refused(model, Tensor(DType::Int64, {1, 3, 16, 16}), {}, "int64");
}

TEST(InstructBlipVisionModel, NamesTheTensorsMissingFromACheckpoint) {
  const auto config = InstructBlipVisionConfig::from_pretrained(checkpoint_folder("vision"));
  const Weights weights = Weights::from_tensors({});
  const InstructBlipVisionModel model(weights["vision_model"], config);
  expect_error<CheckpointError>(
      [&] { weights.finish(); },
      {"vision_model.embeddings.class_embedding", "vision_model.post_layernorm.bias"});
}

}  // namespace
}  // namespace instructblip::testing
