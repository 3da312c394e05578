#include "instructblip/kernels/dispatch.h"

#include <cstdlib>
#include <iostream>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

TEST(DispatchTest, UnknownLevelIsRejectedWithAListOfAvailableLevels) {
  const std::string before = kernel_level();
  try {
    force_kernel_level("mmx");
    ADD_FAILURE();
  } catch (const InputError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("\"mmx\""), std::string::npos) << text;
    EXPECT_NE(text.find("eigen"), std::string::npos) << text;
  }
  EXPECT_EQ(kernel_level(), before);
  EXPECT_EQ(available_kernel_levels().back(), "eigen");
}

// Prints the level that a new process selects with this value of INSTRUCTBLIP_KERNELS, or the error
// message.
void print_level(const char* variable) {
  setenv("INSTRUCTBLIP_KERNELS", variable, 1);
  try {
    std::cerr << "level " << kernel_level() << '\n';
  } catch (const InputError& error) {
    std::cerr << error.what() << '\n';
  }
  std::exit(0);
}

TEST(DispatchDeathTest, EnvironmentVariableSelectsTheLevel) {
  if (INSTRUCTBLIP_TEST_IN_EMULATOR) GTEST_SKIP() << "a program cannot start itself again there";
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto done = testing::ExitedWithCode(0);
  EXPECT_EXIT(print_level(""), done, "level " + available_kernel_levels().front());
  std::string available;
  for (const std::string& level : available_kernel_levels()) {
    EXPECT_EXIT(print_level(level.c_str()), done, "level " + level);
    available += (available.empty() ? "" : ", ") + level;
  }
  for (const std::string level : {"sse9", "avx512"}) {
    if (available.find(level) != std::string::npos) continue;
    EXPECT_EXIT(print_level(level.c_str()), done,
                "environment variable INSTRUCTBLIP_KERNELS: kernel level \"" + level +
                    "\" is not available on this machine; available: " + available + "\n");
  }
}

#if defined(__x86_64__)
TEST(DispatchTest, Avx2IsAvailableOnACpuThatSupportsIt) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    GTEST_SKIP() << "this machine has no AVX2";
  }
  const auto levels = available_kernel_levels();
  EXPECT_NE(std::find(levels.begin(), levels.end(), "avx2"), levels.end());
}

TEST(DispatchTest, PairsOfBFloat16ComeFirstOnlyWhereTheyAreFast) {
  const auto levels = available_kernel_levels();
  const auto pairs = std::find(levels.begin(), levels.end(), "avx512_bf16");
  if (pairs == levels.end()) GTEST_SKIP() << "this machine has no AVX512-BF16";
  const auto bytes = std::find(levels.begin(), levels.end(), "avx512_vnni");
  EXPECT_EQ(pairs < bytes, __builtin_cpu_is("amd") != 0);
}
#endif

}  // namespace
}  // namespace instructblip
