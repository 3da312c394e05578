// How much memory this process could still get.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace instructblip {

/// Bytes: the least of what the system can give without swapping and of the limits of the process's
/// control groups; nothing where neither is known. An upper bound: a group's limit counts what it
/// already uses. `proc`: where the system's files are; `mount`: where control groups are mounted.
std::optional<double> available_memory(const std::filesystem::path& proc = "/proc",
                                       const std::filesystem::path& mount = "/sys/fs/cgroup");

/// "12.3 GB".
std::string gigabytes(double bytes);

}  // namespace instructblip
