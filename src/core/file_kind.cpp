#include "core/file_kind.h"

#include <algorithm>
#include <cctype>
#include <system_error>
#include <vector>

namespace instructblip {
namespace {

namespace fs = std::filesystem;

bool starts_with_ignoring_case(std::string_view text, std::string_view lower_prefix) {
  return text.size() >= lower_prefix.size() &&
         std::equal(lower_prefix.begin(), lower_prefix.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

}  // namespace

bool is_dangling_link(const fs::path& path) {
  std::error_code ignored;
  return fs::is_symlink(fs::symlink_status(path, ignored)) && !fs::exists(path, ignored);
}

std::string missing_file(const fs::path& path) {
  if (!is_dangling_link(path)) return "no such file";
  std::error_code ignored;
  const fs::path target = fs::read_symlink(path, ignored);
  fs::path unfinished = path.parent_path() / target;
  unfinished += ".incomplete";
  return "a link to " + target.string() + ", which does not exist" +
         (fs::exists(unfinished, ignored) ? " (only " + unfinished.filename().string() + " does)"
                                          : "") +
         ": its download is not complete, or its blob was deleted or not copied; download it again";
}

std::string foreign_contents(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs.github.com")) {
    return "a Git LFS pointer, not the file itself; run `git lfs install` and `git lfs pull` in "
           "its folder";
  }
  if (bytes.starts_with(std::string_view("PK\3\4"))) {
    return "a ZIP archive, as torch.save writes it, under another name; fetch the file again, or "
           "save the weights with save_pretrained";
  }
  if (bytes.starts_with("GGUF") && bytes.size() > 8 && bytes[7] == 0) {
    return "a GGUF file (llama.cpp) under another name, which is not supported; fetch the file "
           "again";
  }
  const std::size_t begin = bytes.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  bytes.remove_prefix(begin);
  if (starts_with_ignoring_case(bytes, "<!doctype html") ||
      starts_with_ignoring_case(bytes, "<html")) {
    return "a web page (HTML), not the file itself; download it again, from the link that "
           "contains /resolve/ and not /blob/, and logged in if the model is gated";
  }
  return "";
}

std::string foreign_folder(const fs::path& path) {
  std::error_code code;
  if (!fs::is_directory(path / "snapshots", code) || fs::exists(path / "config.json", code)) {
    return "";
  }
  std::vector<std::string> snapshots;
  for (fs::directory_iterator it(path / "snapshots", code), end; !code && it != end;
       it.increment(code)) {
    snapshots.push_back(it->path().string());
  }
  const std::string what = "a model's folder in the hub's cache; ";
  if (snapshots.empty()) return what + "it has no snapshot: download the model again";
  return what + "give its snapshot instead, " +
         *std::min_element(snapshots.begin(), snapshots.end()) +
         (snapshots.size() > 1 ? ", or another of its " + std::to_string(snapshots.size()) : "");
}

}  // namespace instructblip
