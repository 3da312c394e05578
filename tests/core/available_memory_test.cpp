#include "core/available_memory.h"

#include "support/temporary_folder.h"

namespace instructblip {
namespace {

TEST(AvailableMemoryTest, IsTheLeastOfTheSystemsAndTheGroups) {
  const testing::TemporaryFolder folder;
  const auto available = [&] {
    return available_memory(folder.path() / "proc", folder.path() / "mount");
  };
  EXPECT_EQ(available(), std::nullopt);
  folder.write("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 100 kB\nMemAvailable:   8000 kB\n");
  EXPECT_EQ(available(), 8000.0 * 1024);
  folder.write("proc/self/cgroup", "0::/a\n7:memory:/b\n");
  folder.write("mount/a/memory.max", "max\n");
  EXPECT_EQ(available(), 8000.0 * 1024);
  folder.write("mount/memory.max", "7000000\n");
  EXPECT_EQ(available(), 7e6);
  folder.write("mount/memory/b/memory.limit_in_bytes", "6000000\n");
  EXPECT_EQ(available(), 6e6);
}

TEST(AvailableMemoryTest, IsKnownOnLinux) {
#if defined(__linux__)
  EXPECT_GT(available_memory().value_or(0), 1e6);
#endif
  EXPECT_EQ(gigabytes(12'345'678'901), "12.3 GB");
}

}  // namespace
}  // namespace instructblip
