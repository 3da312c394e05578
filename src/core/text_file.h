// Reads and writes whole text files.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include "core/file_kind.h"
#include "instructblip/core/error.h"

namespace instructblip {

/// Throws E if nothing exists at `path`, which may be a name on the hub, or if it is a model's
/// folder in the hub's cache.
template <class E>
void require_path(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    const std::string foreign = foreign_folder(path);
    if (foreign.empty()) return;
    throw E(path.string() + ": " + foreign);
  }
  if (is_dangling_link(path)) throw E(path.string() + ": " + missing_file(path));
  throw E((path.empty() ? "\"\"" : path.string()) +
          ": no such folder or file (nothing is downloaded; give a local path)");
}

/// Throws E if nothing exists at `path`, or if it is a file.
template <class E>
void require_folder(const std::filesystem::path& path) {
  require_path<E>(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return;
  throw E(path.string() + ": expected a folder, found a file");
}

/// Whether there is a file (not a folder) at `path`. A link without a target counts: reading
/// it gives an error that says so.
inline bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) || is_dangling_link(path);
}

/// The contents of a file. Throws E if it does not exist, is a folder, cannot be read, or holds
/// something else that stands in its place (core/file_kind.h).
template <class E = ConfigError>
std::string read_text_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) throw E(path.string() + ": " + missing_file(path));
  if (std::filesystem::is_directory(path, ignored)) {
    throw E(path.string() + ": expected a file, found a folder");
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.is_open() || stream.bad())
    throw E(path.string() + ": cannot be read; check its permissions");
  const std::string foreign = foreign_contents(text);
  if (!foreign.empty()) throw E(path.string() + ": " + foreign);
  return text;
}

/// Replaces the file; creates its folder if necessary. Throws E on failure.
template <class E = ConfigError>
void write_text_file(const std::filesystem::path& path, std::string_view text) {
  std::error_code ignored;  // opening the file reports it
  std::filesystem::create_directories(path.parent_path(), ignored);
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(text.data(), static_cast<std::streamsize>(text.size()));
  stream.close();
  if (!stream) throw E(path.string() + ": cannot be written; check its folder and permissions");
}

}  // namespace instructblip
