// Compares the whole model's generate with the reference's ids, and tests VisionFeatures.
#include <thread>

#include "instructblip/models/modeling_instructblip.h"
#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

class InstructBlipGenerate : public KindTest {};

INSTANTIATE_TEST_SUITE_P(Kinds, InstructBlipGenerate,
                         ::testing::Values("opt", "llama", "t5", "t5_relu"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(InstructBlipGenerate, GreedyIdsAndLogitsEqualTheReference) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const GenerateOutput output =
      model().generate(call.features(), {.max_new_tokens = 8, .output_logits = true});
  expect_equal(output.sequences, fixture["generate.greedy"]);
  ASSERT_FALSE(output.logits.empty());
  expect_close(output.logits.back(), fixture["generate.greedy.last_logits"]);
}

TEST_P(InstructBlipGenerate, PromptsWithSeveralImagesEqualTheReference) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "pairs.");
  BatchFeature features = call.features();
  const GenerateOutput output =
      model().generate(features, {.max_new_tokens = 8, .output_logits = true});
  expect_equal(output.sequences, fixture["pairs.greedy"]);
  expect_close(output.logits.back(), fixture["pairs.last_logits"]);

  const VisionFeatures encoded = model().encode_image(features.pixel_values);
  features.pixel_values = Tensor();
  expect_equal(model().generate(features, {.max_new_tokens = 8}, encoded).sequences,
               fixture["pairs.greedy"]);
}

TEST_P(InstructBlipGenerate, EncoderStatesAreInTheColumnsOfThePaddedPrompt) {
  if (decoder_only()) return;
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const GenerateOutput output = model().generate(
      call.features(),
      {.max_new_tokens = 1, .output_attentions = true, .output_hidden_states = true});
  const TensorView mask = call.inputs.attention_mask;
  const auto expect_list = [&](const std::vector<Tensor>& found, const std::string& name) {
    const std::string prefix = "forward.left.language_model." + name + ".";
    ASSERT_FALSE(found.empty());
    for (std::size_t i = 0; i < found.size(); ++i) {
      expect_close(found[i], without_padding(fixture[prefix + std::to_string(i)], mask));
    }
    EXPECT_FALSE(fixture.has(prefix + std::to_string(found.size())));
  };
  expect_list(output.encoder_hidden_states, "encoder_hidden_states");
  expect_list(output.encoder_attentions, "encoder_attentions");
}

TEST_P(InstructBlipGenerate, MoreThanOneImageSourceIsRejected) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const BatchFeature features = call.features();
  InstructBlipInputs inputs = InstructBlipInputs::from(features);
  const VisionFeatures encoded = model().encode_image(features.pixel_values);
  inputs.vision_features = &encoded;
  expect_error<InputError>([&] { model().generate(inputs, {.max_new_tokens = 2}); },
                           {"the image is given 2 times", "pixel_values", "vision_features"});
}

TEST_P(InstructBlipGenerate, BeamIdsAndScoresEqualTheReference) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const GenerateOutput output = model().generate(call.features(), {.max_new_tokens = 6,
                                                                   .num_beams = 3,
                                                                   .repetition_penalty = 1.3,
                                                                   .length_penalty = 0.7,
                                                                   .output_scores = true});
  expect_equal(output.sequences, fixture["generate.beams"]);
  expect_close(output.sequences_scores, fixture["generate.beams.sequences_scores"]);
}

BatchFeature first_sample(const ForwardCase& call) {
  BatchFeature one;
  const auto take = [&](const char* name) {
    return Tensor::copy_of(sample(call.tensors.at(name), 0));
  };
  one.pixel_values = take("pixel_values");
  one.qformer_input_ids = take("qformer_input_ids");
  one.qformer_attention_mask = take("qformer_attention_mask");
  one.input_ids = take("input_ids");
  one.attention_mask = take("attention_mask");
  return one;
}

TEST_P(InstructBlipGenerate, DefaultsEqualTheReference) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  expect_equal(model().generate(first_sample(call)).sequences, fixture["generate.default"]);
}

TEST_P(InstructBlipGenerate, WithoutTextThePromptIsPlaceholdersAndBos) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  BatchFeature one = first_sample(call);
  one.input_ids = one.attention_mask = Tensor();
  if (!decoder_only()) return;
  expect_equal(model().generate(one, {.max_new_tokens = 4}).sequences,
               fixture["generate.without_text"]);
}

TEST_P(InstructBlipGenerate, EmbeddingsWithoutIdsReturnOnlyNewIds) {
  if (!decoder_only()) return;
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  const Tensor ids = call.tensors.at("input_ids");
  const Tensor embeds = model()
                            .language_model()
                            .embed_tokens(ids.span<std::int64_t>())
                            .to_tensor()
                            .reshaped({ids.dim(0), ids.dim(1), -1});
  call.inputs.input_ids = {};
  call.inputs.labels = {};
  call.inputs.inputs_embeds = embeds;
  expect_equal(model().generate(call.inputs, {.max_new_tokens = 8}).sequences,
               fixture["generate.embeds"]);
}

TEST_P(InstructBlipGenerate, ASampleGivesTheSameBitsAloneWithoutPadding) {
  const Fixture fixture = expected();
  // Each model is padded on its usual side: T5 counts padding in the middle as distance.
  const ForwardCase call(fixture, decoder_only() ? "forward.left." : "forward.right.");
  const GenerationConfig config{.max_new_tokens = 5, .output_logits = true};
  InstructBlipInputs all = call.inputs;
  all.labels = all.decoder_input_ids = all.decoder_attention_mask = {};
  const GenerateOutput together = model().generate(all, config);
  const Tensor& ids = call.tensors.at("input_ids");
  const Tensor& mask = call.tensors.at("attention_mask");
  for (Index b = 0; b < 3; ++b) {
    InstructBlipInputs alone;
    alone.pixel_values = sample(call.tensors.at("pixel_values"), b);
    alone.qformer_input_ids = sample(call.tensors.at("qformer_input_ids"), b);
    alone.qformer_attention_mask = sample(call.tensors.at("qformer_attention_mask"), b);
    std::vector<std::int64_t> row;
    for (Index i = 0; i < ids.dim(1); ++i) {
      if (mask.at<std::int64_t>({b, i}) != 0) row.push_back(ids.at<std::int64_t>({b, i}));
    }
    const Tensor prompt(row, {1, static_cast<Index>(row.size())});
    alone.input_ids = prompt;
    const GenerateOutput output = model().generate(alone, config);
    const auto found = together.new_tokens()[static_cast<std::size_t>(b)];
    EXPECT_EQ(output.new_tokens()[0], found);
    for (std::size_t step = 0; step < found.size(); ++step) {
      expect_equal(output.logits[step], sample(together.logits[step], b));
    }
  }
}

TEST_P(InstructBlipGenerate, RightPaddedRowsEqualTheReferenceWithoutPadding) {
  const Fixture fixture(std::string("instructblip/") + GetParam() + "/right_padding");
  const BatchFeature batch = ForwardCase(fixture, "").features();
  GenerateOutput output =
      model().generate(batch, {.max_new_tokens = 8, .min_new_tokens = 4, .output_logits = true});
  EXPECT_EQ(output.new_tokens(), fixture.lists("greedy"));
  expect_close(output.logits.front(), fixture["first_logits"]);
  output = model().generate(batch, {.max_new_tokens = 6,
                                    .min_new_tokens = 4,
                                    .num_beams = 3,
                                    .repetition_penalty = 1.3,
                                    .length_penalty = 0.7,
                                    .output_scores = true});
  EXPECT_EQ(output.new_tokens(), fixture.lists("beams"));
  expect_close(output.sequences_scores, fixture["beams.sequences_scores"]);
}

TEST_P(InstructBlipGenerate, ImagesOfAnotherSizeEqualTheReference) {
  const Fixture fixture(std::string("instructblip/") + GetParam() + "/picture_size");
  const ForwardCase call(fixture, "");
  InstructBlipInputs inputs = call.inputs;
  inputs.labels = {};
  inputs.interpolate_pos_encoding = true;
  const GenerationConfig config{.max_new_tokens = 8, .min_new_tokens = 4, .output_logits = true};
  const GenerateOutput output = model().generate(inputs, config);
  expect_equal(output.sequences, fixture["sequences"]);
  expect_close(output.logits.back(), fixture["last_logits"]);

  BatchFeature text = call.features();
  const VisionFeatures encoded = model().encode_image(text.pixel_values, true);
  expect_close(encoded.last_hidden_state, fixture["features.last_hidden_state"]);
  text.pixel_values = Tensor();
  expect_equal(model().generate(text, config, encoded).sequences, fixture["sequences"]);
}

TEST_P(InstructBlipGenerate, EncodedImagesGiveTheSameAnswersAsPixels) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  BatchFeature batch = call.features();
  const GenerationConfig config{.max_new_tokens = 8};
  const Tensor sequences = model().generate(batch, config).sequences;
  const VisionFeatures features = model().encode_image(batch.pixel_values);
  batch.pixel_values = Tensor();
  expect_equal(model().generate(batch, config, features).sequences, sequences);

  const TemporaryFolder folder;
  features.save(folder.path() / "features.safetensors");
  const VisionFeatures reloaded = VisionFeatures::load(folder.path() / "features.safetensors");
  EXPECT_EQ(reloaded.images(), 3);
  expect_equal(reloaded.last_hidden_state, features.last_hidden_state);
  expect_equal(model().generate(batch, config, reloaded).sequences, sequences);
}

TEST_P(InstructBlipGenerate, OneEncodedImageServesAllRows) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  BatchFeature batch = call.features();
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

TEST_P(InstructBlipGenerate, DraftsGiveTheReferencesIds) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const BatchFeature features = call.features();
  const GenerateOutput looked_up =
      model().generate(features, {.max_new_tokens = 8, .prompt_lookup_num_tokens = 4});
  expect_equal(looked_up.sequences, fixture["generate.greedy"]);

  const EmbeddedBatch prompt = model().embed_prompt(InstructBlipInputs::from(features));
  const GenerateOutput assisted = model().generate(
      features, {.max_new_tokens = 8, .assistant_confidence_threshold = 0.0},
      {.assistant_model = &model().language_model(), .assistant_prompt = &prompt});
  expect_equal(assisted.sequences, fixture["generate.greedy"]);
  EXPECT_EQ(assisted.timings.accepted_ids, assisted.timings.drafted_ids);
  EXPECT_GT(assisted.timings.accepted_ids, 0);
}

TEST_P(InstructBlipGenerate, SeveralThreadsCanShareAModel) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const BatchFeature batch = call.features();
  const auto& shared = model();
  std::vector<Tensor> found(3);
  std::vector<std::thread> threads;
  for (Tensor& result : found) {
    threads.emplace_back([&] { result = shared.generate(batch, {.max_new_tokens = 8}).sequences; });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& result : found) expect_equal(result, fixture["generate.greedy"]);
}

TEST(InstructBlipGenerateErrors, PlaceholdersAreCountedPerRow) {
  const Fixture fixture("instructblip/opt/expected");
  BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  batch.input_ids.at<std::int64_t>({2, 3}) = 5;
  expect_error<InputError>([&] { model_of("opt").generate(batch); },
                           {"row 2", "3 image placeholders", "expected 4"});
}

TEST(InstructBlipGenerateErrors, APromptThatWasMadeWithoutItsImageSaysWhatToDo) {
  const Fixture fixture("instructblip/opt/expected");
  BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  for (std::int64_t& id : batch.input_ids.span<std::int64_t>()) id = 5;
  expect_error<InputError>([&] { model_of("opt").generate(batch); },
                           {"prompt 0 has no place for its image", "num_images = 1"});
}

TEST(InstructBlipGenerateErrors, MissingInputsAreNamed) {
  const Fixture fixture("instructblip/t5/expected");
  const BatchFeature batch = ForwardCase(fixture, "forward.left.").features();
  BatchFeature changed = batch;
  changed.pixel_values = Tensor();
  expect_error<InputError>([&] { model_of("t5").generate(changed); },
                           {"no image given", "pixel_values"});
  changed = batch;
  changed.qformer_input_ids = Tensor();
  expect_error<InputError>([&] { model_of("t5").generate(changed); },
                           {"no text given", "qformer_input_ids"});
  const VisionFeatures two(Tensor(DType::Float32, {2, 17, 16}));
  expect_error<InputError>([&] { model_of("t5").generate(batch, {}, two); }, {"image"});
  expect_error<InputError>([&] { model_of("t5").generate(batch, {}, VisionFeatures(Tensor())); },
                           {"image"});
}

TEST(VisionFeatures, AFileWithoutVisionFeaturesIsRejected) {
  const TemporaryFolder folder;
  save_safetensors(folder.path() / "other.safetensors",
                   {{"x", Tensor(DType::Float32, {2, 2}).view()}});
  expect_error<CheckpointError>([&] { VisionFeatures::load(folder.path() / "other.safetensors"); },
                                {"other.safetensors", "last_hidden_state"});
  expect_error<CheckpointError>([&] { VisionFeatures::load(folder.path() / "none.safetensors"); },
                                {"none.safetensors"});
}

}  // namespace
}  // namespace instructblip::testing
