// Whether a disk has room for what is to be written.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>

namespace instructblip {

/// Throws E, which begins with `what`, if the disk of `folder` has fewer than `bytes` bytes left.
template <class E>
void require_space(const std::filesystem::path& folder, std::size_t bytes,
                   const std::string& what) {
  const auto in_megabytes = [](std::size_t count) {
    return std::to_string((count + 999'999) / 1'000'000) + " MB";
  };
  std::error_code code;
  const std::filesystem::space_info space = std::filesystem::space(folder, code);
  if (code || space.available >= bytes) return;
  throw E(what + ": " + in_megabytes(bytes) + " are needed, but the disk has only " +
          in_megabytes(space.available) + " left");
}

}  // namespace instructblip
