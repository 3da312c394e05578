// Compares BLIP-2's retrieval models with the reference (tests/reference/blip_2_retrieval.py).
#include "instructblip/models/modeling_blip_2_retrieval.h"

#include <cmath>
#include <numeric>

#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

using Inputs = Blip2ImageTextMatchingInputs;

std::filesystem::path retrieval_folder(std::string_view kind) {
  return fixtures_folder() / "blip_2_retrieval" / kind;
}

struct RetrievalCase : FixtureCase<Inputs> {
  RetrievalCase(const Fixture& fixture, const std::string& name)
      : FixtureCase(fixture, name + ".",
                    {{"pixel_values", &Inputs::pixel_values},
                     {"input_ids", &Inputs::input_ids},
                     {"attention_mask", &Inputs::attention_mask}}) {}
};

/// A test with the name of a checkpoint's folder as parameter. Each is loaded once, from files in
/// float32 (contrast), bfloat16 and float16.
class Blip2RetrievalTest : public ::testing::TestWithParam<const char*> {
 protected:
  const Blip2ForImageTextRetrieval& model() const {
    const LogCapture log;
    const auto& loaded = loaded_once<Blip2ForImageTextRetrieval>(retrieval_folder(GetParam()));
    EXPECT_TRUE(log.messages().empty()) << log.messages().front();
    return loaded;
  }
  const Fixture fixture_{std::string("blip_2_retrieval/") + GetParam() + "/expected"};
};

INSTANTIATE_TEST_SUITE_P(Kinds, Blip2RetrievalTest,
                         ::testing::Values("contrast", "bfloat16", "float16"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Blip2RetrievalTest, ContrastEqualsTheReference) {
  for (const std::string name : {"contrast", "one_image"}) {
    SCOPED_TRACE(name);
    const RetrievalCase call(fixture_, name);
    const auto output = model().forward(call.inputs);
    for (const auto& [found, key] : {std::pair(&output.logits_per_image, "logits_per_image"),
                                     {&output.logits_per_text, "logits_per_text"},
                                     {&output.text_embeds, "text_embeds"},
                                     {&output.image_embeds, "image_embeds"}}) {
      SCOPED_TRACE(key);
      expect_close(*found, fixture_[name + "." + key]);
    }
  }
}

TEST_P(Blip2RetrievalTest, MatchingEqualsTheReference) {
  RetrievalCase call(fixture_, "matching");
  call.inputs.use_image_text_matching_head = true;
  call.inputs.output_hidden_states = call.inputs.output_attentions = true;
  const auto output = model().forward(call.inputs);
  expect_close(output.logits_per_image, fixture_["matching.logits_per_image"]);
  expect_close(output.logits_per_text, fixture_["matching.logits_per_text"]);
  expect_close(output.image_embeds, fixture_["matching.image_embeds"]);
  const Index queries = model().config().num_query_tokens;
  expect_close(Tensor::copy_of(output.text_embeds.narrow(1, 0, queries)),
               Tensor::copy_of(fixture_["matching.text_embeds"].narrow(1, 0, queries)));
  expect_list(fixture_, output.vision_model_output.hidden_states,
              "matching.vision_model_output.hidden_states");
  expect_list(fixture_, output.vision_model_output.attentions,
              "matching.vision_model_output.attentions");
}

TEST_P(Blip2RetrievalTest, TheTextModelEqualsTheReference) {
  const LogCapture log;
  const auto text = Blip2TextModelWithProjection::from_pretrained(retrieval_folder(GetParam()),
                                                                  {.dtype = DType::Float32});
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  const Tensor ids = fixture_["text.input_ids"], mask = fixture_["text.attention_mask"];
  const auto expect_kept = [&](const Tensor& found, const std::string& name) {
    const Tensor wanted = fixture_[name];
    for (Index b = 0; b < mask.dim(0); ++b) {
      for (Index i = 0; i < mask.dim(1); ++i) {
        if (mask.at<std::int64_t>({b, i}) == 0) continue;
        expect_close(Tensor::copy_of(sample(found, b).narrow(1, i, 1)),
                     Tensor::copy_of(sample(wanted, b).narrow(1, i, 1)));
      }
    }
  };
  const auto output = text.forward(ids, mask, {}, {.hidden_states = true, .attentions = true});
  expect_kept(output.text_embeds, "text.text_embeds");
  expect_close(output.last_hidden_state, without_padding(fixture_["text.last_hidden_state"], mask));
  expect_list(fixture_, output.hidden_states, "text.hidden_states", mask);
  expect_kept(text.forward(ids, mask, fixture_["text.position_ids"]).text_embeds, "text.placed");
}

TEST_P(Blip2RetrievalTest, TheVisionModelEqualsTheReference) {
  const LogCapture log;
  const auto vision = Blip2VisionModelWithProjection::from_pretrained(retrieval_folder(GetParam()),
                                                                      {.dtype = DType::Float32});
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  const auto output = vision.forward(fixture_["contrast.pixel_values"],
                                     {.hidden_states = true, .attentions = true});
  expect_close(output.image_embeds, fixture_["vision.image_embeds"]);
  expect_close(output.last_hidden_state, fixture_["vision.last_hidden_state"]);
  expect_list(fixture_, output.hidden_states, "vision.hidden_states");
  expect_list(fixture_, output.attentions, "vision.attentions");
}

TEST_P(Blip2RetrievalTest, APairGivesTheSameBitsAloneAndInABatch) {
  RetrievalCase call(fixture_, "contrast");
  for (const bool matching : {false, true}) {
    call.inputs.use_image_text_matching_head = matching;
    const Tensor together = model().forward(call.inputs).logits_per_image;
    for (Index b = 0; b < 3; ++b) {
      Inputs alone = call.inputs;
      alone.pixel_values = sample(call.tensors.at("pixel_values"), b);
      alone.input_ids = sample(call.tensors.at("input_ids"), b);
      alone.attention_mask = sample(call.tensors.at("attention_mask"), b);
      const Tensor one = model().forward(alone).logits_per_image;
      EXPECT_EQ(one.at<float>({0, 0}), together.at<float>({b, matching ? 0 : b}));
    }
  }
}

TEST_P(Blip2RetrievalTest, OneImageOrOneTextIsComparedWithAllOfTheOther) {
  RetrievalCase call(fixture_, "contrast");
  call.inputs.use_image_text_matching_head = true;
  const VisionFeatures features = model().encode_image(call.inputs.pixel_values);
  Inputs one_text = call.inputs;
  one_text.pixel_values = {};
  one_text.vision_features = &features;
  one_text.input_ids = sample(call.tensors.at("input_ids"), 1);
  one_text.attention_mask = sample(call.tensors.at("attention_mask"), 1);
  Inputs one_image = call.inputs;
  one_image.pixel_values = sample(call.tensors.at("pixel_values"), 1);
  const Tensor together = model().forward(call.inputs).logits_per_image;
  for (const Inputs& inputs : {one_text, one_image}) {
    const Tensor found = model().forward(inputs).logits_per_image;
    ASSERT_EQ(found.shape(), Shape({3, 2}));
    expect_equal(Tensor::copy_of(sample(found, 1)), sample(together, 1));
  }
}

TEST_P(Blip2RetrievalTest, EmbeddingsAreThoseOfContrast) {
  const RetrievalCase call(fixture_, "contrast");
  const auto output = model().forward(call.inputs);
  const Tensor images = model().embed_image(model().encode_image(call.inputs.pixel_values));
  const Tensor texts = model().embed_text(call.inputs.input_ids, call.inputs.attention_mask);
  expect_equal(images, output.image_embeds);
  expect_equal(texts, output.text_embeds);
  expect_equal(Blip2ForImageTextRetrieval::similarity(images, texts), output.logits_per_image);
}

TEST(Blip2Retrieval, TheOrderOfManyImagesEqualsTheReference) {
  const Fixture fixture("blip_2_retrieval/contrast/expected");
  const RetrievalCase call(fixture, "many");
  const auto model = Blip2ForImageTextRetrieval::from_pretrained(retrieval_folder("contrast"));
  const Tensor found = model.forward(call.inputs).logits_per_image;
  const Tensor wanted = fixture["many.logits_per_image"];
  ASSERT_EQ(found.shape(), Shape({200, 20}));
  const auto order = [](const Tensor& scores, Index text) {
    std::vector<Index> images(200);
    std::iota(images.begin(), images.end(), Index{0});
    std::sort(images.begin(), images.end(), [&](Index a, Index b) {
      return scores.at<float>({a, text}) > scores.at<float>({b, text});
    });
    return images;
  };
  for (Index text = 0; text < 20; ++text) EXPECT_EQ(order(found, text), order(wanted, text));
}

TEST(Blip2Retrieval, TextWithoutPlaceholdersIsTakenWhole) {
  const Fixture fixture("blip_2_retrieval/contrast/expected");
  const RetrievalCase call(fixture, "contrast");
  const auto model = Blip2ForImageTextRetrieval::from_pretrained(retrieval_folder("contrast"));
  const Tensor& ids = call.tensors.at("input_ids");
  const Index queries = model.config().num_query_tokens, length = ids.dim(1) - queries;
  const Tensor words = Tensor::copy_of(ids.narrow(1, queries, length));
  const Tensor mask = Tensor::copy_of(call.tensors.at("attention_mask").narrow(1, queries, length));
  expect_equal(model.embed_text(words, mask), model.embed_text(ids, call.inputs.attention_mask));
}

TEST(Blip2Retrieval, RejectsArgumentsThatDoNotMatch) {
  const Fixture fixture("blip_2_retrieval/contrast/expected");
  const auto model = Blip2ForImageTextRetrieval::from_pretrained(retrieval_folder("contrast"));
  const auto expect_fault = [&](const auto& change, std::string_view text) {
    RetrievalCase call(fixture, "contrast");
    change(call.inputs);
    expect_error<InputError>([&] { model.forward(call.inputs); }, {text});
  };
  const VisionFeatures features = model.encode_image(fixture["one_image.pixel_values"]);
  expect_fault([](auto& in) { in.pixel_values = {}; }, "pass the image once");
  expect_fault([&](auto& in) { in.vision_features = &features; }, "pass the image once");
  expect_fault([](auto& in) { in.input_ids = {}; }, "expected [texts, length]");
  expect_fault([](auto& in) { in.input_ids = in.input_ids.narrow(1, 0, 3); },
               "attention_mask has the shape [3, 10], expected [3, 3]");
  expect_fault(
      [](auto& in) {
        in.input_ids = in.input_ids.narrow(1, 0, 3);
        in.attention_mask = {};
      },
      "image placeholders alone");
  expect_fault(
      [](auto& in) {
        in.pixel_values = in.pixel_values.narrow(0, 0, 2);
        in.use_image_text_matching_head = true;
      },
      "2 images and 3 texts");
  const Tensor wrong(std::vector<std::int64_t>(2, 49), {1, 2});
  expect_error<InputError>([&] { model.embed_text(wrong); }, {"placeholders alone"});
  const Tensor outside(std::vector<std::int64_t>{3, 49}, {1, 2});
  expect_error<InputError>([&] { model.embed_text(outside); }, {"input_ids[0][1] is 49"});
}

TEST(Blip2Retrieval, AQFormerThatReadsNoTextIsRejected) {
  std::ifstream file(retrieval_folder("contrast") / "config.json");
  std::string config(std::istreambuf_iterator<char>(file), {});
  const std::string line = "\"use_qformer_text_input\": true";
  config.replace(config.find(line), line.size(), "\"use_qformer_text_input\": false");
  const TemporaryFolder folder;
  folder.write("config.json", config);
  std::filesystem::copy_file(retrieval_folder("contrast") / "model.safetensors",
                             folder.path() / "model.safetensors");
  expect_error<ConfigError>([&] { Blip2ForImageTextRetrieval::from_pretrained(folder.path()); },
                            {"use_qformer_text_input"});
}

TEST(Blip2Retrieval, AFolderOfAnotherClassIsRefusedByItsName) {
  expect_error<ConfigError>(
      [] { ImageTextToTextModel::from_pretrained(retrieval_folder("contrast")); },
      {"config.json", "Blip2ForImageTextRetrieval", "load_retrieval"});
  expect_error<ConfigError>(
      [] { Blip2ForImageTextRetrieval::from_pretrained(fixtures_folder() / "blip_2" / "opt"); },
      {"config.json", "Blip2ForConditionalGeneration", "use load"});
}

}  // namespace
}  // namespace instructblip::testing
