#include "core/available_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

#include "core/cgroups.h"

namespace instructblip {

std::optional<double> available_memory(const std::filesystem::path& proc,
                                       const std::filesystem::path& mount) {
  std::optional<double> least;
  const auto take = [&](double bytes) { least = std::min(least.value_or(bytes), bytes); };
  std::ifstream system(proc / "meminfo");
  for (std::string name; system >> name;) {
    double kibibytes = 0;
    if (name == "MemAvailable:" && system >> kibibytes) take(kibibytes * 1024);
  }
  for (const auto& [folder, version] : cgroup_folders("memory", proc / "self/cgroup", mount)) {
    std::ifstream file(folder / (version == 2 ? "memory.max" : "memory.limit_in_bytes"));
    double bytes = 0;  // or "max"
    if (file >> bytes && bytes > 0) take(bytes);
  }
  return least;
}

std::string gigabytes(double bytes) {
  char text[400];
  const auto end = std::to_chars(text, text + sizeof(text), bytes / 1e9, std::chars_format::fixed,
                                 bytes < 1e12 ? 1 : 0);
  return std::string(text, end.ptr) + " GB";
}

}  // namespace instructblip
