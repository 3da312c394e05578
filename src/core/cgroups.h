// The Linux control groups of this process, which bound what a container may use.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace instructblip {

/// The folder of a group's files, which may not exist.
struct CgroupFolder {
  std::filesystem::path path;
  int version = 2;
};

/// The folders of the process's group for a controller ("cpu") and of the group's parents.
/// `proc_cgroup`: lists the groups; `mount`: where they are mounted.
std::vector<CgroupFolder> cgroup_folders(
    std::string_view controller, const std::filesystem::path& proc_cgroup = "/proc/self/cgroup",
    const std::filesystem::path& mount = "/sys/fs/cgroup");

}  // namespace instructblip
