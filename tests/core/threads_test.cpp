#include "instructblip/core/threads.h"

#include <atomic>
#include <cfenv>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

TEST(ThreadsTest, EveryIndexIsVisitedOnceWithAnyNumberOfThreads) {
  const int before = num_threads();
  for (int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    for (Index count : {0, 1, 2, 5, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      parallel_for(count, 1, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      for (const auto& n : visits) EXPECT_EQ(n, 1);
    }
  }
  set_num_threads(before);
}

TEST(ThreadsTest, NestedCallsAndSeveralCallersFinish) {
  std::vector<std::thread> callers;
  std::atomic<Index> sum = 0;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 100; ++repeat) {
        parallel_for(8, 1, [&](Index begin, Index end) {
          parallel_for(end - begin, 1, [&](Index b, Index e) { sum += e - b; });
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 100 * 8);
}

TEST(ThreadsTest, AnExceptionReachesTheCaller) {
  EXPECT_THROW(parallel_for(64, 1,
                            [](Index, Index end) {
                              if (end == 64) throw InputError("from a worker");
                            }),
               InputError);
  EXPECT_THROW(set_num_threads(0), InputError);
}

TEST(ThreadsTest, EveryRangeIsComputedInTheCallersFloatingPointMode) {
  const int before = num_threads();
  set_num_threads(4);
  const volatile float one = 1, three = 3, tiny = 1e-38f, half = 0.5f;
  const auto third = [&] { return one / three; };
  const auto subnormal = [&] { return tiny * half; };
  const auto expect_everywhere = [](const auto& value, float expected) {
    std::vector<float> values(4);
    parallel_for(4, 1, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) values[static_cast<std::size_t>(i)] = value();
    });
    EXPECT_EQ(values, std::vector<float>(4, expected));
  };
  expect_everywhere(third, 0x1.555556p-2f);
  std::fesetround(FE_DOWNWARD);
  expect_everywhere(third, 0x1.555554p-2f);
  std::fesetround(FE_TONEAREST);
  expect_everywhere(third, 0x1.555556p-2f);
#if defined(__x86_64__)
  expect_everywhere(subnormal, 0.5e-38f);
  const unsigned mode = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(mode | 0x8040);  // results and operands are flushed to zero
  expect_everywhere(subnormal, 0.0f);
  __builtin_ia32_ldmxcsr(mode);
#endif
  expect_everywhere(subnormal, 0.5e-38f);
  set_num_threads(before);
}

TEST(ThreadsDeathTest, TheEnvironmentVariableMustBeAPositiveNumber) {
  if (INSTRUCTBLIP_TEST_IN_EMULATOR) GTEST_SKIP() << "a program cannot start itself again there";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto threads_with = [](const char* text) {
    setenv("INSTRUCTBLIP_NUM_THREADS", text, 1);
    try {
      std::exit(num_threads());
    } catch (const InputError& error) {
      std::cerr << error.what();
      std::exit(100);
    }
  };
  EXPECT_EXIT(threads_with("3"), ::testing::ExitedWithCode(3), "");
  for (const char* wrong : {"2x", "x", "0", "-1", "", " 2", "99999999999999"}) {
    EXPECT_EXIT(threads_with(wrong), ::testing::ExitedWithCode(100), "expected a positive number");
  }
}

}  // namespace
}  // namespace instructblip
