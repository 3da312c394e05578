#include "core/cgroups.h"

#include <fstream>
#include <string>

namespace instructblip {
namespace {

namespace fs = std::filesystem;

// Adds a group's folder and those of its parents. In a container the group's own path may not be
// mounted, but the mount itself then is the container's group.
void add_upwards(const fs::path& mount, const std::string& group, int version,
                 std::vector<CgroupFolder>& folders) {
  fs::path path = fs::path(group).relative_path();
  for (; !path.empty(); path = path.parent_path()) folders.push_back({mount / path, version});
  folders.push_back({mount, version});
}

}  // namespace

std::vector<CgroupFolder> cgroup_folders(std::string_view controller, const fs::path& proc_cgroup,
                                         const fs::path& mount) {
  std::ifstream groups(proc_cgroup);
  std::vector<CgroupFolder> folders;
  // "0::/group" (version 2) or "4:cpu,cpuacct:/group" (version 1).
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) add_upwards(mount, group, 2, folders);
    const std::string bounded = "," + controllers + ",", name(controller);
    if (bounded.find("," + name + ",") == bounded.npos) continue;
    add_upwards(mount / name, group, 1, folders);
    if (controllers != name) add_upwards(mount / controllers, group, 1, folders);
  }
  return folders;
}

}  // namespace instructblip
