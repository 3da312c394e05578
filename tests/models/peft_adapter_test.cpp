// Compares merged adapters with peft's merge_and_unload (tests/reference/adapters.py).
#include "instructblip/instructblip.h"
#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

std::filesystem::path adapter_folder(const std::string& name) {
  return fixtures_folder() / "adapters" / name;
}

std::string kind_of(const std::string& adapter) {
  return adapter.starts_with("t5_relu") ? "t5_relu" : adapter.substr(0, adapter.find('_'));
}

// A model's logits for the arguments of its own fixture.
Tensor logits_of(const InstructBlipForConditionalGeneration& model, const std::string& adapter) {
  const std::string kind = kind_of(adapter);
  ForwardCase call(Fixture("instructblip/" + kind + "/expected"), "forward.left.");
  call.inputs.labels = {};
  const Fixture expected("adapters/expected");
  Tensor decoder_ids;
  if (kind.starts_with("t5")) {
    decoder_ids = expected[adapter + ".decoder_input_ids"];
    call.inputs.decoder_input_ids = decoder_ids;
  }
  Tensor logits = model.forward(call.inputs).logits;
  return kind.starts_with("t5") ? logits
                                : without_padding(std::move(logits), call.inputs.attention_mask);
}

class MergedAdapterTest : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Adapters, MergedAdapterTest,
                         ::testing::Values("llama_all_linear", "llama_embeddings",
                                           "llama_dora_embeddings", "llama_tokens",
                                           "llama_language_model", "opt_dora", "opt_biases",
                                           "t5_layers", "t5_relu_bias"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(MergedAdapterTest, TheLogitsAreThoseOfTheModelMergedByPeft) {
  const std::string name = GetParam();
  LogCapture log;
  const auto model = InstructBlipForConditionalGeneration::from_pretrained(
      checkpoint_folder(kind_of(name)), {.dtype = DType::Float32, .adapter = adapter_folder(name)});
  const Tensor expected = Fixture("adapters/expected")[name + ".logits"];
  expect_close(logits_of(model, name), expected);
  // The adapter changes something.
  EXPECT_FALSE(same_elements(logits_of(model_of(kind_of(name)), name), expected));
}

TEST(MergedAdapterTest, AnAdapterInTheModelsFolderIsMergedUnlessNoneIsAskedFor) {
  const TemporaryFolder folder;
  const auto copy = [&](const std::filesystem::path& source) {
    for (const auto& file : std::filesystem::directory_iterator(source)) {
      std::filesystem::copy(file, folder.path() / file.path().filename());
    }
  };
  copy(checkpoint_folder("llama"));
  copy(adapter_folder("llama_all_linear"));
  const auto load = [&](LoadOptions options) {
    options.dtype = DType::Float32;
    return logits_of(InstructBlipForConditionalGeneration::from_pretrained(folder.path(), options),
                     "llama_all_linear");
  };
  const Fixture expected("adapters/expected");
  expect_close(load({}), expected["llama_all_linear.logits"]);
  expect_equal(load({.adapter = std::filesystem::path()}),
               logits_of(model_of("llama"), "llama_all_linear"));
  expect_close(load({.adapter = adapter_folder("llama_tokens")}), expected["llama_tokens.logits"]);
}

TEST(MergedAdapterTest, TheMergedWeightsDoNotDependOnTheNumberOfThreads) {
  const auto merged = Checkpoint::with_adapter(Checkpoint::open(checkpoint_folder("opt")),
                                               adapter_folder("opt_dora"));
  ASSERT_NE(merged->adapter(), nullptr);
  EXPECT_TRUE(merged->adapter()->is_dora);
  const std::string name = "language_model.model.decoder.layers.1.fc1.weight";
  const int threads = num_threads();
  set_num_threads(1);
  const Tensor alone = Tensor::copy_of(merged->find(name).value());
  set_num_threads(3);
  const Tensor shared = Tensor::copy_of(merged->find(name).value());
  set_num_threads(threads);
  expect_equal(shared, alone);
}

TEST(MergedAdapterTest, AWeightIsConvertedAfterTheMerge) {
  // In bfloat16, as at any other type, only the sum is rounded.
  const auto load = [](DType dtype) {
    return logits_of(InstructBlipForConditionalGeneration::from_pretrained(
                         checkpoint_folder("llama"),
                         {.dtype = dtype, .adapter = adapter_folder("llama_all_linear")}),
                     "llama_all_linear");
  };
  expect_close(load(DType::BFloat16), load(DType::Float32), 0.05);
}

}  // namespace
}  // namespace instructblip::testing
