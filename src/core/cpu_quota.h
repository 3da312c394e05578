// The CPU quota of a Linux control group: how many CPUs' time a container may use.
#pragma once

#include <filesystem>
#include <optional>

namespace instructblip {

/// The smallest quota, in CPUs, of the process's control group and its parents; rounded up to whole
/// CPUs. Reads version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`). Nothing without a quota or
/// where there are no such files. `proc_cgroup`: lists the groups; `mount`: where they are mounted.
std::optional<int> cpu_quota(const std::filesystem::path& proc_cgroup = "/proc/self/cgroup",
                             const std::filesystem::path& mount = "/sys/fs/cgroup");

}  // namespace instructblip
