// The whole library in applications that fork, end early, run on small stacks, or have changed
// their floating-point mode or locale.
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <climits>
#include <clocale>
#include <locale>
#include <thread>

#include "end_to_end/demo_files.h"
#include "support/child_process.h"
#include "support/compare.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::in_child_process;
using testing::kAssets;

const std::string kFine = "exited with 0";
const std::string kExpected = "it says tea";
#if defined(__SANITIZE_ADDRESS__)
constexpr int kRepeats = 10;
#else
constexpr int kRepeats = 30;
#endif

// Never destroyed: threads use them while the process ends.
const Image& scene() {
  static const Image& image = *new Image(Image::open(kAssets / "scene.png"));
  return image;
}

const testing::Demo& demo() {
  static const testing::Demo& demo = *new testing::Demo{
      InstructBlipProcessor::from_pretrained(testing::demo_folder("llama")),
      InstructBlipForConditionalGeneration::from_pretrained(testing::demo_folder("llama"))};
  return demo;
}

GenerateOutput generate(Index beams = 1) {
  const BatchFeature inputs = demo().processor({scene()}, {"what does the sign say?"});
  return demo().model.generate(inputs,
                               {.max_new_tokens = 8, .num_beams = beams, .output_logits = true});
}

std::string ask(Index beams = 1) {
  return demo().processor.batch_decode(generate(beams).new_tokens(),
                                       {.skip_special_tokens = true})[0];
}

TEST(EnvironmentTest, AForkedProcessAnswersWhileItsParentGenerates) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "a fork may copy a lock of this sanitizer's allocator that another thread holds";
#endif
  ASSERT_EQ(ask(), kExpected);
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    while (!stop) ask(2);
  });
  for (int i = 0; i < kRepeats; ++i) {
    EXPECT_EQ(in_child_process([] { return ask() == kExpected ? 0 : 1; }), kFine) << i;
  }
  stop = true;
  busy.join();
  EXPECT_EQ(ask(), kExpected);
}

TEST(EnvironmentTest, AProcessEndsWhileAnotherThreadGenerates) {
  ASSERT_EQ(ask(), kExpected);
  for (int i = 0; i < kRepeats; ++i) {
    EXPECT_EQ(in_child_process([i]() -> int {
                std::thread([i] {
                  while (true) ask(1 + i % 2);
                }).detach();
                std::this_thread::sleep_for(std::chrono::microseconds(i * 997 % 40000));
                if (i % 3 == 2) std::quick_exit(0);
                std::exit(0);
              }),
              kFine)
        << i;
  }
}

TEST(EnvironmentTest, AnswersDoNotDependOnThreadsInAnyFloatingPointMode) {
  const int before = num_threads();
  const Tensor plain = generate().logits.at(0);
  const auto with_threads = [](int count) {
    set_num_threads(count);
    return generate().logits.at(0);
  };
  for (const int rounding : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(rounding);
    const Tensor one = with_threads(1), four = with_threads(4);
    std::fesetround(FE_TONEAREST);
    testing::expect_equal(four, one);
    testing::expect_close(one, plain, 1e-4);
  }
#if defined(__x86_64__)
  const unsigned mode = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(mode | 0x8040);  // results and operands are flushed to zero
  const Tensor one = with_threads(1), four = with_threads(4);
  __builtin_ia32_ldmxcsr(mode);
  testing::expect_equal(four, one);
  testing::expect_close(one, plain, 1e-5);
#endif
  testing::expect_equal(with_threads(4), plain);
  set_num_threads(before);
}

// As by a download over a checkpoint in use.
TEST(EnvironmentTest, AModelThatWasReadAnswersWhenItsFilesAreTruncated) {
  const testing::TemporaryFolder folder;
  std::filesystem::copy(testing::demo_folder("llama"), folder.path(),
                        std::filesystem::copy_options::recursive);
  const std::filesystem::path weights = folder.path() / "model.safetensors";
  const auto answer = [&](const LoadOptions& options) {
    const auto [processor, model] = load(folder.path(), options);
    std::filesystem::resize_file(weights, 1);
    const BatchFeature inputs = processor({scene()}, {"what does the sign say?"});
    return processor.batch_decode(model.generate(inputs, {.max_new_tokens = 8}).new_tokens(),
                                  {.skip_special_tokens = true})[0];
  };
  EXPECT_EQ(answer({.memory_map = false}), kExpected);
  // If it happens while the model is loaded, the error says so.
  std::filesystem::copy(testing::demo_folder("llama") / "model.safetensors", weights,
                        std::filesystem::copy_options::overwrite_existing);
  const auto truncate = [&](const Progress& progress) {
    if (progress.fraction() > 0.3) std::filesystem::resize_file(weights, 5000);
  };
  try {
    answer({.progress = truncate, .memory_map = false});
    ADD_FAILURE();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("shortened"), std::string::npos) << error.what();
  }
}

struct CommaForPoint : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(EnvironmentTest, TheLocaleChangesNothing) {
  const testing::TemporaryFolder folder;
  const GenerationConfig config{.max_new_tokens = 123456, .top_p = 0.25};
  const std::string json = config.to_json();
  const std::locale before =
      std::locale::global(std::locale(std::locale::classic(), new CommaForPoint));
  for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8"}) {
    if (std::setlocale(LC_ALL, name) != nullptr) break;  // if the machine has one
  }
  EXPECT_EQ(config.to_json(), json);
  EXPECT_EQ(GenerationConfig::from_json(json), config);
  const auto [processor, model] = load(kAssets / "instructblip-demo");
  const BatchFeature inputs = processor({scene()}, {"what does the sign say?"});
  EXPECT_EQ(processor.batch_decode(model.generate(inputs, {.max_new_tokens = 8}).new_tokens(),
                                   {.skip_special_tokens = true})[0],
            kExpected);
  processor.save_pretrained(folder.path());
  EXPECT_NO_THROW(InstructBlipProcessor::from_pretrained(folder.path()));
  try {
    Tensor(std::vector<float>(12345), {12346});
    ADD_FAILURE();
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).find('.'), std::string::npos) << error.what();
  }
  std::setlocale(LC_ALL, "C");
  std::locale::global(before);
}

#if !defined(__SANITIZE_ADDRESS__)  // its frames are several times larger
// Runs `body` on a thread with a stack of this size.
void on_small_stack(std::size_t bytes, const std::function<void()>& body) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, bytes), 0);
  pthread_t thread;
  const auto run = [](void* argument) -> void* {
    (*static_cast<const std::function<void()>*>(argument))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&body)),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(EnvironmentTest, EveryCallRunsOnASmallStack) {
  on_small_stack(std::max<std::size_t>(64 << 10, to_size(PTHREAD_STACK_MIN)), [&] {
    EXPECT_EQ(ask(1), kExpected);
    EXPECT_EQ(ask(3), kExpected);
    EXPECT_NO_THROW(load(kAssets / "instructblip-demo-t5"));
    int decoded = 0;
    for (const auto& entry : std::filesystem::directory_iterator(testing::kDemoAnswers)) {
      const auto extension = entry.path().extension();
      if (extension != ".png" && extension != ".jpg") continue;
      EXPECT_NO_THROW(Image::open(entry.path())) << entry.path();
      ++decoded;
    }
    EXPECT_GT(decoded, 5);
  });
}
#endif

}  // namespace
}  // namespace instructblip
