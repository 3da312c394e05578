#include "instructblip/kernels/dispatch.h"

#include <cstdlib>
#include <iostream>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

TEST(DispatchTest, AnUnknownLevelIsAnErrorThatListsTheLevels) {
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

// What a fresh process makes of INSTRUCTBLIP_KERNELS, on stderr.
void print_level(const char* variable) {
  setenv("INSTRUCTBLIP_KERNELS", variable, 1);
  try {
    std::cerr << "level " << kernel_level() << '\n';
  } catch (const InputError& error) {
    std::cerr << error.what() << '\n';
  }
  std::exit(0);
}

TEST(DispatchDeathTest, TheEnvironmentVariableChoosesTheLevel) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto done = testing::ExitedWithCode(0);
  EXPECT_EXIT(print_level("eigen"), done, "level eigen");
  EXPECT_EXIT(print_level(""), done, "level " + available_kernel_levels().front());
  EXPECT_EXIT(print_level("sse9"), done,
              "environment variable INSTRUCTBLIP_KERNELS: kernel level \"sse9\" is unknown, .*"
              "available: .*eigen");
}

}  // namespace
}  // namespace instructblip
