// Compares InstructBLIP-Video with the reference (tests/reference/instructblipvideo.py).
#include "instructblip/models/modeling_instructblipvideo.h"

#include "instructblip/models/modeling_instructblipvideo_parts.h"
#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

std::filesystem::path video_folder(std::string_view kind) {
  return fixtures_folder() / "instructblipvideo" / kind;
}

/// A test with the name of a checkpoint's folder as parameter. Each is loaded once, from files in
/// float32 (opt), bfloat16 (t5) and float16 (llama).
class InstructBlipVideoTest : public ::testing::TestWithParam<const char*> {
 protected:
  const InstructBlipVideoForConditionalGeneration& model() const {
    return loaded_once<InstructBlipVideoForConditionalGeneration>(video_folder(GetParam()));
  }
  Fixture expected() const {
    return Fixture(std::string("instructblipvideo/") + GetParam() + "/expected");
  }
  bool decoder_only() const { return model().config().use_decoder_only_language_model(); }
  /// Positions that this library does not compute are zeros.
  TensorView mask_of(const ForwardCase& call) const {
    return decoder_only() ? call.inputs.attention_mask : TensorView{};
  }
  /// The mask of the Q-Former's queries and text, for each frame.
  Tensor qformer_mask(const ForwardCase& call, Index frames) const {
    return prepend_columns(call.tensors.at("qformer_attention_mask").repeat_interleave(frames),
                           model().config().num_query_tokens, 1);
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, InstructBlipVideoTest, ::testing::Values("opt", "t5", "llama"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(InstructBlipVideoTest, LogitsAndLossEqualTheReference) {
  const Fixture fixture = expected();
  for (const std::string name : {"left", "three", "five", "size"}) {
    SCOPED_TRACE(name);
    const std::string prefix = "forward." + name + ".";
    ForwardCase call(fixture, prefix);
    call.inputs.interpolate_pos_encoding = name == "size";
    const auto output = model().forward(call.inputs);
    expect_close(output.logits, without_padding(fixture[prefix + "logits"], mask_of(call)));
    ASSERT_EQ(output.loss.has_value(), fixture.has(prefix + "loss"));
    if (!output.loss) continue;
    const float loss = fixture[prefix + "loss"].data<float>()[0];
    EXPECT_NEAR(*output.loss, loss, 1e-5 * loss);
  }
}

TEST_P(InstructBlipVideoTest, GetVideoFeaturesJoinsTheFramesOfASample) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const auto& in = call.inputs;
  const Tensor mask = qformer_mask(call, 4);
  const auto expect_features = [&](const BaseModelOutputWithVisionQformerOutputs& output) {
    expect_close(output.pooler_output, fixture["features.pooler_output"]);
    expect_close(output.vision_outputs.last_hidden_state, fixture["features.last_hidden_state"]);
    expect_close(output.qformer_outputs.last_hidden_state,
                 without_padding(fixture["features.qformer_outputs.last_hidden_state"], mask));
  };
  const auto output =
      model().get_video_features(in.pixel_values, in.qformer_input_ids, in.qformer_attention_mask);
  expect_features(output);
  expect_features(model().get_image_features(model().encode_image(in.pixel_values),
                                             in.qformer_input_ids, in.qformer_attention_mask));

  InstructBlipVideoInputs with_features = in;
  with_features.pixel_values = {};
  with_features.mm_encoder_outputs = &output;
  expect_equal(model().forward(with_features).logits, model().forward(in).logits);
}

TEST_P(InstructBlipVideoTest, PixelsMayBeGivenAsImages) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  const Tensor logits = model().forward(call.inputs).logits;
  const Tensor& video = call.tensors.at("pixel_values");
  const Index side = video.dim(-1);
  const Tensor images = video.reshaped({12, 3, side, side});
  call.inputs.pixel_values = images;
  expect_equal(model().forward(call.inputs).logits, logits);
  const Tensor ids = call.tensors.at("qformer_input_ids").repeat_interleave(4);
  const Tensor mask = call.tensors.at("qformer_attention_mask").repeat_interleave(4);
  call.inputs.qformer_input_ids = ids;
  call.inputs.qformer_attention_mask = mask;
  expect_equal(model().forward(call.inputs).logits, logits);

  // Pixels that are not contiguous: the first of two columns of videos.
  Tensor pairs(DType::Float32, {3, 8, 3, side, side});
  const Index size = video.size() / 3;
  for (Index b = 0; b < 3; ++b) {
    std::copy_n(video.data<float>() + b * size, size, pairs.data<float>() + 2 * b * size);
  }
  call.inputs.pixel_values = pairs.narrow(1, 0, 4);
  expect_equal(model().forward(call.inputs).logits, logits);
}

TEST_P(InstructBlipVideoTest, TheModelsPartsEqualTheReference) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  call.inputs.labels = {};
  Tensor decoder_ids;
  if (!decoder_only()) {
    decoder_ids = fixture["base.decoder_input_ids"];
    call.inputs.decoder_input_ids = decoder_ids;
  }
  call.inputs.output_hidden_states = call.inputs.output_attentions = true;
  const auto base =
      InstructBlipVideoModel::from_pretrained(video_folder(GetParam()), {.dtype = DType::Float32});
  const auto output = base.forward(call.inputs);
  expect_close(output.language_model_outputs.last_hidden_state,
               without_padding(fixture["base.last_hidden_state"], mask_of(call)));
  const Tensor mask = qformer_mask(call, 4);
  expect_list(fixture, output.vision_outputs.hidden_states, "base.vision_outputs.hidden_states");
  expect_list(fixture, output.qformer_outputs.hidden_states, "base.qformer_outputs.hidden_states",
              mask);
  expect_list(fixture, output.qformer_outputs.cross_attentions,
              "base.qformer_outputs.cross_attentions");
  EXPECT_EQ(base.vision_model().config().model_type(), "instructblipvideo_vision_model");
  EXPECT_EQ(base.qformer().config().model_type(), "instructblipvideo_qformer");
  EXPECT_TRUE(output.logits.empty());
}

TEST_P(InstructBlipVideoTest, PartsLoadFromTheWholeFolder) {
  const Fixture fixture = expected();
  const LogCapture log;
  const ForwardCase call(fixture, "forward.five.");
  const Tensor& video = call.tensors.at("pixel_values");
  const Tensor frames = video.reshaped({5, 3, video.dim(-1), video.dim(-1)});
  const auto vision = InstructBlipVideoVisionModel::from_pretrained(video_folder(GetParam()),
                                                                    {.dtype = DType::Float32});
  const auto qformer = InstructBlipVideoQFormerModel::from_pretrained(video_folder(GetParam()),
                                                                      {.dtype = DType::Float32});
  const Tensor states = vision.forward(frames).last_hidden_state;
  expect_equal(states, model().encode_image(video).last_hidden_state);
  const Tensor ids = call.tensors.at("qformer_input_ids").repeat_interleave(5);
  const auto whole = model().get_video_features(video, call.inputs.qformer_input_ids);
  const Tensor queries(DType::Float32, {1, model().config().num_query_tokens,
                                        model().config().qformer_config.hidden_size});
  const auto own =
      qformer.forward({.input_ids = ids, .query_embeds = queries, .encoder_hidden_states = states});
  EXPECT_EQ(own.last_hidden_state.shape(), whole.qformer_outputs.last_hidden_state.shape());
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
}

TEST_P(InstructBlipVideoTest, AnswersEqualTheReference) {
  const Fixture fixture = expected();
  for (const std::string name : {"text", "five", "video"}) {
    SCOPED_TRACE(name);
    BatchFeature batch =
        ForwardCase(fixture, name == "five" ? "forward.five." : "forward.left.").features();
    if (name == "video") batch.input_ids = batch.attention_mask = Tensor();
    const std::string prefix = "generate." + name + ".";
    const GenerateOutput greedy =
        model().generate(batch, {.max_new_tokens = 10, .output_logits = true});
    expect_equal(greedy.sequences, fixture[prefix + "greedy"]);
    expect_close(greedy.logits.back(), fixture[prefix + "last_logits"]);
    const GenerateOutput beams =
        model().generate(batch, {.max_new_tokens = 7, .num_beams = 5, .output_scores = true});
    expect_equal(beams.sequences, fixture[prefix + "beams"]);
    expect_close(beams.sequences_scores, fixture[prefix + "sequences_scores"]);
  }
}

// The reference gives five frames the placeholders of four.
TEST_P(InstructBlipVideoTest, WithoutTextAPromptHoldsThePlaceholdersOfAllFrames) {
  const Fixture fixture = expected();
  BatchFeature five = ForwardCase(fixture, "forward.five.").features();
  const auto& config = model().config();
  const Tensor bos(std::vector<std::int64_t>{config.text_config->bos_token_id.value()}, {1, 1});
  five.input_ids = prepend_columns(bos, 5 * config.num_query_tokens, *config.video_token_index());
  const GenerationConfig options{.max_new_tokens = 6};
  const Tensor sequences = model().generate(five, options).sequences;
  five.input_ids = Tensor();
  expect_equal(model().generate(five, options).sequences, sequences);
}

// The ids of row b, [1, length], without those that are masked out.
Tensor unpadded(const Tensor& ids, const Tensor& mask, Index b) {
  std::vector<std::int64_t> row;
  for (Index i = 0; i < ids.dim(1); ++i) {
    if (mask.at<std::int64_t>({b, i}) != 0) row.push_back(ids.at<std::int64_t>({b, i}));
  }
  return Tensor(row, {1, static_cast<Index>(row.size())});
}

BatchFeature video_row(const Fixture& fixture, Index b, bool padded) {
  const BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  BatchFeature one;
  one.pixel_values = Tensor::copy_of(sample(batch.pixel_values, b));
  one.qformer_input_ids = unpadded(batch.qformer_input_ids, batch.qformer_attention_mask, b);
  if (padded) {
    one.input_ids = Tensor::copy_of(sample(batch.input_ids, b));
    one.attention_mask = Tensor::copy_of(sample(batch.attention_mask, b));
  } else {
    one.input_ids = unpadded(batch.input_ids, batch.attention_mask, b);
  }
  return one;
}

TEST_P(InstructBlipVideoTest, DefaultsEqualTheReference) {
  const Fixture fixture = expected();
  expect_equal(model().generate(video_row(fixture, 0, true)).sequences,
               fixture["generate.default"]);
}

TEST_P(InstructBlipVideoTest, ASampleGivesTheSameBitsAloneWithoutPadding) {
  const Fixture fixture = expected();
  const BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  const GenerationConfig config{.max_new_tokens = 5, .output_logits = true};
  const GenerateOutput together = model().generate(batch, config);
  for (Index b = 0; b < 3; ++b) {
    // T5 counts padding in the middle as distance.
    const BatchFeature row = video_row(fixture, b, !decoder_only());
    const auto found = together.new_tokens()[static_cast<std::size_t>(b)];
    BatchFeature text = row;
    text.pixel_values = Tensor();
    for (const GenerateOutput& output :
         {model().generate(row, config),
          model().generate(text, config, model().encode_image(row.pixel_values))}) {
      EXPECT_EQ(output.new_tokens()[0], found);
      for (std::size_t step = 0; step < found.size(); ++step) {
        expect_equal(output.logits[step], sample(together.logits[step], b));
      }
    }
  }
}

TEST_P(InstructBlipVideoTest, TheBaseClassLoadsItsFolder) {
  const Fixture fixture = expected();
  const auto loaded =
      ImageTextToTextModel::from_pretrained(video_folder(GetParam()), {.dtype = DType::Float32});
  EXPECT_EQ(loaded.config().model_type(), "instructblipvideo");
  const BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  expect_equal(loaded.generate(batch, {.max_new_tokens = 10}).sequences,
               fixture["generate.text.greedy"]);
}

// The checkpoint without video_token_index, compared with transformers 4.49.0
// (tests/reference/legacy_instructblip.py).
TEST_P(InstructBlipVideoTest, LegacyFoldersEqualTransformers4) {
  std::ifstream file(video_folder(GetParam()) / "config.json");
  std::string config(std::istreambuf_iterator<char>(file), {});
  const std::size_t line = config.find(",\n  \"video_token_index\": 99");
  config.erase(line, config.find_first_of(",\n", line + 3) - line);
  const TemporaryFolder folder;
  folder.write("config.json", config);
  std::filesystem::copy_file(video_folder(GetParam()) / "model.safetensors",
                             folder.path() / "model.safetensors");
  const LogCapture log;
  const auto legacy = InstructBlipVideoForConditionalGeneration::from_pretrained(
      folder.path(), {.dtype = DType::Float32});
  EXPECT_TRUE(log.contains("Add \"video_token_index\""));

  const Fixture fixture("instructblipvideo_legacy");
  const std::string kind = GetParam();
  ForwardCase call(fixture, kind + ".");
  const auto labelled = legacy.forward(call.inputs);
  expect_close(labelled.logits, without_padding(fixture[kind + ".labelled_logits"], mask_of(call)));
  EXPECT_NEAR(labelled.loss.value(), fixture[kind + ".loss"].data<float>()[0], 1e-4);
  const auto expect_answers = [&](const GenerationConfig& options, const std::string& name) {
    SCOPED_TRACE(name);
    expect_equal(legacy.generate(call.features(), options).sequences, fixture[kind + "." + name]);
  };
  expect_answers({.max_new_tokens = 6}, "greedy");
  expect_answers({.max_new_tokens = 6, .num_beams = 5}, "beams");
  expect_answers({.max_length = 24}, "max_length");
  if (!decoder_only()) return;
  BatchFeature video = call.features();
  video.input_ids = video.attention_mask = Tensor();
  expect_equal(legacy.generate(video, {.max_length = 10}).sequences,
               fixture[kind + ".without_text"]);
}

TEST(InstructBlipVideo, ShapesThatDoNotMatchAreRejected) {
  const Fixture fixture("instructblipvideo/opt/expected");
  const auto model =
      InstructBlipVideoForConditionalGeneration::from_pretrained(video_folder("opt"));
  const auto expect_fault = [&](const auto& change, std::string_view text) {
    BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
    change(batch);
    expect_error<InputError>([&] { model.generate(batch); }, {text});
  };
  const Tensor eleven(DType::Float32, {11, 3, 12, 12}), none(DType::Float32, {3, 0, 3, 12, 12});
  const Tensor three_frames(DType::Float32, {3, 3, 3, 12, 12}), flat(DType::Float32, {3, 12, 12});
  expect_fault([&](auto& in) { in.pixel_values = eleven; }, "11 images and 3 texts");
  expect_fault([&](auto& in) { in.pixel_values = none; }, "no image given");
  expect_fault([&](auto& in) { in.pixel_values = flat; }, "pixel_values has type");
  expect_fault([&](auto& in) { in.pixel_values = three_frames; },
               "16 image placeholders (id 99), expected 12 for 3 image(s)");
  expect_fault([&](auto& in) { in.qformer_input_ids = Tensor(); }, "no text given");
  expect_fault(
      [&](auto& in) {
        in.qformer_attention_mask = Tensor(DType::Int64, {3, 2});
      },
      "qformer_attention_mask");
}

}  // namespace
}  // namespace instructblip::testing
