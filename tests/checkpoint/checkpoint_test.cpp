#include "instructblip/checkpoint/checkpoint.h"

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::TemporaryFolder;

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
