// Compares BLIP-2 and its parts with the reference (tests/reference/blip_2.py).
#include "instructblip/models/modeling_blip_2.h"

#include "instructblip/models/modeling_blip_2_qformer.h"
#include "instructblip/models/modeling_blip_2_vision.h"
#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

std::filesystem::path blip_2_folder(std::string_view kind) {
  return fixtures_folder() / "blip_2" / kind;
}

/// A test with the name of a checkpoint's folder as parameter. Each is loaded once, from files in
/// float32 (opt), bfloat16 (t5) and float16 (llama).
class Blip2Test : public ::testing::TestWithParam<const char*> {
 protected:
  const Blip2ForConditionalGeneration& model() const {
    return loaded_once<Blip2ForConditionalGeneration>(blip_2_folder(GetParam()));
  }
  Fixture expected() const { return Fixture(std::string("blip_2/") + GetParam() + "/expected"); }
  bool decoder_only() const { return model().config().use_decoder_only_language_model(); }
  /// Positions that this library does not compute are zeros.
  TensorView mask_of(const ForwardCase& call) const {
    return decoder_only() ? call.inputs.attention_mask : TensorView{};
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, Blip2Test, ::testing::Values("opt", "t5", "llama"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Blip2Test, LogitsAndLossEqualTheReference) {
  const Fixture fixture = expected();
  for (const char* name : {"left", "right", "two_images", "size"}) {
    SCOPED_TRACE(name);
    const std::string prefix = std::string("forward.") + name + ".";
    ForwardCase call(fixture, prefix);
    call.inputs.interpolate_pos_encoding = name == std::string_view("size");
    const auto output = model().forward(call.inputs);
    expect_close(output.logits, without_padding(fixture[prefix + "logits"], mask_of(call)));
    ASSERT_EQ(output.loss.has_value(), fixture.has(prefix + "loss"));
    if (!output.loss) continue;
    const float loss = fixture[prefix + "loss"].data<float>()[0];
    EXPECT_NEAR(*output.loss, loss, 1e-5 * loss);
  }
}

TEST_P(Blip2Test, GetImageFeaturesReturnsTheProjectedQueriesAndAllStates) {
  const Fixture fixture = expected();
  const Tensor pixels = fixture["forward.left.pixel_values"];
  const auto expect_features = [&](const BaseModelOutputWithVisionQformerOutputs& output) {
    expect_close(output.pooler_output, fixture["features.pooler_output"]);
    expect_close(output.vision_outputs.last_hidden_state, fixture["features.last_hidden_state"]);
    expect_close(output.qformer_outputs.last_hidden_state,
                 fixture["features.qformer_outputs.last_hidden_state"]);
  };
  const auto output = model().get_image_features(pixels);
  expect_features(output);
  expect_close(output.vision_outputs.pooler_output,
               fixture["features.vision_outputs.pooler_output"]);
  expect_features(model().get_image_features(model().encode_image(pixels)));
  const BatchFeature no_text;
  expect_features(model().get_image_features(
      model().encode_image(pixels), no_text.qformer_input_ids, no_text.qformer_attention_mask));
}

TEST_P(Blip2Test, TheModelsPartsEqualTheReference) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  call.inputs.labels = {};
  Tensor decoder_ids;
  if (!decoder_only()) {
    decoder_ids = fixture["base.decoder_input_ids"];
    call.inputs.decoder_input_ids = decoder_ids;
  }
  call.inputs.output_hidden_states = call.inputs.output_attentions = true;
  const LogCapture log;
  const auto base =
      Blip2Model::from_pretrained(blip_2_folder(GetParam()), {.dtype = DType::Float32});
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  const auto output = base.forward(call.inputs);
  expect_close(output.logits, without_padding(fixture["base.logits"], mask_of(call)));
  expect_list(fixture, output.vision_outputs.hidden_states, "base.vision_outputs.hidden_states");
  expect_list(fixture, output.vision_outputs.attentions, "base.vision_outputs.attentions");
  expect_list(fixture, output.qformer_outputs.hidden_states, "base.qformer_outputs.hidden_states");
  expect_list(fixture, output.qformer_outputs.cross_attentions,
              "base.qformer_outputs.cross_attentions");

  const Tensor ids = fixture["text.input_ids"], mask = fixture["text.attention_mask"];
  const auto text = base.get_text_features(ids, mask, {.hidden_states = true, .attentions = true});
  expect_close(text.last_hidden_state, without_padding(fixture["text.last_hidden_state"], mask));
  expect_list(fixture, text.hidden_states, "text.hidden_states", mask);
  expect_list(fixture, text.attentions, "text.attentions", mask);
  expect_close(base.get_image_features(call.inputs.pixel_values).last_hidden_state,
               fixture["features.last_hidden_state"]);
  expect_close(base.get_qformer_features(call.inputs.pixel_values),
               fixture["features.qformer_outputs.last_hidden_state"]);
}

TEST_P(Blip2Test, AnswersAndCaptionsEqualTheReference) {
  const Fixture fixture = expected();
  for (const std::string name : {"text", "image"}) {
    SCOPED_TRACE(name);
    BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
    if (name == "image") batch.input_ids = batch.attention_mask = Tensor();
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

BatchFeature row_of(const Fixture& fixture, Index b, bool padded) {
  const ForwardCase call(fixture, "forward.left.");
  const Tensor& ids = call.tensors.at("input_ids");
  const Tensor& mask = call.tensors.at("attention_mask");
  BatchFeature one;
  one.pixel_values = Tensor::copy_of(sample(call.tensors.at("pixel_values"), b));
  std::vector<std::int64_t> row;
  for (Index i = 0; i < ids.dim(1); ++i) {
    if (padded || mask.at<std::int64_t>({b, i}) != 0) row.push_back(ids.at<std::int64_t>({b, i}));
  }
  one.input_ids = Tensor(row, {1, static_cast<Index>(row.size())});
  return one;
}

TEST_P(Blip2Test, DefaultsEqualTheReferenceAndEndAtTheIdOfTheConfiguration) {
  const Fixture fixture = expected();
  const GenerateOutput output = model().generate(row_of(fixture, 0, true));
  expect_equal(output.sequences, fixture["generate.default"]);
  if (GetParam() == std::string("opt")) {
    EXPECT_EQ(output.new_tokens()[0].back(), 50);
    EXPECT_LT(output.new_tokens()[0].size(), 20u);
  }
}

TEST_P(Blip2Test, ASampleGivesTheSameBitsAloneWithoutPadding) {
  if (!decoder_only()) return;  // T5 counts padding in the middle as distance
  const Fixture fixture = expected();
  const BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  const GenerationConfig config{.max_new_tokens = 5, .output_logits = true};
  const GenerateOutput together = model().generate(batch, config);
  for (Index b = 0; b < 3; ++b) {
    const GenerateOutput output = model().generate(row_of(fixture, b, false), config);
    const auto found = together.new_tokens()[static_cast<std::size_t>(b)];
    EXPECT_EQ(output.new_tokens()[0], found);
    for (std::size_t step = 0; step < found.size(); ++step) {
      expect_equal(output.logits[step], sample(together.logits[step], b));
    }
  }
}

TEST_P(Blip2Test, CaptionsGiveTheSameBitsAloneAndInABatch) {
  const Fixture fixture = expected();
  const Tensor pixels = fixture["forward.left.pixel_values"];
  const GenerationConfig config{.max_new_tokens = 5, .output_logits = true};
  const GenerateOutput together = model().generate({.pixel_values = pixels}, config);
  for (Index b = 0; b < 3; ++b) {
    const GenerateOutput output = model().generate({.pixel_values = sample(pixels, b)}, config);
    const auto found = together.new_tokens()[static_cast<std::size_t>(b)];
    EXPECT_EQ(output.new_tokens()[0], found);
    for (std::size_t step = 0; step < found.size(); ++step) {
      expect_equal(output.logits[step], sample(together.logits[step], b));
    }
  }
}

TEST_P(Blip2Test, OneEncodedImageServesAllPromptsOfABatch) {
  const Fixture fixture = expected();
  BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  const Tensor pixels = Tensor::copy_of(sample(batch.pixel_values, 0));
  for (Index b = 1; b < 3; ++b) {
    std::copy_n(pixels.data<float>(), pixels.size(),
                batch.pixel_values.data<float>() + b * pixels.size());
  }
  const Tensor sequences = model().generate(batch, {.max_new_tokens = 6}).sequences;
  const VisionFeatures features = model().encode_image(pixels);
  batch.pixel_values = Tensor();
  expect_equal(model().generate(batch, {.max_new_tokens = 6}, features).sequences, sequences);
}

TEST_P(Blip2Test, TheBaseClassLoadsItsFolder) {
  const Fixture fixture = expected();
  const auto loaded =
      ImageTextToTextModel::from_pretrained(blip_2_folder(GetParam()), {.dtype = DType::Float32});
  EXPECT_EQ(loaded.config().model_type(), "blip-2");
  const BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  expect_equal(loaded.generate(batch, {.max_new_tokens = 10}).sequences,
               fixture["generate.text.greedy"]);
}

// The checkpoint without image_token_index, compared with transformers 4.49.0
// (tests/reference/legacy_instructblip.py).
TEST_P(Blip2Test, LegacyFoldersEqualTransformers4) {
  std::ifstream file(blip_2_folder(GetParam()) / "config.json");
  std::string config(std::istreambuf_iterator<char>(file), {});
  const std::string line = "\"image_token_index\": 99,";
  config.erase(config.find(line), line.size());
  const TemporaryFolder folder;
  folder.write("config.json", config);
  std::filesystem::copy_file(blip_2_folder(GetParam()) / "model.safetensors",
                             folder.path() / "model.safetensors");
  const LogCapture log;
  const auto legacy =
      Blip2ForConditionalGeneration::from_pretrained(folder.path(), {.dtype = DType::Float32});
  EXPECT_TRUE(log.contains("Add \"image_token_index\""));

  const Fixture fixture("blip_2_legacy");
  const std::string kind = GetParam();
  ForwardCase call(fixture, kind + ".");
  const auto labelled = legacy.forward(call.inputs);
  expect_close(labelled.logits, without_padding(fixture[kind + ".labelled_logits"], mask_of(call)));
  EXPECT_NEAR(labelled.loss.value(), fixture[kind + ".loss"].data<float>()[0], 1e-4);

  const std::int64_t id = fixture[kind + ".end"].data<std::int64_t>()[0];
  const Index prompt = decoder_only() ? call.inputs.input_ids.dim(1) : 1;
  const auto expect_answers = [&](const GenerationConfig& options, const std::string& name) {
    SCOPED_TRACE(name);
    expect_equal(legacy.generate(call.features(), options).sequences, fixture[kind + "." + name]);
  };
  expect_answers({.max_new_tokens = 6}, "greedy");
  expect_answers({.max_new_tokens = 6, .num_beams = 5}, "beams");
  expect_answers({.max_length = 24}, "max_length");
  expect_answers({.max_length = 30, .eos_token_id = id}, "ends");
  expect_answers({.max_length = 30, .min_length = 2 * prompt + 5, .eos_token_id = id},
                 "min_length");
  expect_answers({.max_new_tokens = 10, .min_new_tokens = 5, .eos_token_id = id}, "min_new_tokens");
  if (!decoder_only()) return;
  expect_equal(
      legacy.generate({.pixel_values = call.inputs.pixel_values}, {.max_length = 10}).sequences,
      fixture[kind + ".without_text"]);
}

TEST(Blip2, TextForTheQFormerIsRejected) {
  const Fixture fixture("blip_2/opt/expected");
  const auto model = Blip2ForConditionalGeneration::from_pretrained(blip_2_folder("opt"));
  BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  batch.qformer_input_ids = Tensor(DType::Int64, {3, 2});
  expect_error<InputError>([&] { model.generate(batch); }, {"qformer_input_ids", "Blip2Processor"});
}

TEST(Blip2, TheOldSpellingOfUseQFormerTextInputIsRead) {
  std::ifstream file(blip_2_folder("llama") / "config.json");
  std::string config(std::istreambuf_iterator<char>(file), {});
  const std::string key = "\"use_qformer_text_input\"";
  config.replace(config.find(key), key.size(), "\"qformer_text_input\"");
  const TemporaryFolder folder;
  folder.write("config.json", config);
  std::filesystem::copy_file(blip_2_folder("llama") / "model.safetensors",
                             folder.path() / "model.safetensors");
  const LogCapture log;
  const auto model = Blip2ForConditionalGeneration::from_pretrained(folder.path());
  EXPECT_TRUE(model.config().qformer_config.use_qformer_text_input);
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
}

TEST(Blip2VisionModelTest, LoadsFromItsOwnFolder) {
  const LogCapture log;
  const Fixture fixture("blip_2/vision/expected");
  const auto model = Blip2VisionModel::from_pretrained(blip_2_folder("vision"));
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  const auto output = model.forward(fixture["pixel_values"]);
  expect_close(output.last_hidden_state, fixture["last_hidden_state"]);
  expect_close(output.pooler_output, fixture["pooler_output"]);
  EXPECT_EQ(model.config().model_type(), "blip_2_vision_model");
}

class Blip2QFormerTest : public ::testing::Test {
 protected:
  using Inputs = Blip2QFormerInputs;
  struct Case : FixtureCase<Inputs> {
    Case(const Fixture& fixture, const std::string& name)
        : FixtureCase(fixture, name + ".",
                      {{"query_embeds", &Inputs::query_embeds},
                       {"attention_mask", &Inputs::attention_mask},
                       {"encoder_hidden_states", &Inputs::encoder_hidden_states},
                       {"encoder_attention_mask", &Inputs::encoder_attention_mask}}) {
      if (fixture.has(name + ".query_length")) {
        inputs.query_length = fixture[name + ".query_length"].data<std::int64_t>()[0];
      }
      inputs.output_hidden_states = inputs.output_attentions = true;
    }
    /// 1 where a position is computed: queries and unmasked text.
    TensorView computed() {
      if (!inputs.attention_mask.has_value()) return {};
      mask = Tensor::copy_of(inputs.attention_mask);
      for (Index b = 0; b < mask.dim(0); ++b) {
        for (Index i = 0; i < inputs.query_length.value_or(mask.dim(1)); ++i) {
          mask.at<std::int64_t>({b, i}) = 1;
        }
      }
      return mask;
    }
    Tensor mask;
  };

  const Fixture fixture_{"blip_2/qformer/expected"};
  const Blip2QFormerModel model_ = Blip2QFormerModel::from_pretrained(blip_2_folder("qformer"));
};

TEST_F(Blip2QFormerTest, StatesEqualTheReferenceWithEveryCombinationOfArguments) {
  for (const std::string name :
       {"queries", "both", "right", "left", "query_mask", "image_mask", "text"}) {
    SCOPED_TRACE(name);
    Case call(fixture_, name);
    const auto output = model_.forward(call.inputs);
    const TensorView computed = call.computed();
    const auto expect = [&](const Tensor& found, const std::string& what) {
      expect_close(found, without_padding(fixture_[name + "." + what], computed));
    };
    expect(output.last_hidden_state, "last_hidden_state");
    ASSERT_EQ(output.hidden_states.size(), 4u);
    for (std::size_t i = 0; i < 4; ++i) {
      expect(output.hidden_states[i], "hidden_states." + std::to_string(i));
    }
    EXPECT_EQ(output.cross_attentions.size(), call.inputs.query_length == 0 ? 0u : 2u);
    for (std::size_t i = 0; i < output.cross_attentions.size(); ++i) {
      expect_close(output.cross_attentions[i],
                   fixture_[name + ".cross_attentions." + std::to_string(i)]);
    }
  }
}

TEST_F(Blip2QFormerTest, ASampleGivesTheSameBitsAloneAndWithoutPadding) {
  const Case call(fixture_, "right");
  const Tensor together = model_.forward(call.inputs).last_hidden_state;
  const Index lengths[] = {9, 7, 5};
  for (Index b = 0; b < 3; ++b) {
    Blip2QFormerInputs alone;
    alone.query_embeds = sample(call.tensors.at("query_embeds"), b);
    alone.query_embeds.shape[1] = lengths[b];
    alone.query_length = 4;
    alone.encoder_hidden_states = sample(call.tensors.at("encoder_hidden_states"), b);
    const Tensor states = model_.forward(alone).last_hidden_state;
    TensorView row = sample(together, b);
    row.shape[1] = lengths[b];
    expect_equal(states, row);
  }
}

TEST_F(Blip2QFormerTest, RejectsArgumentsThatDoNotMatch) {
  const auto expect_fault = [&](const auto& change, std::string_view text) {
    Case call(fixture_, "both");
    change(call.inputs);
    expect_error<InputError>([&] { model_.forward(call.inputs); }, {text});
  };
  expect_fault([](auto& in) { in.query_embeds = {}; }, "query_embeds has type");
  expect_fault([](auto& in) { in.query_length = 10; }, "query_length is 10, expected 0 to 9");
  expect_fault([](auto& in) { in.query_length = -1; }, "query_length is -1");
  expect_fault([](auto& in) { in.encoder_hidden_states = {}; },
               "encoder_hidden_states is required when there are queries");
  const Tensor width(DType::Float32, {3, 6, 12}), two(DType::Float32, {2, 6, 13});
  expect_fault([&](auto& in) { in.encoder_hidden_states = width; }, "[3, positions, 13]");
  expect_fault([&](auto& in) { in.encoder_hidden_states = two; }, "[3, positions, 13]");
  const Tensor mask(DType::Int64, {3, 4});
  expect_fault([&](auto& in) { in.attention_mask = mask; },
               "attention_mask has the shape [3, 4], expected [3, 9]");

  const auto without_text = Blip2QFormerModel::from_pretrained(blip_2_folder("opt"));
  const Tensor embeds(DType::Float32, {1, 5, 16});
  expect_error<InputError>(
      [&] { without_text.forward({.query_embeds = embeds, .query_length = 0}); },
      {"5 positions of text", "use_qformer_text_input"});
}

}  // namespace
}  // namespace instructblip::testing
