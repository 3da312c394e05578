// Text files, read and written whole.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include "instructblip/core/error.h"

namespace instructblip {

/// The whole file. Throws E if it is absent, a folder, or cannot be read.
template <class E = ConfigError>
std::string read_text_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) throw E(path.string() + ": no such file");
  if (std::filesystem::is_directory(path, ignored)) {
    throw E(path.string() + ": expected a file, found a folder");
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.is_open() || stream.bad()) throw E(path.string() + ": cannot be read");
  return text;
}

/// Replaces the file; its folder is made if it is not there. Throws E if either fails.
template <class E = ConfigError>
void write_text_file(const std::filesystem::path& path, std::string_view text) {
  std::error_code ignored;  // what matters shows when the file is opened
  std::filesystem::create_directories(path.parent_path(), ignored);
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(text.data(), static_cast<std::streamsize>(text.size()));
  stream.close();
  if (!stream) throw E(path.string() + ": cannot be written; check its folder and permissions");
}

}  // namespace instructblip
