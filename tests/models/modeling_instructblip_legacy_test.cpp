// Compares checkpoints from before image placeholders, which have no image_token_index in
// config.json, with transformers 4.49.0 (tests/reference/legacy_instructblip.py).
#include "instructblip/models/modeling_instructblip.h"
#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

class InstructBlipLegacy : public ::testing::TestWithParam<const char*> {
 protected:
  InstructBlipLegacy() : expected_("instructblip_legacy"), call_(expected_, kind() + ".") {}

  void SetUp() override {
    std::ifstream file(checkpoint_folder(kind()) / "config.json");
    std::string config(std::istreambuf_iterator<char>(file), {});
    const std::string line = "\"image_token_index\": 99,";
    config.erase(config.find(line), line.size());
    folder_.write("config.json", config);
    std::filesystem::copy_file(checkpoint_folder(kind()) / "model.safetensors",
                               folder_.path() / "model.safetensors");
    model_.emplace(InstructBlipForConditionalGeneration::from_pretrained(
        folder_.path(), {.dtype = DType::Float32}));
  }

  std::string kind() const { return GetParam(); }
  bool decoder_only() const { return model_->config().use_decoder_only_language_model(); }
  Tensor expected(const std::string& name) const { return expected_[kind() + "." + name]; }
  /// An id that the first rows generate, and the smallest min_length that delays it.
  std::pair<std::int64_t, Index> end() const {
    if (kind() == "opt") return {42, 17};
    if (kind() == "llama") return {2, 23};
    return {6, 2};
  }

  void expect_answers(const GenerationConfig& config, const std::string& name,
                      const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    const GenerateOutput output = model_->generate(call_.features(), config);
    const Tensor sequences = expected(name);
    if (!config.num_beams) {
      expect_equal(output.sequences, sequences, file, line);
      return;
    }
    // transformers 5.24 pads beams that end early with EOS if the padding id is 0.
    const auto rows = output.new_tokens();
    const Index begin = decoder_only() ? 7 : 1;
    ASSERT_EQ(output.prompt_length, begin);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const auto b = static_cast<Index>(r);
      const auto* row = &sequences.at<std::int64_t>({b, begin});
      const std::vector<std::int64_t> ids(row, row + rows[r].size());
      EXPECT_EQ(rows[r], ids) << name << ", row " << r;
    }
    EXPECT_EQ(output.sequences.shape(), sequences.shape()) << name;
    expect_close(output.sequences_scores, expected(name + ".scores"), 1e-5, file, line);
  }

  const LogCapture log_;
  const Fixture expected_;
  ForwardCase call_;
  TemporaryFolder folder_;
  std::optional<InstructBlipForConditionalGeneration> model_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, InstructBlipLegacy, ::testing::Values("opt", "llama", "t5_relu"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(InstructBlipLegacy, FeaturesPrecedeTheTextAndAWarningSaysWhatToAdd) {
  if (!decoder_only()) return;
  EXPECT_TRUE(log_.contains("Add \"image_token_index\""));
  const auto said = log_.messages();
  call_.inputs.labels = {};
  const Tensor logits = model_->forward(call_.inputs).logits;
  const Tensor mask = prepend_columns(call_.tensors.at("attention_mask"), 4, 1);
  expect_close(logits, without_padding(expected("logits"), mask));
  EXPECT_EQ(log_.messages(), said);  // from loading only; generating logs nothing
}

TEST_P(InstructBlipLegacy, LabelsAndLogitsCoverTheLastColumns) {
  const auto output = model_->forward(call_.inputs);
  const TensorView mask = decoder_only() ? call_.inputs.attention_mask : TensorView{};
  expect_close(output.logits, without_padding(expected("labelled_logits"), mask));
  const float loss = expected("loss").data<float>()[0];
  ASSERT_TRUE(output.loss);
  EXPECT_NEAR(*output.loss, loss, 1e-5 * loss);
  if (!decoder_only()) return;
  EXPECT_EQ(output.language_model_outputs.logits.dim(1), 11);
  const Tensor long_labels(DType::Int64, {3, 12});
  call_.inputs.labels = long_labels;
  expect_error<InputError>([&] { model_->forward(call_.inputs); },
                           {"labels", "[3, 12]", "[3, at most 11]"});
}

TEST_P(InstructBlipLegacy, GreedyAndBeamSearchEqualTheReference) {
  expect_answers({.max_new_tokens = 6}, "greedy");
  expect_answers(
      {.max_new_tokens = 6, .num_beams = 3, .repetition_penalty = 1.3, .length_penalty = 0.7},
      "beams");
}

TEST_P(InstructBlipLegacy, LengthsAreCountedAsInTheReference) {
  const auto [id, min_length] = end();
  expect_answers({.max_length = 24}, "max_length");
  expect_answers({.max_length = 30, .min_length = min_length - 1, .eos_token_id = id},
                 "short_min_length");
  expect_answers({.max_length = 30, .min_length = min_length, .eos_token_id = id}, "min_length");
  expect_answers({.max_new_tokens = 10, .min_new_tokens = 5, .eos_token_id = id}, "min_new_tokens");
  expect_answers({.max_length = 30,
                  .min_length = 18,
                  .num_beams = 3,
                  .repetition_penalty = 1.3,
                  .length_penalty = 0.7,
                  .eos_token_id = id},
                 "beams_by_length");
  if (!decoder_only()) return;
  expect_error<InputError>([&] { model_->generate(call_.features(), {.max_length = 15}); },
                           {"input_ids is 7", "`max_length` is set to 7"});
}

TEST_P(InstructBlipLegacy, WithoutTextThePromptIsTheImageAndBos) {
  if (!decoder_only()) return;
  call_.inputs.input_ids = call_.inputs.attention_mask = {};
  expect_equal(model_->generate(call_.inputs, {.max_length = 10}).sequences,
               expected("without_text"));
}

TEST_P(InstructBlipLegacy, EmbeddingsWithoutIdsReturnOnlyNewIds) {
  if (!decoder_only()) return;
  const Tensor ids = call_.tensors.at("input_ids");
  const Tensor embeds = model_->language_model()
                            .embed_tokens(ids.span<std::int64_t>())
                            .to_tensor()
                            .reshaped({ids.dim(0), ids.dim(1), -1});
  const GenerationConfig config{.max_new_tokens = 6};
  const auto answers = model_->generate(call_.inputs, config).new_tokens();
  call_.inputs.input_ids = {};
  call_.inputs.inputs_embeds = embeds;
  const GenerateOutput output = model_->generate(call_.inputs, config);
  EXPECT_EQ(output.new_tokens(), answers);
  EXPECT_EQ(output.prompt_length, 0);
}

}  // namespace
}  // namespace instructblip::testing
