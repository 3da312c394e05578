#include "core/cpu_quota.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "core/cgroups.h"

namespace instructblip {

std::optional<int> cpu_quota(const std::filesystem::path& proc_cgroup,
                             const std::filesystem::path& mount) {
  std::optional<double> least;
  for (const auto& [folder, version] : cgroup_folders("cpu", proc_cgroup, mount)) {
    double quota = 0, period = 0;
    if (version == 2) {  // cpu.max holds "max 100000" or "200000 100000"
      std::ifstream file(folder / "cpu.max");
      file >> quota >> period;
    } else {
      std::ifstream quota_file(folder / "cpu.cfs_quota_us");
      std::ifstream period_file(folder / "cpu.cfs_period_us");
      quota_file >> quota;
      period_file >> period;
    }
    if (quota > 0 && period > 0) least = std::min(least.value_or(quota / period), quota / period);
  }
  if (!least) return std::nullopt;
  return std::max(1, static_cast<int>(std::ceil(std::min(*least, 1e6))));
}

}  // namespace instructblip
