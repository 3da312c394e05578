#include "instructblip/models/quantize_checkpoint.h"

#include <sys/resource.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <iterator>
#include <map>
#include <tuple>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/core/error.h"
#include "models/demo_models.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;
using testing::demo_model;
using testing::expect_error;
using testing::some_logits;
using testing::TemporaryFolder;
using Model = InstructBlipForConditionalGeneration;

constexpr std::size_t kSmallShards = 300'000;

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    files[entry.path().lexically_relative(folder).string()] =
        std::string(std::istreambuf_iterator<char>(stream), {});
  }
  return files;
}

class QuantizedFolderTest : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
};

TEST_P(QuantizedFolderTest, GivesTheBitsThatQuantisingWhileLoadingGives) {
  const auto [decoder, name] = GetParam();
  const QuantizationRecipe recipe = quantization_recipe(name);
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "quantised";
  const QuantizeReport report = quantize_checkpoint(demo_model(decoder), target, recipe);
  const testing::LogCapture log;
  const Model model = Model::from_pretrained(target);
  EXPECT_TRUE(log.messages().empty()) << log.messages()[0];
  testing::expect_equal(some_logits(model), some_logits(Model::from_pretrained(
                                                demo_model(decoder), {.quantization = recipe})));
  const auto written = Checkpoint::open(target);
  EXPECT_EQ(report.bytes, written->bytes());
  EXPECT_LT(report.bytes, report.source_bytes);
  Index scales = 0;
  for (const std::string& tensor : written->names()) scales += tensor.ends_with("weight_scale");
  EXPECT_EQ(report.quantized_matrices, scales);
  EXPECT_EQ(report.shards, 1);
}

INSTANTIATE_TEST_SUITE_P(
    Recipes, QuantizedFolderTest,
    ::testing::Combine(::testing::Values("llama", "opt", "t5"),
                       ::testing::Values("int8", "w8a8", "int4", "qformer=int8",
                                         "vision=int4-g32-zero",
                                         "qformer=int4-g32-zero,language=int4-g32,head=int8")),
    [](const auto& info) {
      std::string name = std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

// tests/reference/quantized_folders.py
TEST(QuantizeCheckpointTest, TransformersComputesTheSameLogitsWithTheFolder) {
  const testing::Fixture fixture("compressed_tensors/written");
  Tensor pixels = fixture["pixel_bytes"].to(DType::Float32);
  for (float& value : pixels.span<float>()) value = value / 128.0f - 1.0f;
  for (const std::string decoder : {"llama", "opt", "t5"}) {
    const Tensor ids = fixture[decoder + ".input_ids"];
    const Tensor questions = fixture[decoder + ".qformer_input_ids"];
    const bool encodes = fixture.has(decoder + ".decoder_input_ids");
    const Tensor answers = encodes ? fixture[decoder + ".decoder_input_ids"] : Tensor();
    InstructBlipInputs inputs{
        .pixel_values = pixels, .qformer_input_ids = questions, .input_ids = ids};
    if (encodes) inputs.decoder_input_ids = answers;
    for (const std::string recipe : {"int8", "w8a8", "int4", "qformer=int8,language=int4-g32-zero",
                                     "language=int4,head=int8"}) {
      SCOPED_TRACE(decoder + " " + recipe);
      const TemporaryFolder folder;
      const fs::path target = folder.path() / "quantised";
      quantize_checkpoint(demo_model(decoder), target, quantization_recipe(recipe));
      const Model model = Model::from_pretrained(target, {.dtype = DType::Float32});
      const Tensor logits = model.forward(inputs).logits;
      const Tensor expected = fixture[decoder + "." + recipe];
      const float* last = logits.data<float>() + logits.size() - expected.size();
      float largest = 0, difference = 0;
      for (Index i = 0; i < expected.size(); ++i) {
        const float value = expected.data<float>()[i];
        largest = std::max(largest, std::abs(value));
        difference = std::max(difference, std::abs(last[i] - value));
      }
      RecordProperty(decoder + " " + recipe, std::to_string(difference / largest));
      // transformers divides activations by the largest / 127.5, this library by that / 127.
      EXPECT_LT(difference, (recipe == "w8a8" ? 1e-2f : 2e-4f) * largest);
    }
  }
}

TEST(QuantizeCheckpointTest, CopiesTheOtherFilesAndLoadsInShards) {
  const TemporaryFolder folder;
  const fs::path one = folder.path() / "one", many = folder.path() / "many";
  const QuantizationRecipe recipe = quantization_recipe("int4");
  quantize_checkpoint(demo_model("opt"), one, recipe);
  const QuantizeReport report =
      quantize_checkpoint(demo_model("opt"), many, recipe, {.max_shard_bytes = kSmallShards});
  EXPECT_GT(report.shards, 3);
  EXPECT_EQ(report.resumed_shards, 0);
  const auto source = files_of(demo_model("opt")), written = files_of(many);
  for (const auto& [name, bytes] : source) {
    if (name == "model.safetensors" || name == "config.json") continue;
    ASSERT_TRUE(written.contains(name)) << name;
    EXPECT_EQ(written.at(name), bytes) << name;
  }
  EXPECT_TRUE(written.contains("model.safetensors.index.json"));
  for (const auto& [name, bytes] : written) {
    EXPECT_EQ(name.find("quantize_checkpoint"), std::string::npos);
    if (name.ends_with(".safetensors")) {
      EXPECT_LT(bytes.size(), kSmallShards + 50'000) << name;
    }
  }
  testing::expect_equal(some_logits(Model::from_pretrained(many)),
                        some_logits(Model::from_pretrained(one)));
}

struct Interrupted {};

void interrupt(const fs::path& target, double at) {
  const auto stop = [at](const Progress& progress) {
    if (progress.fraction() > at) throw Interrupted();
  };
  EXPECT_THROW(quantize_checkpoint(demo_model("opt"), target, quantization_recipe("int4"),
                                   {.max_shard_bytes = kSmallShards, .progress = stop}),
               Interrupted);
}

TEST(QuantizeCheckpointTest, AnInterruptedRunGoesOnWhereItEnded) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "a", partial = folder.path() / "a.partial";
  interrupt(target, 0.5);
  EXPECT_FALSE(fs::exists(target));
  EXPECT_THROW(Model::from_pretrained(partial), Error);
  // A shard that was cut off is written anew.
  fs::path first;
  for (const auto& entry : fs::directory_iterator(partial)) {
    if (entry.path().filename().string().starts_with("model-00001-of")) first = entry.path();
  }
  ASSERT_FALSE(first.empty());
  fs::resize_file(first, fs::file_size(first) / 2);
  const QuantizeReport report = quantize_checkpoint(
      demo_model("opt"), target, quantization_recipe("int4"), {.max_shard_bytes = kSmallShards});
  EXPECT_GT(report.resumed_shards, 0);
  EXPECT_LT(report.resumed_shards, report.shards - 1);
  EXPECT_FALSE(fs::exists(partial));
  const fs::path whole = folder.path() / "b";
  quantize_checkpoint(demo_model("opt"), whole, quantization_recipe("int4"),
                      {.max_shard_bytes = kSmallShards});
  EXPECT_EQ(files_of(target), files_of(whole));
}

TEST(QuantizeCheckpointTest, AnotherRecipeDoesNotGoOnWithWhatWasBegun) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "a";
  interrupt(target, 0.5);
  expect_error<CheckpointError>(
      [&] {
        quantize_checkpoint(demo_model("opt"), target, quantization_recipe("int8"),
                            {.max_shard_bytes = kSmallShards});
      },
      {"a.partial", "another recipe", "delete it"});
  EXPECT_FALSE(fs::exists(target));
}

TEST(QuantizeCheckpointTest, AChangedSourceDoesNotGoOnWithWhatWasBegun) {
  const TemporaryFolder folder;
  const fs::path source = folder.path() / "source", target = folder.path() / "a";
  fs::copy(demo_model("opt"), source, fs::copy_options::recursive);
  const QuantizationRecipe recipe = quantization_recipe("int8");
  const auto stop = [](const Progress& progress) {
    if (progress.fraction() > 0.5) throw Interrupted();
  };
  EXPECT_THROW(quantize_checkpoint(source, target, recipe, {.progress = stop}), Interrupted);
  const fs::path weights = source / "model.safetensors";
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::seconds(5));
  expect_error<CheckpointError>([&] { quantize_checkpoint(source, target, recipe); },
                                {"a.partial", "the source has changed"});
}

TEST(QuantizeCheckpointTest, AFileThatCannotBeWrittenLeavesNoFolder) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "a";
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{200'000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  expect_error<CheckpointError>(
      [&] { quantize_checkpoint(demo_model("opt"), target, quantization_recipe("int8")); },
      {"model.safetensors: cannot be written"});
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(fs::exists(target));
  quantize_checkpoint(demo_model("opt"), target, quantization_recipe("int8"));
  EXPECT_NO_THROW(Model::from_pretrained(target));
}

TEST(QuantizeCheckpointTest, RefusesWhatMakesNoSense) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "a";
  const QuantizationRecipe int8 = quantization_recipe("int8");
  const auto run = [](const fs::path& from, const fs::path& to, const QuantizationRecipe& recipe) {
    return [=] { quantize_checkpoint(from, to, recipe); };
  };
  expect_error<InputError>(run(demo_model("opt"), target, {}), {"quantises none of the layers"});
  expect_error<InputError>(run(demo_model("opt"), folder.path(), int8), {"exists already"});
  expect_error<InputError>(run(demo_model("opt"), demo_model("opt") / "int8", int8),
                           {"lies inside the source folder"});
  expect_error<InputError>(run(demo_model("opt"), target, quantization_recipe("language=int4-g64")),
                           {"groups of 64", "96", "language_model.model.decoder.layers.0."});
  expect_error<CheckpointError>(run(folder.path() / "none", target, int8), {"none"});
  quantize_checkpoint(demo_model("opt"), target / "", int8);  // a slash at the end
  EXPECT_TRUE(fs::exists(target / "config.json"));
  expect_error<ConfigError>(run(target, folder.path() / "b", int8),
                            {"quantised already", "that this one was made from"});
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    EXPECT_EQ(entry.path().filename(), "a");
  }
}

}  // namespace
}  // namespace instructblip
