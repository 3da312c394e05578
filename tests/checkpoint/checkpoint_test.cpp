#include "instructblip/checkpoint/checkpoint.h"

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::TemporaryFolder;
namespace fs = std::filesystem;

const Tensor kOne(std::vector<float>{1}, {1});
const Tensor kPair(std::vector<float>{2, 3}, {2});

std::string error_of(const std::filesystem::path& path) {
  try {
    Checkpoint::open(path);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

void expect_opening_fails(const std::filesystem::path& path, std::string_view part) {
  EXPECT_NE(error_of(path).find(part), std::string::npos) << error_of(path);
}

// Two shards, each with one tensor, and an index.
void write_shards(const TemporaryFolder& folder, std::string_view weight_map) {
  save_safetensors(folder.path() / "model-00001-of-00002.safetensors", {{"a", kOne}});
  save_safetensors(folder.path() / "model-00002-of-00002.safetensors", {{"b.c", kPair}});
  folder.write("model.safetensors.index.json",
               "{\"metadata\":{},\"weight_map\":" + std::string(weight_map) + "}");
}

constexpr std::string_view kTrueMap =
    R"({"a":"model-00001-of-00002.safetensors","b.c":"model-00002-of-00002.safetensors"})";

TEST(CheckpointTest, OpensAFolderWithOneFile) {
  const TemporaryFolder folder;
  save_safetensors(folder.path() / "model.safetensors", {{"a", kOne}, {"b", kPair}});
  for (const auto& path : {folder.path(), folder.path() / "model.safetensors"}) {
    const auto checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(checkpoint->bytes(), 12u);
    EXPECT_EQ(checkpoint->path(), path);
    EXPECT_EQ(checkpoint->where(), path.string());
    EXPECT_EQ(checkpoint->dtype(), DType::Float32);
    testing::expect_equal(checkpoint->find("b").value(), kPair);
    EXPECT_FALSE(checkpoint->find("c"));
  }
}

TEST(CheckpointTest, OpensShardsThroughTheirIndex) {
  const TemporaryFolder folder;
  write_shards(folder, kTrueMap);
  for (const auto& path : {folder.path(), folder.path() / "model.safetensors.index.json"}) {
    const auto checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint->files().size(), 2u);
    EXPECT_EQ(checkpoint->tensors().at("b.c").file.filename(), "model-00002-of-00002.safetensors");
    testing::expect_equal(checkpoint->find("a").value(), kOne);
    testing::expect_equal(checkpoint->find("b.c").value(), kPair);
  }
}

TEST(CheckpointTest, ATensorMissingFromTheIndexIsLoaded) {
  const TemporaryFolder folder;
  save_safetensors(folder.path() / "one.safetensors", {{"a", kOne}, {"forgotten", kPair}});
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors"}})");
  testing::expect_equal(Checkpoint::open(folder.path())->find("forgotten").value(), kPair);
}

TEST(CheckpointTest, AMissingShardIsNamed) {
  const TemporaryFolder folder;
  write_shards(folder, kTrueMap);
  std::filesystem::remove(folder.path() / "model-00002-of-00002.safetensors");
  expect_opening_fails(folder.path(), "these shards are missing: model-00002-of-00002.safetensors");
}

TEST(CheckpointTest, AnIndexThatDoesNotMatchItsShardsIsAnError) {
  const TemporaryFolder folder;
  write_shards(folder, R"({"a":"model-00001-of-00002.safetensors",)"
                       R"("b.c":"model-00002-of-00002.safetensors",)"
                       R"("d":"model-00002-of-00002.safetensors"})");
  expect_opening_fails(folder.path(), "\n  d in model-00002-of-00002.safetensors");
  write_shards(folder, R"({"a":"model-00002-of-00002.safetensors"})");
  expect_opening_fails(folder.path(), "\n  a in model-00002-of-00002.safetensors");
  save_safetensors(folder.path() / "x", {{"a", kOne}, {"twice", kOne}});
  save_safetensors(folder.path() / "y", {{"b", kOne}, {"twice", kOne}});
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"x","b":"y"}})");
  expect_opening_fails(folder.path(), "tensor twice is in two shards (x, y)");
}

TEST(CheckpointTest, AMalformedIndexIsAnError) {
  const TemporaryFolder folder;
  const auto index = [&](std::string_view text) {
    folder.write("model.safetensors.index.json", text);
    return folder.path();
  };
  expect_opening_fails(index("{"), "not valid JSON");
  expect_opening_fails(index("[]"), "weight_map");
  expect_opening_fails(index("{}"), "weight_map");
  expect_opening_fails(index(R"({"weight_map":[]})"), "weight_map");
  expect_opening_fails(index(R"({"weight_map":{"a":3}})"), "found 3");
  expect_opening_fails(index(R"({"weight_map":{"a":""}})"), "key \"a\"");
  expect_opening_fails(index(R"({"weight_map":{"a":"../secret"}})"), "same folder");
  expect_opening_fails(index(R"({"weight_map":{"a":"/etc/passwd"}})"), "same folder");
  expect_opening_fails(index(R"({"weight_map":{"a":".."}})"), "same folder");
}

TEST(CheckpointTest, PickledWeightsAreAnErrorThatSaysHowToConvertThem) {
  const TemporaryFolder folder;
  folder.write("pytorch_model-00001-of-00002.bin", "x");
  expect_opening_fails(folder.path(), "python -c \"from transformers import");
  expect_opening_fails(folder.path(),
                       "from_pretrained('" + folder.path().string() + "', dtype='auto')");
}

TEST(CheckpointTest, ShardsWithoutAnIndexNameTheirTensors) {
  const TemporaryFolder folder;
  const auto shard = [&](const std::string& numbers, const std::string& tensor) {
    const fs::path file = folder.path() / ("model-" + numbers + ".safetensors");
    save_safetensors(file, {{tensor, kOne}});
    return file;
  };
  shard("00001-of-00003", "a");
  shard("00002-of-00003", "b");
  expect_opening_fails(folder.path(), "these shards are missing: model-00003-of-00003.safetensors");
  shard("00003-of-00003", "c");
  folder.write("model-1-of-3.safetensors", "not a shard's name");
  EXPECT_EQ(Checkpoint::open(folder.path())->names(), (std::vector<std::string>{"a", "b", "c"}));
  shard("00003-of-00003", "b");
  expect_opening_fails(folder.path(),
                       "tensor b is in two shards (model-00002-of-00003.safetensors, "
                       "model-00003-of-00003.safetensors), and there is no index");
  const fs::path other = shard("00001-of-99999", "a");
  expect_opening_fails(folder.path(), "there are shards of 3 and of 99999");
  for (const int i : {1, 2, 3}) {
    fs::remove(folder.path() / ("model-0000" + std::to_string(i) + "-of-00003.safetensors"));
  }
  expect_opening_fails(folder.path(), "model-00007-of-99999.safetensors and 99992 more");
}

TEST(CheckpointTest, WeightsInAnotherFormatAreNamedAsWhatTheyAre) {
  const std::pair<const char*, const char*> cases[] = {
      {"model.safetensors.incomplete", "a download that did not finish"},
      {"model.safetensors.part", "a download that did not finish"},
      {"vicuna-7b.Q4_K_M.gguf", "llama.cpp's format"},
      {"instruct_blip_vicuna7b_trimmed.pth", "LAVIS"},
      {"epoch=3.ckpt", "a file of torch.save"},
      {"tf_model.h5", "TensorFlow's format"},
      {"flax_model.msgpack", "Flax' format"},
      {"model.onnx", "an exported graph"},
      {"merged.safetensors", "rename it to model.safetensors"},
  };
  for (const auto& [name, what] : cases) {
    const TemporaryFolder folder;
    folder.write("config.json", "{}");
    folder.write(name, "x");
    expect_opening_fails(folder.path(), std::string(name) + " is ");
    expect_opening_fails(folder.path(), what);
  }
  const TemporaryFolder adapter;
  adapter.write("adapter_config.json", R"({"base_model_name_or_path":"lab/base"})");
  expect_opening_fails(adapter.path(), "a PEFT adapter, not a model");
  expect_opening_fails(adapter.path(), "lab/base");
}

TEST(CheckpointTest, OtherContentsUnderTheRightNameAreNamed) {
  const std::pair<std::string, const char*> cases[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "a Git LFS pointer"},
      {"<!doctype html>\n<html><title>Sign in</title>", "a web page"},
      {"  \n<HTML lang=\"en\">", "a web page"},
      {"", "it is empty"},
      {std::string("PK\3\4\0\0\0\0\0\0", 10), "a ZIP archive"},
      {std::string("GGUF\3\0\0\0\0\0\0\0", 12), "a GGUF file"},
  };
  for (const auto& [contents, what] : cases) {
    const TemporaryFolder folder;
    folder.write("model.safetensors", contents);
    expect_opening_fails(folder.path(), what);
    fs::remove(folder.path() / "model.safetensors");
    folder.write("model.safetensors.index.json", contents);
    expect_opening_fails(folder.path(), what);
  }
}

TEST(CheckpointTest, ALinkWithoutItsBlobIsNamed) {
  const TemporaryFolder cache;
  const fs::path snapshot = cache.path() / "snapshots" / "abc";
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/e0d1", snapshot / "model.safetensors");
  expect_opening_fails(snapshot, "model.safetensors: a link to ../../blobs/e0d1, which does not");
  cache.write("blobs/e0d1.incomplete", "x");
  expect_opening_fails(snapshot, "(only e0d1.incomplete does)");
  expect_opening_fails(cache.path(), "a model's folder in the hub's cache; give its snapshot");
  expect_opening_fails(cache.path(), snapshot.string());
  fs::remove(snapshot / "model.safetensors");
  fs::create_symlink("nowhere", cache.path() / "link");
  expect_opening_fails(cache.path() / "link", "a link to nowhere");
}

std::shared_ptr<const Checkpoint> unwrapped(const std::vector<std::string>& names) {
  std::map<std::string, Tensor> tensors;
  for (std::size_t i = 0; i < names.size(); ++i) {
    tensors.emplace(names[i], Tensor(std::vector<float>{static_cast<float>(i)}, {1}));
  }
  return Checkpoint::unwrapped(Checkpoint::from_tensors(std::move(tensors)), "probe");
}

TEST(CheckpointTest, PrefixesOfTrainingToolsAreRemovedWithAWarning) {
  const std::pair<std::string, std::string> cases[] = {
      {"module.", "\"module.\""},
      {"_orig_mod.", "\"_orig_mod.\""},
      {"_orig_mod.module.", "\"_orig_mod.\", \"module.\""},
      {"module.module._orig_mod.", "\"_orig_mod.\", \"module.\""},
      {"_forward_module.model.", "\"_forward_module.\", \"model.\""},
      {"model.", "\"model.\""},
      {"model.model.", "\"model.model.\""},
      {"base_model.model.", "\"base_model.model.\""},
      {"lightning.anything.", "\"lightning.anything.\""},
  };
  for (const auto& [prefix, shown] : cases) {
    testing::LogCapture log;
    const auto checkpoint = unwrapped({prefix + "probe", prefix + "layer.0.weight"});
    EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"layer.0.weight", "probe"}));
    testing::expect_equal(checkpoint->find("layer.0.weight").value(),
                          Tensor(std::vector<float>{1}, {1}));
    EXPECT_TRUE(log.contains("contain " + shown + ", which")) << prefix;
  }
}

TEST(CheckpointTest, WrappersInsideOfNamesAreRemoved) {
  testing::LogCapture log;
  const auto checkpoint = unwrapped(
      {"_fsdp_wrapped_module.probe",
       "_fsdp_wrapped_module.layer.0._fsdp_wrapped_module._checkpoint_wrapped_module.w", "module"});
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"layer.0.w", "module", "probe"}));
  EXPECT_EQ(log.messages().size(), 1u);
  // A file keeps its names.
  const TemporaryFolder folder;
  save_safetensors(folder.path() / "model.safetensors", {{"module.a", kOne}, {"module.b", kPair}});
  const auto opened = Checkpoint::unwrapped(Checkpoint::open(folder.path()), "probe");
  testing::expect_equal(opened->find("b").value(), kPair);
  EXPECT_FALSE(opened->find("module.b"));
}

TEST(CheckpointTest, NamesThatNeedNoUnwrappingStay) {
  testing::LogCapture log;
  const std::vector<std::string> names = {"ema.probe", "probe", "x..y", ".z"};
  EXPECT_EQ(unwrapped(names)->names(),
            (std::vector<std::string>{".z", "ema.probe", "probe", "x..y"}));
  EXPECT_EQ(unwrapped({"model.layers.0"})->names(), (std::vector<std::string>{"model.layers.0"}));
  EXPECT_TRUE(log.messages().empty());
}

TEST(CheckpointTest, PrefixesThatLeaveADoubtAreErrors) {
  testing::LogCapture log;
  testing::expect_error<CheckpointError>(
      [] {
        unwrapped({"ema.probe", "model.probe"});
      },
      {"holds several models, whose tensors begin with ema., model."});
  testing::expect_error<CheckpointError>(
      [] {
        unwrapped({"module.probe", "probe"});
      },
      {"probe and module.probe are both probe"});
  testing::expect_error<CheckpointError>(
      [] {
        unwrapped({"model.probe", "model.x", "x"});
      },
      {"x and model.x are both x"});
}

TEST(CheckpointTest, PathsWithoutACheckpointAreErrors) {
  const TemporaryFolder folder;
  expect_opening_fails(folder.path(), "found nothing");
  folder.write("config.json", "{}");
  expect_opening_fails(folder.path(), "found config.json");
  expect_opening_fails(folder.path() / "absent", "nothing is downloaded");
  expect_opening_fails(folder.path() / "config.json", "truncated");
}

}  // namespace
}  // namespace instructblip
