#include "core/cpu_quota.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace instructblip {
namespace {

namespace fs = std::filesystem;

void take_smaller(std::optional<double>& least, double quota, double period) {
  if (quota > 0 && period > 0) least = std::min(least.value_or(quota / period), quota / period);
}

// cpu.max holds "max 100000" or "200000 100000".
void read_version_2(const fs::path& folder, std::optional<double>& least) {
  std::ifstream file(folder / "cpu.max");
  double quota = 0, period = 0;
  if (file >> quota >> period) take_smaller(least, quota, period);
}

void read_version_1(const fs::path& folder, std::optional<double>& least) {
  std::ifstream quota_file(folder / "cpu.cfs_quota_us"), period_file(folder / "cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (quota_file >> quota && period_file >> period) take_smaller(least, quota, period);
}

// Reads a group's folder and those of its parents. In a container the group's own path may not be
// mounted, but the mount itself then is the container's group.
template <class Read>
void read_upwards(const fs::path& mount, const std::string& group, std::optional<double>& least,
                  const Read& read) {
  fs::path path = fs::path(group).relative_path();
  for (; !path.empty(); path = path.parent_path()) read(mount / path, least);
  read(mount, least);
}

}  // namespace

std::optional<int> cpu_quota(const fs::path& proc_cgroup, const fs::path& mount) {
  std::ifstream groups(proc_cgroup);
  std::optional<double> least;
  // "0::/group" (version 2) or "4:cpu,cpuacct:/group" (version 1).
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") read_upwards(mount, group, least, read_version_2);
    if (controllers.find(",cpu,") == controllers.npos) continue;
    read_upwards(mount / "cpu", group, least, read_version_1);
    read_upwards(mount / "cpu,cpuacct", group, least, read_version_1);
  }
  if (!least) return std::nullopt;
  return std::max(1, static_cast<int>(std::ceil(std::min(*least, 1e6))));
}

}  // namespace instructblip
