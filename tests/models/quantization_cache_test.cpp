// LoadOptions::quantization_cache.
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <thread>
#include <tuple>

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "instructblip/models/auto_language_model.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_instructblip.h"
#include "instructblip/models/modeling_instructblip_vision.h"
#include "models/demo_models.h"
#include "models/instructblip_testing.h"
#include "support/compare.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;
using testing::demo_model;
using testing::LogCapture;
using testing::some_logits;
using testing::TemporaryFolder;
using Model = InstructBlipForConditionalGeneration;

std::string bytes_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_bytes(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

std::size_t header_bytes(const std::string& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  return sizeof(length) + length;
}

// Changes all codes and scales of a cache, but not its header: who reads them gives other results.
void poison(const fs::path& file) {
  std::string bytes = bytes_of(file);
  for (std::size_t i = header_bytes(bytes); i < bytes.size(); ++i) bytes[i] ^= 1;
  write_bytes(file, bytes);
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

bool are_equal(const Tensor& a, const Tensor& b) { return same_elements(a, b); }

// A copy of a small demo model that may be changed, and a folder for its cache.
class CachedModel {
 public:
  explicit CachedModel(const std::string& recipe = "int8") {
    fs::copy(demo_model("opt"), model(), fs::copy_options::recursive);
    options.quantization = quantization_recipe(recipe);
    options.quantization_cache = cache();
  }

  fs::path model() const { return folder_.path() / "model"; }
  fs::path weights() const { return model() / "model.safetensors"; }
  fs::path cache() const { return folder_.path() / "cache"; }
  fs::path file() const { return quantization_cache_file(model(), options); }
  Tensor logits() const { return some_logits(Model::from_pretrained(model(), options)); }
  Tensor logits_without_cache() const {
    LoadOptions plain = options;
    plain.quantization_cache.clear();
    return some_logits(Model::from_pretrained(model(), plain));
  }

  LoadOptions options;

 private:
  TemporaryFolder folder_;
};

class QuantizationCacheBitsTest
    : public ::testing::TestWithParam<std::tuple<const char*, const char*, bool>> {};

TEST_P(QuantizationCacheBitsTest, LaterLoadsGiveTheBitsOfTheFirst) {
  const auto [decoder, recipe, memory_map] = GetParam();
  const TemporaryFolder folder;
  LoadOptions options{.memory_map = memory_map, .quantization = quantization_recipe(recipe)};
  const Tensor expected = some_logits(Model::from_pretrained(demo_model(decoder), options));
  options.quantization_cache = folder.path() / "new" / "cache";
  const LogCapture log;
  testing::expect_equal(some_logits(Model::from_pretrained(demo_model(decoder), options)),
                        expected);
  const fs::path file = quantization_cache_file(demo_model(decoder), options);
  ASSERT_EQ(files_in(options.quantization_cache), std::vector<fs::path>{file});
  const std::string written = bytes_of(file);
  const auto time = fs::last_write_time(file);
  Progress last;
  options.progress = [&](const Progress& progress) { last = progress; };
  testing::expect_equal(some_logits(Model::from_pretrained(demo_model(decoder), options)),
                        expected);
  EXPECT_EQ(fs::last_write_time(file), time);
  EXPECT_EQ(last.done, last.total);
  EXPECT_EQ(bytes_of(file), written);
  // It was read.
  poison(file);
  EXPECT_FALSE(
      are_equal(some_logits(Model::from_pretrained(demo_model(decoder), options)), expected));
  EXPECT_TRUE(log.messages().empty()) << log.messages()[0];
}

INSTANTIATE_TEST_SUITE_P(
    Recipes, QuantizationCacheBitsTest,
    ::testing::Combine(::testing::Values("llama", "opt", "t5"),
                       ::testing::Values("int8", "int4",
                                         "qformer=int4-g32-zero,language=int4-g32,head=int8"),
                       ::testing::Bool()),
    [](const auto& info) {
      std::string name = std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param) +
                         (std::get<2>(info.param) ? "_mapped" : "_read");
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

// What happens to a cache or to its model, and whether that is worth a warning.
struct Change {
  const char* name;
  std::function<void(const CachedModel&)> make;
  const char* warning = nullptr;

  friend void PrintTo(const Change& change, std::ostream* stream) { *stream << change.name; }
};

void keep_time(const fs::path& file, const std::function<void()>& change) {
  const auto time = fs::last_write_time(file);
  change();
  fs::last_write_time(file, time);
}

void replace(const fs::path& file, const std::string& from, const std::string& to) {
  std::string bytes = bytes_of(file);
  const std::size_t place = bytes.find(from);
  ASSERT_NE(place, std::string::npos);
  bytes.replace(place, from.size(), to);
  write_bytes(file, bytes);
}

void rewrite(const fs::path& file, const std::function<void(std::map<std::string, Tensor>&)>& edit,
             std::map<std::string, std::string> more = {}) {
  std::map<std::string, Tensor> tensors;
  {
    const SafetensorsFile stored(file);
    more.insert(stored.metadata().begin(), stored.metadata().end());
    for (const auto& name : stored.names()) {
      tensors.emplace(name, Tensor::copy_of(*stored.find(name)));
    }
  }
  edit(tensors);
  const std::vector<std::pair<std::string, TensorView>> views(tensors.begin(), tensors.end());
  save_safetensors(file, views, more);
}

const Change kChanges[] = {
    {"ANewerModel",
     [](const CachedModel& m) {
       fs::last_write_time(m.weights(), fs::last_write_time(m.weights()) + std::chrono::seconds(1));
     }},
    {"OtherWeightsOfTheSameSizeAndTime",
     [](const CachedModel& m) {
       keep_time(m.weights(), [&] {
         std::string bytes = bytes_of(m.weights());
         for (std::size_t i = header_bytes(bytes); i < bytes.size(); i += 2) bytes[i] ^= 1;
         write_bytes(m.weights(), bytes);
       });
     }},
    {"AnotherHeaderOfTheSameSizeAndTime",
     [](const CachedModel& m) {
       keep_time(m.weights(), [&] { replace(m.weights(), "\"pt\"", "\"np\""); });
     }},
    {"AnotherSizeOfTheModel",
     [](const CachedModel& m) {
       keep_time(m.weights(), [&] {
         rewrite(m.weights(), [](const auto&) {}, {{"a", std::string(3000, 'a')}});
       });
     }},
    {"AnotherVersion",
     [](const CachedModel& m) {
       replace(m.file(), "\"version\":\"" + std::to_string(PreparedTiles::kVersion) + "\"",
               "\"version\":\"x\"");
     }},
    {"AnotherRecipe",
     [](const CachedModel& m) {
       CachedModel other("int4");
       LoadOptions options = other.options;
       options.quantization_cache = m.cache();
       Model::from_pretrained(m.model(), options);
       const fs::path file = quantization_cache_file(m.model(), options);
       EXPECT_NE(file, m.file());
       poison(file);
       fs::rename(file, m.file());
     }},
    {"ATruncatedCache",
     [](const CachedModel& m) { fs::resize_file(m.file(), fs::file_size(m.file()) - 1); },
     "truncated"},
    {"AnEmptyCache", [](const CachedModel& m) { fs::resize_file(m.file(), 0); }, "it is empty"},
    {"Garbage", [](const CachedModel& m) { write_bytes(m.file(), std::string(50'000, '\x07')); },
     "not a safetensors file"},
    {"AGarbledHeader",
     [](const CachedModel& m) { replace(m.file(), "{\"__metadata__\"", "{{__metadata__\""); },
     "header"},
    {"AForeignFile",
     [](const CachedModel& m) {
       const Tensor one(std::vector<float>{1}, {1});
       save_safetensors(m.file(), {{"a", one}});
     },
     "was not written as a cache"},
    {"TensorsOfAnotherShape",
     [](const CachedModel& m) {
       rewrite(m.file(), [](auto& tensors) {
         for (auto& [name, tensor] : tensors) {
           if (name.ends_with(".codes")) tensor = tensor.reshaped({-1});
         }
       });
     },
     "expected ["},
    {"ALinkWithoutATarget",
     [](const CachedModel& m) {
       fs::remove(m.file());
       fs::create_symlink(m.cache() / "none", m.file());
     },
     "none"},
};

class QuantizationCacheChangeTest : public ::testing::TestWithParam<Change> {};

TEST_P(QuantizationCacheChangeTest, IsNoticedAndTheCacheMadeAnew) {
  const CachedModel model;
  const Tensor before = model.logits();
  poison(model.file());
  EXPECT_FALSE(are_equal(model.logits(), before));
  GetParam().make(model);
  const Tensor expected = model.logits_without_cache();
  {
    const LogCapture log;
    testing::expect_equal(model.logits(), expected);
    if (GetParam().warning == nullptr) {
      EXPECT_TRUE(log.messages().empty()) << log.messages()[0];
    } else {
      ASSERT_EQ(log.messages().size(), 1u);
      EXPECT_TRUE(log.contains(GetParam().warning)) << log.messages()[0];
      EXPECT_TRUE(log.contains(model.file().string())) << log.messages()[0];
    }
  }
  const LogCapture log;
  const auto time = fs::last_write_time(model.file());
  testing::expect_equal(model.logits(), expected);
  EXPECT_EQ(fs::last_write_time(model.file()), time);
  EXPECT_EQ(files_in(model.cache()), std::vector<fs::path>{model.file()});
  EXPECT_TRUE(log.messages().empty()) << log.messages()[0];
}

INSTANTIATE_TEST_SUITE_P(Changes, QuantizationCacheChangeTest, ::testing::ValuesIn(kChanges),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(QuantizationCacheTest, ACacheThatCannotBeWrittenIsAWarning) {
  CachedModel model;
  const Tensor expected = model.logits_without_cache();
  write_bytes(model.cache(), "a file");
  const auto expect_warning = [&](const std::string& text) {
    const LogCapture log;
    testing::expect_equal(model.logits(), expected);
    EXPECT_TRUE(log.contains(text)) << log.messages().size();
    EXPECT_TRUE(log.contains(model.file().string() + ": cannot be written"));
  };
  expect_warning("is not kept for the next start");
  fs::remove(model.cache());
  fs::create_directories(model.file() / "a folder of its name");
  expect_warning("not a regular file");
}

TEST(QuantizationCacheTest, AFullDiskLeavesNothingBehind) {
  const CachedModel model;
  const Tensor expected = model.logits_without_cache();
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{200'000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  {
    const LogCapture log;
    testing::expect_equal(model.logits(), expected);
    EXPECT_TRUE(log.contains("cannot be written")) << log.messages().size();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(files_in(model.cache()).empty());
}

TEST(QuantizationCacheTest, SeveralLoadsAtOnceWriteOneFile) {
  const CachedModel model;
  const Tensor expected = model.logits_without_cache();
  const LogCapture log;
  std::vector<Tensor> found(6);
  std::vector<std::thread> threads;
  for (Tensor& logits : found) threads.emplace_back([&] { logits = model.logits(); });
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& logits : found) testing::expect_equal(logits, expected);
  EXPECT_EQ(files_in(model.cache()), std::vector<fs::path>{model.file()});
  testing::expect_equal(model.logits(), expected);
  EXPECT_TRUE(log.messages().empty()) << log.messages()[0];
}

TEST(QuantizationCacheTest, WhatKilledProcessesLeftIsRemovedButNotWhatOthersWrite) {
  const CachedModel model;
  fs::create_directories(model.cache());
  const auto left = [&](const char* name) {
    fs::path path = model.file();
    path += std::string(".") + name + ".unfinished";
    write_bytes(path, "begun");
    return path;
  };
  const fs::path killed = left("killed"), writing = left("writing");
  const fs::path other = model.cache() / "other.safetensors.1.unfinished";
  write_bytes(other, "begun");
  const int file = ::open(writing.c_str(), O_WRONLY);
  ASSERT_EQ(::flock(file, LOCK_EX), 0);
  model.logits();
  ::close(file);
  EXPECT_FALSE(fs::exists(killed));
  EXPECT_TRUE(fs::exists(writing));
  EXPECT_TRUE(fs::exists(other));
  EXPECT_TRUE(fs::exists(model.file()));
}

TEST(QuantizationCacheTest, PartsThatAreLoadedAloneShareTheFile) {
  for (const bool memory_map : {true, false}) {
    CachedModel model;
    model.options.memory_map = memory_map;
    const Tensor expected = model.logits_without_cache();
    const auto load_vision = [&] {
      InstructBlipVisionModel::from_pretrained(model.model(), model.options);
    };
    const auto load_language = [&] {
      AutoLanguageModel::from_pretrained(model.model(), model.options);
    };
    const auto tensors = [&] { return SafetensorsFile(model.file()).names().size(); };
    load_vision();
    const std::size_t vision = tensors();
    poison(model.file());
    load_language();
    const std::size_t both = tensors();
    EXPECT_GT(both, vision);
    const auto time = fs::last_write_time(model.file());
    load_vision();
    load_language();
    EXPECT_FALSE(are_equal(model.logits(), expected));  // the poisoned tensors were kept
    EXPECT_EQ(fs::last_write_time(model.file()), time);
    EXPECT_EQ(tensors(), both);
    fs::remove(model.file());
    load_language();
    testing::expect_equal(model.logits(), expected);
    EXPECT_EQ(tensors(), both);
    testing::expect_equal(model.logits(), expected);
  }
}

TEST(QuantizationCacheTest, AnAdapterHasACacheOfItsOwn) {
  const TemporaryFolder folder;
  const fs::path adapter = folder.path() / "adapter";
  fs::copy(testing::fixtures_folder() / "adapters" / "opt_dora", adapter);
  const fs::path base = testing::checkpoint_folder("opt");
  const testing::ForwardCase call(testing::Fixture("instructblip/opt/expected"), "forward.left.");
  InstructBlipInputs inputs = call.inputs;
  inputs.labels = {};
  LoadOptions options{.quantization = quantization_recipe("int8"),
                      .quantization_cache = folder.path() / "cache"};
  const auto logits = [&](bool with_adapter, bool with_cache) {
    LoadOptions chosen = options;
    if (with_adapter) chosen.adapter = adapter;
    if (!with_cache) chosen.quantization_cache.clear();
    return Model::from_pretrained(base, chosen).forward(inputs).logits;
  };
  const Tensor plain = logits(false, false), merged = logits(true, false);
  EXPECT_FALSE(are_equal(plain, merged));
  for (int i = 0; i < 2; ++i) {
    testing::expect_equal(logits(false, true), plain);
    testing::expect_equal(logits(true, true), merged);
  }
  EXPECT_EQ(files_in(options.quantization_cache).size(), 2u);
  options.adapter = adapter;
  poison(quantization_cache_file(base, options));
  EXPECT_FALSE(are_equal(logits(true, true), merged));
  const fs::path file = adapter / "adapter_config.json";
  fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(1));
  testing::expect_equal(logits(true, true), merged);
  EXPECT_EQ(files_in(options.quantization_cache).size(), 2u);
}

TEST(QuantizationCacheTest, NothingIsKeptOfALoadThatFailsOrThatReadChangingFiles) {
  CachedModel model;
  struct Cancelled {};
  model.options.progress = [&](const Progress& progress) {
    if (progress.fraction() > 0.9) throw Cancelled();
  };
  EXPECT_THROW(model.logits(), Cancelled);
  EXPECT_FALSE(fs::exists(model.file()));
  model.options.progress = [&](const Progress& progress) {
    if (progress.fraction() < 0.9) return;
    fs::last_write_time(model.weights(), fs::file_time_type::clock::now());
  };
  {
    const LogCapture log;
    model.logits();
    EXPECT_TRUE(log.contains("have changed while they were loaded")) << log.messages().size();
  }
  EXPECT_FALSE(fs::exists(model.file()));
  std::vector<std::string> stages;
  model.options.progress = [&](const Progress& progress) { stages.push_back(progress.stage); };
  model.logits();
  EXPECT_EQ(stages.back(), "writing " + model.file().string());
}

TEST(QuantizationCacheTest, TheModelOutlivesItsCache) {
  const CachedModel model;
  const Tensor expected = model.logits();
  const Model cached = Model::from_pretrained(model.model(), model.options);
  fs::remove_all(model.cache());
  testing::expect_equal(some_logits(cached), expected);
  model.logits();
  testing::expect_equal(some_logits(cached), expected);
}

TEST(QuantizationCacheTest, TheFileIsNamedAfterTheFolderAndTheRecipe) {
  LoadOptions options;
  EXPECT_TRUE(quantization_cache_file("a/vicuna", options).empty());
  options.quantization = quantization_recipe("int4");
  EXPECT_TRUE(quantization_cache_file("a/vicuna", options).empty());
  options.quantization_cache = "/cache";
  const fs::path file = quantization_cache_file("a/vicuna", options);
  EXPECT_EQ(file.parent_path(), "/cache");
  EXPECT_TRUE(
      file.filename().string().starts_with("vicuna-vision=int8,language=int4-g128,head=int8-"));
  EXPECT_EQ(quantization_cache_file("a/../a/vicuna/", options), file);
  EXPECT_EQ(quantization_cache_file(fs::absolute("a/vicuna"), options), file);
  EXPECT_NE(quantization_cache_file("b/vicuna", options), file);
  options.adapter = "adapter";
  EXPECT_NE(quantization_cache_file("a/vicuna", options), file);
  const fs::path hub = "/hub/models--Salesforce--instructblip-vicuna-7b/snapshots/0123abcd";
  EXPECT_TRUE(quantization_cache_file(hub, options)
                  .filename()
                  .string()
                  .starts_with("models--Salesforce--instructblip-vicuna-7b-"));
}

class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const char* value) : name_(name) {
    if (const char* found = std::getenv(name)) before_ = found;
    set(value);
  }
  ~EnvironmentVariable() { set(before_ ? before_->c_str() : nullptr); }

 private:
  void set(const char* value) { value == nullptr ? ::unsetenv(name_) : ::setenv(name_, value, 1); }
  const char* name_;
  std::optional<std::string> before_;
};

TEST(QuantizationCacheTest, TheDefaultFolderFollowsTheEnvironment) {
  const auto folder = [](const char* own, const char* cache, const char* home) {
    const EnvironmentVariable a("INSTRUCTBLIP_CACHE", own), b("XDG_CACHE_HOME", cache),
        c("HOME", home);
    return default_cache_folder().string();
  };
  EXPECT_EQ(folder("/own", "/xdg", "/home/me"), "/own");
  EXPECT_EQ(folder("", "/xdg", "/home/me"), "");
  EXPECT_EQ(folder(nullptr, "/xdg", "/home/me"), "/xdg/instructblip");
  EXPECT_EQ(folder(nullptr, "relative", "/home/me"), "/home/me/.cache/instructblip");
  EXPECT_EQ(folder(nullptr, nullptr, "/home/me"), "/home/me/.cache/instructblip");
  EXPECT_EQ(folder(nullptr, nullptr, nullptr), "");
}

}  // namespace
}  // namespace instructblip
