// Compares the whole model's forward and get_image_features with the reference
// (tests/reference/instructblip.py).
#include "instructblip/models/modeling_instructblip.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/core/index.h"
#include "instructblip/kernels/dispatch.h"
#include "instructblip/processing/processing_instructblip.h"
#include "instructblip/tasks/folder_check.h"
#include "instructblip/tokenization/tokenizer.h"
#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

class InstructBlipForward : public KindTest {
 protected:
  /// The mask for the positions of the logits.
  TensorView mask_of(const ForwardCase& call) const {
    return decoder_only() ? call.inputs.attention_mask : call.inputs.decoder_attention_mask;
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, InstructBlipForward,
                         ::testing::Values("opt", "llama", "t5", "t5_relu"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(InstructBlipForward, LogitsAndLossEqualTheReference) {
  const Fixture fixture = expected();
  for (const char* name : {"left", "right", "no_masks", "two_images"}) {
    SCOPED_TRACE(name);
    const std::string prefix = std::string("forward.") + name + ".";
    ForwardCase call(fixture, prefix);
    const auto output = model().forward(call.inputs);
    expect_close(output.logits, without_padding(fixture[prefix + "logits"], mask_of(call)));
    ASSERT_EQ(output.loss.has_value(), fixture.has(prefix + "loss"));
    if (output.loss) {
      const float loss = fixture[prefix + "loss"].data<float>()[0];
      EXPECT_NEAR(*output.loss, loss, 1e-5 * loss);
    }
  }
}

TEST_P(InstructBlipForward, LabelsPredictedFromPaddingAreIgnored) {
  if (!decoder_only()) return;
  const Fixture fixture = expected();
  for (const std::string prefix : {"forward.left.", "forward.right."}) {
    ForwardCase call(fixture, prefix);
    Tensor labels = call.tensors.at("labels");
    const Tensor& mask = call.tensors.at("attention_mask");
    int added = 0;
    for (Index b = 0; b < mask.dim(0); ++b) {
      for (Index i = 1; i < mask.dim(1); ++i) {
        if (mask.at<std::int64_t>({b, i - 1}) != 0) continue;
        ASSERT_EQ(labels.at<std::int64_t>({b, i}), -100);  // the reference would count it
        labels.at<std::int64_t>({b, i}) = 7;
        ++added;
      }
    }
    EXPECT_GT(added, 0);
    call.inputs.labels = labels;
    const float loss = fixture[prefix + "loss"].data<float>()[0];
    EXPECT_NEAR(model().forward(call.inputs).loss.value(), loss, 1e-5 * loss) << prefix;
  }
}

TEST_P(InstructBlipForward, ReturnsTheLanguageModelsStatesAndAttentionsOnRequest) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  call.inputs.output_hidden_states = call.inputs.output_attentions = true;
  const LanguageModelOutputs output = model().forward(call.inputs).language_model_outputs;
  const auto expect_list = [&](const std::vector<Tensor>& found, const std::string& name,
                               const TensorView& mask) {
    SCOPED_TRACE(name);
    const std::string prefix = "forward.left.language_model." + name + ".";
    for (std::size_t i = 0; i < found.size(); ++i) {
      expect_close(found[i], without_padding(fixture[prefix + std::to_string(i)], mask));
    }
    EXPECT_FALSE(fixture.has(prefix + std::to_string(found.size())));
  };
  const TensorView mask = call.inputs.attention_mask;
  expect_list(output.hidden_states, "hidden_states", mask);
  expect_list(output.attentions, "attentions", mask);
  expect_list(output.decoder_hidden_states, "decoder_hidden_states", {});
  expect_list(output.decoder_attentions, "decoder_attentions", {});
  expect_list(output.cross_attentions, "cross_attentions", {});
  expect_list(output.encoder_hidden_states, "encoder_hidden_states", mask);
  expect_list(output.encoder_attentions, "encoder_attentions", mask);
  EXPECT_EQ(output.hidden_states.empty(), !decoder_only());
  if (decoder_only()) return;
  expect_close(
      output.encoder_last_hidden_state,
      without_padding(fixture["forward.left.language_model.encoder_last_hidden_state"], mask));
}

TEST_P(InstructBlipForward, GetImageFeaturesReturnsTheProjectedQueriesAndAllStates) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const auto output = model().get_image_features(
      call.inputs.pixel_values, call.inputs.qformer_input_ids, call.inputs.qformer_attention_mask,
      false, {.hidden_states = true, .attentions = true});
  expect_close(output.pooler_output, fixture["features.pooler_output"]);
  expect_close(output.vision_outputs.last_hidden_state, fixture["features.last_hidden_state"]);
  expect_close(output.vision_outputs.pooler_output,
               fixture["features.vision_outputs.pooler_output"]);
  Tensor queries = fixture["features.qformer_outputs.last_hidden_state"];
  const auto& config = model().config();
  const Tensor mask = call.tensors.at("qformer_attention_mask");
  for (Index b = 0; b < 3; ++b) {
    for (Index i = 0; i < mask.dim(1); ++i) {
      if (mask.at<std::int64_t>({b, i}) != 0) continue;
      for (Index d = 0; d < config.qformer_config.hidden_size; ++d) {
        queries.at<float>({b, config.num_query_tokens + i, d}) = 0.0f;
      }
    }
  }
  expect_close(output.qformer_outputs.last_hidden_state, queries);
  const auto layers = static_cast<std::size_t>(config.qformer_config.num_hidden_layers);
  EXPECT_EQ(output.qformer_outputs.hidden_states.size(), layers + 1);
  EXPECT_EQ(output.qformer_outputs.attentions.size(), layers);
  EXPECT_EQ(output.qformer_outputs.cross_attentions.size(), layers / 2);
  EXPECT_EQ(output.vision_outputs.attentions.size(),
            static_cast<std::size_t>(config.vision_config.num_hidden_layers));
}

TEST_P(InstructBlipForward, ImagesOfAnotherSizeEqualTheReference) {
  const Fixture fixture(std::string("instructblip/") + GetParam() + "/picture_size");
  ForwardCase call(fixture, "");
  expect_error<InputError>([&] { model().forward(call.inputs); }, {"interpolate_pos_encoding"});
  call.inputs.interpolate_pos_encoding = true;
  expect_close(model().forward(call.inputs).logits,
               without_padding(fixture["logits"], mask_of(call)));

  const auto features =
      model().get_image_features(call.inputs.pixel_values, call.inputs.qformer_input_ids,
                                 call.inputs.qformer_attention_mask, true);
  expect_close(features.pooler_output, fixture["features.pooler_output"]);
  expect_close(features.vision_outputs.last_hidden_state, fixture["features.last_hidden_state"]);
}

TEST_P(InstructBlipForward, PrecomputedFeaturesGiveTheSameBitsAsPixels) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const Tensor logits = model().forward(call.inputs).logits;
  const auto features = model().get_image_features(
      call.inputs.pixel_values, call.inputs.qformer_input_ids, call.inputs.qformer_attention_mask);
  InstructBlipInputs inputs = call.inputs;
  inputs.pixel_values = {};
  inputs.mm_encoder_outputs = &features;
  expect_equal(model().forward(inputs).logits, logits);

  const VisionFeatures encoded = model().encode_image(call.inputs.pixel_values);
  inputs.mm_encoder_outputs = nullptr;
  inputs.vision_features = &encoded;
  expect_equal(model().forward(inputs).logits, logits);
}

TEST_P(InstructBlipForward, EmbeddingsInsteadOfIdsGiveTheSameBits) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.left.");
  const Tensor ids = call.tensors.at("input_ids");
  const Tensor embeds = model()
                            .language_model()
                            .embed_tokens(ids.span<std::int64_t>())
                            .to_tensor()
                            .reshaped({ids.dim(0), ids.dim(1), -1});
  InstructBlipInputs inputs = call.inputs;
  inputs.inputs_embeds = embeds;
  const Tensor logits = model().forward(call.inputs).logits;
  expect_equal(model().forward(inputs).logits, logits);
  inputs.input_ids = {};
  expect_equal(model().forward(inputs).logits, logits);
}

TEST_P(InstructBlipForward, FourImagesEqualTheReferencesVideoModel) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "video.");
  const Tensor frames = call.tensors.at("pixel_values").reshaped({4, 3, 16, 16});
  const Tensor one = call.tensors.at("qformer_input_ids");
  Tensor ids(DType::Int64, {4, one.dim(1)});
  for (Index i = 0; i < 4; ++i) {
    std::copy_n(one.data<std::int64_t>(), one.size(), ids.data<std::int64_t>() + i * one.size());
  }
  call.inputs.pixel_values = frames;
  call.inputs.qformer_input_ids = ids;
  expect_close(model().forward(call.inputs).logits, fixture["video.logits"]);
}

TEST_P(InstructBlipForward, ASampleGivesTheSameBitsAloneInABatchAndWithoutPadding) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.right.");
  InstructBlipInputs all = call.inputs;
  all.labels = {};
  const Tensor together = model().forward(all).logits;
  const Tensor mask = call.tensors.at("attention_mask");
  for (Index b = 0; b < 3; ++b) {
    InstructBlipInputs alone;
    alone.pixel_values = sample(call.tensors.at("pixel_values"), b);
    alone.qformer_input_ids = sample(call.tensors.at("qformer_input_ids"), b);
    alone.qformer_attention_mask = sample(call.tensors.at("qformer_attention_mask"), b);
    alone.input_ids = sample(call.tensors.at("input_ids"), b);
    alone.input_ids.shape[1] =
        std::count(&mask.at<std::int64_t>({b, 0}), &mask.at<std::int64_t>({b, 0}) + mask.dim(1), 1);
    if (!decoder_only()) {
      alone.decoder_input_ids = sample(call.tensors.at("decoder_input_ids"), b);
      alone.decoder_attention_mask = sample(call.tensors.at("decoder_attention_mask"), b);
    }
    const Tensor logits = model().forward(alone).logits;
    TensorView row = sample(together, b);
    row.shape[1] = logits.dim(1);
    expect_equal(logits, row);
  }
}

TEST_P(InstructBlipForward, LastHiddenStateOfTheBareModelEqualsTheReference) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  call.inputs.labels = {};
  Tensor decoder_ids;
  if (!decoder_only()) {
    decoder_ids = fixture["base.decoder_input_ids"];
    call.inputs.decoder_input_ids = decoder_ids;
  }
  const LogCapture log;
  const auto bare =
      InstructBlipModel::from_pretrained(checkpoint_folder(GetParam()), {.dtype = DType::Float32});
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  const auto output = bare.forward(call.inputs);
  EXPECT_TRUE(output.logits.empty());
  EXPECT_FALSE(output.loss);
  expect_close(output.language_model_outputs.last_hidden_state,
               without_padding(fixture["base.last_hidden_state"],
                               decoder_only() ? call.inputs.attention_mask : TensorView{}));
}

TEST_P(InstructBlipForward, LabelsGiveTheBareModelItsDecoderIds) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  const auto with_labels = model().model().forward(call.inputs);
  EXPECT_TRUE(with_labels.logits.empty());
  EXPECT_FALSE(with_labels.loss);
  // The model with its head makes the same decoder ids; a decoder-only model has none to make.
  expect_equal(with_labels.language_model_outputs.last_hidden_state,
               model().forward(call.inputs).language_model_outputs.last_hidden_state);
}

TEST_P(InstructBlipForward, TheBareModelReturnsTheStatesOfAllPartsOnRequest) {
  const Fixture fixture = expected();
  ForwardCase call(fixture, "forward.left.");
  call.inputs.labels = {};
  Tensor decoder_ids;
  if (!decoder_only()) {
    decoder_ids = fixture["base.decoder_input_ids"];
    call.inputs.decoder_input_ids = decoder_ids;
  }
  call.inputs.output_hidden_states = call.inputs.output_attentions = true;
  const auto output = model().model().forward(call.inputs);
  const Tensor mask = prepend_columns(call.tensors.at("qformer_attention_mask"),
                                      model().config().num_query_tokens, 1);
  expect_list(fixture, output.vision_outputs.hidden_states, "base.vision_outputs.hidden_states");
  expect_list(fixture, output.vision_outputs.attentions, "base.vision_outputs.attentions");
  expect_list(fixture, output.qformer_outputs.hidden_states, "base.qformer_outputs.hidden_states",
              mask);
  expect_list(fixture, output.qformer_outputs.cross_attentions,
              "base.qformer_outputs.cross_attentions");
  EXPECT_EQ(static_cast<Index>(output.qformer_outputs.attentions.size()),
            model().config().qformer_config.num_hidden_layers);
  EXPECT_TRUE(model().forward(call.inputs).vision_outputs.hidden_states.empty());
}

TEST(InstructBlipModelTest, EmbeddingsWhoseWidthDiffersFromTheFeaturesAreRejected) {
  InstructBlipConfig config = InstructBlipConfig::from_pretrained(checkpoint_folder("opt"));
  auto& text = dynamic_cast<OPTConfig&>(*config.text_config);
  text.word_embed_proj_dim = text.hidden_size / 2;
  const Weights weights(Checkpoint::without_data(Checkpoint::open(checkpoint_folder("opt"))));
  expect_error<ConfigError>([&] { InstructBlipModel(weights, config); },
                            {"word_embed_proj_dim", "hidden_size"});
}

TEST(InstructBlipModelTest, AnInvalidConfigurationIsRejected) {
  InstructBlipConfig config = InstructBlipConfig::from_pretrained(checkpoint_folder("opt"));
  config.qformer_config.encoder_hidden_size += 1;
  const Weights weights(Checkpoint::without_data(Checkpoint::open(checkpoint_folder("opt"))));
  expect_error<ConfigError>([&] { InstructBlipModel(weights, config); }, {"encoder_hidden_size"});
}

TEST_P(InstructBlipForward, ComputesInBFloat16) {
  const Fixture fixture = expected();
  const ForwardCase call(fixture, "forward.no_masks.");
  const auto half = InstructBlipForConditionalGeneration::from_pretrained(
      checkpoint_folder(GetParam()), {.dtype = DType::BFloat16});
  const Tensor logits = half.forward(call.inputs).logits;
  expect_close(logits, fixture["forward.no_masks.logits"], 0.1);

  // Activations are rounded, too, if asked for and where the CPU multiplies bfloat16.
  const auto rounded = InstructBlipForConditionalGeneration::from_pretrained(
      checkpoint_folder(GetParam()), {.dtype = DType::BFloat16, .activations = DType::BFloat16});
  const Tensor rounded_logits = rounded.forward(call.inputs).logits;
  expect_close(rounded_logits, fixture["forward.no_masks.logits"], 0.1);
  const bool equal =
      std::memcmp(rounded_logits.raw(), logits.raw(), to_size(logits.size()) * sizeof(float)) == 0;
  EXPECT_EQ(equal, !testing::multiplies_bfloat16());
  expect_error<InputError>(
      [&] {
        InstructBlipForConditionalGeneration::from_pretrained(checkpoint_folder(GetParam()),
                                                              {.activations = DType::Float16});
      },
      {"activations is float16", "float32 or bfloat16"});
}

TEST_P(InstructBlipForward, LoadingReportsEachTensorWithoutWarnings) {
  const LogCapture log;
  Index calls = 0, done = 0, total = 0;
  const auto progress = [&](const Progress& state) {
    ++calls;
    EXPECT_GT(state.done, done);
    done = state.done;
    total = state.total;
  };
  InstructBlipForConditionalGeneration::from_pretrained(
      checkpoint_folder(GetParam()), {.dtype = DType::Float32, .progress = progress});
  EXPECT_GT(calls, 50);
  EXPECT_LE(done, total);
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();

  struct Stop {};
  const auto stop = [](const Progress&) { throw Stop{}; };
  EXPECT_THROW(InstructBlipForConditionalGeneration::from_pretrained(checkpoint_folder(GetParam()),
                                                                     {.progress = stop}),
               Stop);
}

/// Expects an error of forward for a changed case of the fixture.
template <class Change>
void expect_refused(const char* kind, Change&& change,
                    std::initializer_list<std::string_view> texts,
                    const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const Fixture fixture(std::string("instructblip/") + kind + "/expected");
  ForwardCase call(fixture, "forward.left.");
  change(call.inputs);
  expect_error<InputError>([&] { model_of(kind).forward(call.inputs); }, texts, file, line);
}

TEST(InstructBlipForwardErrors, PlaceholdersAreCountedPerRow) {
  const Fixture fixture("instructblip/llama/expected");
  Tensor ids = fixture["forward.left.input_ids"];
  ids.at<std::int64_t>({1, 0}) = 7;
  expect_refused("llama", [&](auto& in) { in.input_ids = ids; },
                 {"row 1", "3 image placeholders (id 99)", "expected 4"});
  ids = fixture["forward.left.input_ids"];
  ids.at<std::int64_t>({2, 10}) = 99;
  expect_refused("llama", [&](auto& in) { in.input_ids = ids; },
                 {"row 2", "5 image", "expected 4"});
}

TEST(InstructBlipForwardErrors, TheInvalidArgumentIsNamed) {
  const Tensor features(DType::Float32, {2, 4, 24}), three(DType::Int64, {3, 3});
  expect_refused("llama", [](auto& in) { in.pixel_values = {}; }, {"pixel_values"});
  expect_refused("llama", [](auto& in) { in.qformer_input_ids = {}; }, {"qformer_input_ids"});
  expect_refused("llama", [](auto& in) { in.input_ids = {}; }, {"input_ids"});
  expect_refused("llama", [&](auto& in) { in.attention_mask = three; }, {"attention_mask"});
  expect_refused("llama", [&](auto& in) { in.qformer_attention_mask = in.attention_mask; },
                 {"qformer_attention_mask"});
  expect_refused("llama", [&](auto& in) { in.labels = three; }, {"labels"});
  expect_refused("t5", [&](auto& in) { in.labels = {}; }, {"decoder_input_ids"});
  expect_refused("llama", [](auto& in) { in.qformer_input_ids.shape[0] = 2; }, {"qformer"});
  expect_refused("llama", [](auto& in) { in.input_ids.shape[0] = 2; }, {});
  expect_refused("llama", [](auto& in) { in.pixel_values.shape = {3, 3, 8, 8}; }, {});
}

TEST(InstructBlipForwardErrors, PixelsTogetherWithFeaturesAreRejected) {
  const BaseModelOutputWithVisionQformerOutputs features;
  expect_refused("opt", [&](auto& in) { in.mm_encoder_outputs = &features; }, {"pixel_values"});
}

TEST(InstructBlipForwardErrors, FeaturesOfTheWrongTypeOrRankAreRejected) {
  const Fixture fixture("instructblip/opt/expected");
  const Tensor right = fixture["features.pooler_output"];
  for (const Tensor& wrong : {right.to(DType::BFloat16), right.reshaped({-1, right.dim(2)})}) {
    BaseModelOutputWithVisionQformerOutputs features;
    features.pooler_output = wrong;
    const auto change = [&](auto& in) {
      in.pixel_values = {};
      in.mm_encoder_outputs = &features;
    };
    expect_refused("opt", change, {"image features", "float32 [images, num_query_tokens"});
  }
}

TEST(InstructBlipForwardErrors, AnIdOutsideTheVocabularyIsNamed) {
  const Fixture fixture("instructblip/opt/expected");
  Tensor ids = fixture["forward.left.input_ids"];
  ids.at<std::int64_t>({0, 6}) = 100;
  for (const char* kind : {"opt", "llama", "t5"}) {
    expect_refused(kind, [&](auto& in) { in.input_ids = ids; },
                   {"input_ids[0][6] is 100", "from 0 to 99"});
  }
}

TEST(InstructBlipModel, AMissingFolderIsNotDownloaded) {
  const std::string name = "Salesforce/instructblip-vicuna-7b";
  const std::initializer_list<std::string_view> texts = {name, "nothing is downloaded"};
  expect_error<ConfigError>([&] { InstructBlipForConditionalGeneration::from_pretrained(name); },
                            texts);
  expect_error<ConfigError>([&] { InstructBlipProcessor::from_pretrained(name); }, texts);
  expect_error<CheckpointError>([&] { Checkpoint::open(name); }, texts);
  expect_error<TokenizerError>([&] { AutoTokenizer::from_pretrained(name); }, texts);
  expect_error<ConfigError>([&] { check_folder(name); }, texts);
}

TEST(InstructBlipForwardErrors, APaddingIdOfMinusOneIsNeverEmbedded) {
  const Fixture fixture("instructblip/llama/expected");
  ForwardCase call(fixture, "forward.left.");
  const Tensor logits = model_of("llama").forward(call.inputs).logits;
  Tensor ids = fixture["forward.left.input_ids"];
  const Tensor mask = fixture["forward.left.attention_mask"];
  for (Index i = 0; i < ids.size(); ++i) {
    if (mask.data<std::int64_t>()[i] == 0) ids.data<std::int64_t>()[i] = -1;
  }
  call.inputs.input_ids = ids;
  expect_equal(model_of("llama").forward(call.inputs).logits, logits);
}

/// The tensors of a fixture's checkpoint, for writing a changed copy.
std::vector<std::pair<std::string, SharedTensor>> tensors_of(std::string_view kind) {
  const auto checkpoint = Checkpoint::open(checkpoint_folder(kind));
  std::vector<std::pair<std::string, SharedTensor>> tensors;
  for (const std::string& name : checkpoint->names()) {
    tensors.emplace_back(name, *checkpoint->find(name));
  }
  return tensors;
}

void write(const TemporaryFolder& folder, std::string_view kind,
           const std::vector<std::pair<std::string, SharedTensor>>& tensors) {
  std::filesystem::copy_file(checkpoint_folder(kind) / "config.json",
                             folder.path() / "config.json");
  const std::vector<std::pair<std::string, TensorView>> views(tensors.begin(), tensors.end());
  save_safetensors(folder.path() / "model.safetensors", views);
}

TEST(InstructBlipModel, LoadsAFolderSavedByTheBareModel) {
  for (const char* kind : {"opt", "llama"}) {
    SCOPED_TRACE(kind);
    auto tensors = tensors_of(kind);
    std::erase_if(tensors, [](const auto& entry) {
      return entry.first.find("lm_head") != std::string::npos;
    });
    const std::string from = "language_model.model.";
    for (auto& [name, tensor] : tensors) {
      if (name.rfind(from, 0) == 0) name = "language_model." + name.substr(from.size());
    }
    const TemporaryFolder folder;
    write(folder, kind, tensors);
    const LogCapture log;
    const auto bare = InstructBlipModel::from_pretrained(folder.path(), {.dtype = DType::Float32});
    EXPECT_TRUE(log.messages().empty()) << log.messages().front();
    const Fixture fixture(std::string("instructblip/") + kind + "/expected");
    ForwardCase call(fixture, "forward.left.");
    call.inputs.labels = {};
    expect_close(bare.forward(call.inputs).language_model_outputs.last_hidden_state,
                 without_padding(fixture["base.last_hidden_state"], call.inputs.attention_mask));
  }
}

TEST(InstructBlipForwardErrors, NonFiniteLogitsAreAnError) {
  for (const char* kind : {"opt", "llama", "t5"}) {
    SCOPED_TRACE(kind);
    auto tensors = tensors_of(kind);
    Tensor broken;
    for (auto& [name, tensor] : tensors) {
      if (name != "language_projection.bias") continue;
      broken = Tensor::copy_of(tensor);
      broken.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
      static_cast<TensorView&>(tensor) = broken.view();
    }
    const TemporaryFolder folder;
    write(folder, kind, tensors);
    const auto model = InstructBlipForConditionalGeneration::from_pretrained(folder.path());
    const Fixture fixture(std::string("instructblip/") + kind + "/expected");
    const ForwardCase call(fixture, "forward.left.");
    expect_error<InputError>([&] { model.forward(call.inputs); }, {"not finite"});
    expect_error<InputError>([&] { model.generate(call.features()); }, {"finite"});
  }
}

TEST(InstructBlipForConditionalGeneration, AMissingTensorIsNamed) {
  auto tensors = tensors_of("llama");
  std::erase_if(tensors, [](const auto& entry) {
    return entry.first == "query_tokens" || entry.first == "language_projection.weight" ||
           entry.first == "qformer.encoder.layer.1.output_query.dense.bias";
  });
  const TemporaryFolder folder;
  write(folder, "llama", tensors);
  expect_error<CheckpointError>(
      [&] { InstructBlipForConditionalGeneration::from_pretrained(folder.path()); },
      {"query_tokens", "[1, 4, 16]", "language_projection.weight",
       "qformer.encoder.layer.1.output_query.dense.bias"});
}

}  // namespace
}  // namespace instructblip::testing
