#include "core/cpu_quota.h"

#include "support/temporary_folder.h"

namespace instructblip {
namespace {

class CpuQuotaTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) { folder_.write(name, text); }
  std::optional<int> quota() const {
    return cpu_quota(folder_.path() / "cgroup", folder_.path() / "mount");
  }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(CpuQuotaTest, ThereIsNoneWithoutFilesOrLimit) {
  EXPECT_EQ(quota(), std::nullopt);
  write("cgroup", "0::/a/b\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("mount/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(CpuQuotaTest, TheSmallestQuotaOfAGroupAndItsParentsCounts) {
  write("cgroup", "0::/a/b\n");
  write("mount/a/b/cpu.max", "400000 100000\n");
  EXPECT_EQ(quota(), 4);
  write("mount/a/cpu.max", "150000 100000\n");
  EXPECT_EQ(quota(), 2);  // 1.5 CPUs
  write("mount/cpu.max", "50000 100000\n");
  EXPECT_EQ(quota(), 1);
}

TEST_F(CpuQuotaTest, AContainersMountIsItsOwnGroup) {
  write("cgroup", "0::/../../docker/0123\n");
  write("mount/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota(), 2);
}

TEST_F(CpuQuotaTest, ReadsVersion1) {
  write("cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/0123\n");
  write("mount/cpu/docker/0123/cpu.cfs_quota_us", "-1\n");
  write("mount/cpu/docker/0123/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("mount/cpu/docker/0123/cpu.cfs_quota_us", "300000\n");
  EXPECT_EQ(quota(), 3);
}

}  // namespace
}  // namespace instructblip
