#include "instructblip/checkpoint/weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <span>
#include <string>

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::LogCapture;

Weights some_weights(const std::vector<std::string>& names) {
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : names) {
    tensors.emplace(name, Tensor(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}));
  }
  return Weights::from_tensors(std::move(tensors), DType::BFloat16);
}

std::string finish_error(const Weights& weights) {
  try {
    weights.finish();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

TEST(WeightsTest, ScopesNameTensors) {
  const Weights weights = some_weights({"encoder.layers.0.weight", "encoder.layers.1.weight"});
  EXPECT_EQ(weights.name(), "");
  const Weights layer = weights["encoder"]["layers"][1];
  EXPECT_EQ(layer.name(), "encoder.layers.1");
  EXPECT_FALSE(layer.exists());
  EXPECT_TRUE(layer["weight"].exists());
  EXPECT_TRUE(weights["encoder.layers.0.weight"].exists());
  EXPECT_EQ(layer.dtype(), DType::BFloat16);
  EXPECT_FALSE(layer["bias"].exists());
  testing::expect_equal(layer["weight"].get({2, 3}),
                        Tensor(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}));
}

TEST(WeightsTest, FinishNamesEveryFaultAtOnce) {
  const Weights weights = some_weights({"a", "b", "c"});
  const SharedTensor missing = weights["absent"]["weight"].get({4});
  EXPECT_EQ(missing.data, nullptr);
  EXPECT_EQ(missing.shape, Shape{4});
  EXPECT_EQ(weights["a"].get({3, 2}).data, nullptr);
  EXPECT_EQ(weights["b"].find({6})->data, nullptr);
  EXPECT_FALSE(weights["absent"]["bias"].find({4}));
  EXPECT_EQ(weights["c"].get({7}).data, nullptr);
  const std::string error = finish_error(weights);
  EXPECT_NE(error.find("4 tensors do not fit"), std::string::npos) << error;
  EXPECT_NE(error.find("absent.weight: missing, expected [4]"), std::string::npos) << error;
  EXPECT_NE(error.find("a: found [2, 3], expected [3, 2]"), std::string::npos) << error;
  EXPECT_NE(error.find("b: found [2, 3], expected [6]"), std::string::npos) << error;
  EXPECT_NE(error.find("c: found [2, 3], expected [7]"), std::string::npos) << error;
  EXPECT_NE(error.find("tensors in memory"), std::string::npos) << error;
}

TEST(WeightsTest, ASkippedTensorIsCheckedAndCounted) {
  std::map<std::string, Tensor> tensors;
  for (const char* name : {"a", "b", "c"}) tensors.emplace(name, Tensor(DType::Float32, {2, 3}));
  std::vector<std::string> stages;
  Progress last;
  const Weights weights(Checkpoint::from_tensors(std::move(tensors)),
                        {.progress = [&](const Progress& progress) {
                          stages.push_back(progress.stage);
                          last = progress;
                        }});
  weights["a"].skip({2, 3});
  weights["a"].skip({2, 3});
  EXPECT_EQ(stages, std::vector<std::string>{"a"});
  EXPECT_EQ(last.done, 24);
  EXPECT_EQ(last.total, 72);
  EXPECT_TRUE(weights.report().faults.empty());
  EXPECT_EQ(weights.report().unexpected, (std::vector<std::string>{"b", "c"}));
  weights["b"].skip({3, 2});
  weights["absent"].skip({1});
  EXPECT_EQ(weights.report().faults, (std::vector<std::string>{"b: found [2, 3], expected [3, 2]",
                                                               "absent: missing, expected [1]"}));
}

TEST(WeightsTest, LayersWithTheSameFaultShareALine) {
  const Weights weights = some_weights({"extra.0.x", "extra.1.x"});
  for (const Index i : {0, 1, 2, 5}) weights["layers"][i]["weight"].get({4});
  const std::string error = finish_error(weights);
  EXPECT_NE(error.find("layers.{0-2,5}.weight: missing, expected [4]"), std::string::npos) << error;
  EXPECT_NE(error.find("not part of the model:\n  extra.{0-1}.x"), std::string::npos) << error;
}

TEST(WeightsTest, NumbersAreCollapsedWithoutLosingAName) {
  EXPECT_EQ(collapse_names({"a.7.b", "c", "a.9.b", "a.8.b", "a.8.c", "c.1", "c.2"}),
            (std::vector<std::string>{"a.{7-9}.b", "c", "a.8.c", "c.1", "c.2"}));
  EXPECT_EQ(collapse_names({"a.b", "a.1.b", "a.99999999999999999999.b"}),
            (std::vector<std::string>{"a.b", "a.1.b", "a.99999999999999999999.b"}));
}

TEST(WeightsTest, IntegersAndUnreadableTypesAreFaults) {
  const Weights integers =
      Weights::from_tensors({{"a", Tensor(std::vector<std::int64_t>{1}, {1})}});
  EXPECT_EQ(integers["a"].get({1}).data, nullptr);
  EXPECT_NE(finish_error(integers).find("a: stored as I64, expected a floating-point"),
            std::string::npos);
  const Weights unreadable(Checkpoint::open(std::filesystem::path(INSTRUCTBLIP_FIXTURES) /
                                            "checkpoint/types.safetensors"));
  EXPECT_EQ(unreadable["float64"].get({1}).data, nullptr);
  EXPECT_NE(finish_error(unreadable).find("tensor float64 is stored as F64"), std::string::npos);
}

TEST(WeightsTest, UnexpectedTensorsAreOneWarning) {
  LogCapture log;
  const Weights weights =
      some_weights({"used", "unknown.a", "unknown.b", "old.rotary_emb.inv_freq",
                    "embeddings.position_ids", "lm_head.weight", "other.model.x"});
  weights["used"].get({2, 3});
  weights["lm_head"].ignore();
  weights["other"].ignore();
  weights.finish();
  ASSERT_EQ(log.messages().size(), 1u);
  EXPECT_EQ(log.messages()[0],
            "tensors in memory: 2 tensors are not part of the model and stay unused:"
            "\n  unknown.a\n  unknown.b");
}

TEST(WeightsTest, APartOfAWholeCheckpointIgnoresOtherTensors) {
  LogCapture log;
  const Weights whole =
      some_weights({"vision_model.post.weight", "vision_model.more", "qformer.weight"});
  const Weights part =
      whole.at_first_prefix({"", "model.vision_model", "vision_model"}, "post.weight");
  EXPECT_EQ(part.name(), "vision_model");
  part["post"]["weight"].get({2, 3});
  part.finish();
  ASSERT_EQ(log.messages().size(), 1u);
  EXPECT_TRUE(log.contains("\n  vision_model.more"));
  EXPECT_FALSE(log.contains("qformer"));
  EXPECT_EQ(whole.at_first_prefix({"x", "y"}, "z").name(), "x");
}

TEST(WeightsTest, LoadingStopsEarlyIfTheConfigurationNeedsFarMore) {
  const Weights weights = some_weights({"a"});
  weights["a"].get({2, 4});
  try {
    for (Index i = 0; i < 4096; ++i) weights["layers"][i].get({1 << 20});
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("needs far more"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("a: found [2, 3], expected [2, 4]"),
              std::string::npos);
  }
  EXPECT_THROW(some_weights({"a"})["a"].get({Index{1} << 40, Index{1} << 40}), CheckpointError);
}

TEST(WeightsTest, ShapesAreCheckedWithoutData) {
  const auto checkpoint = Checkpoint::from_tensors(
      {{"a", Tensor(DType::BFloat16, {2, 3})}, {"b", Tensor(DType::Float32, {4})}});
  const Weights weights(Checkpoint::without_data(checkpoint));
  const SharedTensor a = weights["a"].get({2, 3});
  EXPECT_EQ(a.data, nullptr);
  EXPECT_EQ(a.dtype, DType::BFloat16);
  EXPECT_TRUE(weights.report().faults.empty());
  weights["b"].get({5});
  weights["c"].get({1});
  const WeightsReport report = weights.report();
  EXPECT_EQ(report.faults,
            (std::vector<std::string>{"b: found [4], expected [5]", "c: missing, expected [1]"}));
  EXPECT_TRUE(report.unexpected.empty());
}

TEST(WeightsTest, ATensorKeepsItsShardMapped) {
  const testing::TemporaryFolder folder;
  const Tensor one(std::vector<float>{7}, {1});
  save_safetensors(folder.path() / "model.safetensors", {{"x", one}});
  SharedTensor tensor;
  {
    const Weights weights(Checkpoint::open(folder.path()));
    tensor = weights["x"].get({1});
    weights.finish();
  }
  testing::expect_equal(tensor, one);
}

// How many pages of a file are in memory.
std::size_t pages_in_memory(const std::filesystem::path& path) {
  const std::size_t size = std::filesystem::file_size(path);
  const int file = ::open(path.c_str(), O_RDONLY);
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  ::close(file);
  std::vector<unsigned char> pages(size / static_cast<std::size_t>(::getpagesize()) + 1);
  EXPECT_EQ(::mincore(mapped, size, pages.data()), 0);
  ::munmap(mapped, size);
  return static_cast<std::size_t>(std::count_if(
      pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

void drop_from_memory(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  ::fsync(file);  // a page that is not written yet would stay
  ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  ::close(file);
}

TEST(WeightsTest, PrefetchReadsRequestedTensorsFromTheDisk) {
  if (INSTRUCTBLIP_TEST_IN_EMULATOR) GTEST_SKIP() << "madvise does nothing there";
  const testing::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "model.safetensors";
  constexpr Index kElements = Index{1} << 23;
  const Tensor large(DType::Float32, {kElements});
  save_safetensors(file, {{"asked", large}, {"not_asked", large}});
  const auto page = static_cast<std::size_t>(::getpagesize());
  const std::size_t tensor_pages = to_size(kElements) * sizeof(float) / page;
  drop_from_memory(file);
  if (pages_in_memory(file) > 0) GTEST_SKIP() << "this file system keeps its files in memory";

  const Weights plain(Checkpoint::open(file));
  plain["asked"].get({kElements});
  EXPECT_LT(pages_in_memory(file), tensor_pages);  // the kernel reads more than the header

  std::vector<Index> done;
  const auto progress = [&](const Progress& state) {
    done.push_back(state.done);
    EXPECT_GE(pages_in_memory(file), tensor_pages);  // counted once it is read
    EXPECT_EQ(state.total, 2 * kElements * Index{sizeof(float)});
  };
  const Weights weights(Checkpoint::open(file), {.progress = progress, .prefetch = true});
  const SharedTensor tensor = weights["asked"].get({kElements});
  EXPECT_GE(pages_in_memory(file), tensor_pages);
  EXPECT_LT(pages_in_memory(file), 2 * tensor_pages);
  EXPECT_EQ(done, std::vector<Index>{kElements * Index{sizeof(float)}});
}

#if defined(__linux__)
// Kilobytes of mapped files in this process's memory.
long resident_file_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stol(line.substr(8));
  }
  return -1;
}

TEST(WeightsTest, PagesOfATensorLeaveTheProcessWithIt) {
  if (INSTRUCTBLIP_TEST_IN_EMULATOR) GTEST_SKIP() << "madvise does nothing there";
  const testing::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "model.safetensors";
  constexpr Index kElements = Index{1} << 23;
  save_safetensors(file, {{"large", Tensor(DType::Float32, {kElements})}});
  const Weights weights(Checkpoint::open(file));
  const long before = resident_file_kilobytes();
  if (before < 0) GTEST_SKIP() << "this system does not count them";
  {
    const SharedTensor tensor = weights["large"].get({kElements});
    const std::span<const float> elements(static_cast<const float*>(tensor.data),
                                          to_size(kElements));
    EXPECT_EQ(std::accumulate(elements.begin(), elements.end(), 0.0f), 0.0f);
    EXPECT_GT(resident_file_kilobytes(), before + 20000);
  }
  EXPECT_LT(resident_file_kilobytes(), before + 8000);
  EXPECT_EQ(static_cast<const float*>(weights["large"].get({kElements}).data)[5], 0.0f);
}
#endif

TEST(WeightsTest, SameElementsComparesValues) {
  const Tensor a(std::vector<float>{1, 2}, {2}), b(std::vector<float>{1, 2}, {2}),
      c(std::vector<float>{1, 3}, {2});
  EXPECT_TRUE(same_elements(a, a));
  EXPECT_TRUE(same_elements(a, b));
  EXPECT_FALSE(same_elements(a, c));
  EXPECT_TRUE(same_elements(a, b.to(DType::BFloat16)));
  EXPECT_FALSE(same_elements(a, b.reshaped({1, 2})));
  EXPECT_FALSE(same_elements(a, TensorView(nullptr, DType::Float32, {2})));
}

}  // namespace
}  // namespace instructblip
