#include "pictures.h"

#include <glob.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <system_error>

#include "instructblip/core/error.h"

namespace examples {

using namespace instructblip;
namespace fs = std::filesystem;

namespace {

bool is_picture_name(const fs::path& path) {
  // Those that Pillow has for the formats that the library decodes.
  static const std::set<std::string> endings = {".jpg",  ".jpeg", ".jpe", ".jfif", ".png",
                                                ".apng", ".bmp",  ".gif", ".pbm",  ".pgm",
                                                ".ppm",  ".pnm",  ".webp"};
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return endings.contains(ending) && !path.filename().string().starts_with(".");
}

template <class Iterator>
std::vector<fs::path> pictures_below(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (Iterator it(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (is_picture_name(it->path()) && !it->is_directory(ignored)) found.push_back(it->path());
  }
  if (error) throw InputError(folder.string() + ": cannot be listed: " + error.message());
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> pictures_in(const fs::path& folder, bool recursive) {
  std::vector<fs::path> found = recursive ? pictures_below<fs::recursive_directory_iterator>(folder)
                                          : pictures_below<fs::directory_iterator>(folder);
  if (!found.empty()) return found;
  throw InputError(folder.string() + ": there is no picture in this folder" +
                   (recursive ? "" : "; --recursive also looks into its folders"));
}

std::vector<fs::path> matches_of(const std::string& pattern) {
  glob_t matches{};
  std::vector<fs::path> found;
  if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0) {
    found.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
  }
  ::globfree(&matches);
  std::erase_if(found, [](const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
  });
  if (found.empty()) throw InputError(pattern + ": no file matches this pattern");
  return found;
}

}  // namespace

Image open_picture(const fs::path& path) {
  if (path != "-") return Image::open(path);
  const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(std::cin), {}};
  try {
    return Image::open(bytes);
  } catch (const ImageError& error) {
    throw ImageError(std::string("standard input: ") + error.what());
  }
}

std::vector<Image> open_pictures(const std::vector<fs::path>& paths) {
  std::vector<Image> images;
  for (const fs::path& path : paths) images.push_back(open_picture(path));
  return images;
}

std::vector<fs::path> find_pictures(const std::vector<std::string>& names, bool recursive) {
  std::vector<fs::path> found;
  for (const std::string& name : names) {
    std::error_code ignored;
    if (fs::is_directory(name, ignored)) {
      const auto pictures = pictures_in(name, recursive);
      found.insert(found.end(), pictures.begin(), pictures.end());
    } else if (!fs::exists(name, ignored) && name.find_first_of("*?[") != name.npos) {
      const auto matches = matches_of(name);
      found.insert(found.end(), matches.begin(), matches.end());
    } else if (name != "-" && !fs::exists(name, ignored)) {
      throw InputError(name + ": there is no such file or folder");
    } else {
      found.emplace_back(name);
    }
  }
  return found;
}

void require_writable(const fs::path& path) {
  std::error_code ignored;
  const bool existed = fs::exists(path, ignored);
  if (!std::ofstream(path, std::ios::binary | std::ios::app)) {
    throw InputError(path.string() + ": cannot be written; check its folder and permissions");
  }
  if (!existed) fs::remove(path, ignored);
}

}  // namespace examples
