// Recognises files and folders that stand in the place of what was meant, for messages.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace instructblip {

/// Why there is no file at `path`, and what to do: "no such file", or the target of a link that
/// does not exist, as an incomplete download leaves it in the hub's cache.
std::string missing_file(const std::filesystem::path& path);

/// Whether `path` is a link whose target does not exist.
bool is_dangling_link(const std::filesystem::path& path);

/// What the contents of a file are instead of what was meant, and what to do: a Git LFS pointer, a
/// web page that was saved under the file's name, a renamed archive. Empty if they are none of
/// these.
std::string foreign_contents(std::string_view bytes);

/// Why this folder cannot be a model's: it is a model's folder in the hub's cache, whose files are
/// in its snapshots. Empty if it is not.
std::string foreign_folder(const std::filesystem::path& path);

}  // namespace instructblip
