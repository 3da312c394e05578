#include "image_processing/decode.h"

#include <algorithm>
#include <string>

#include "instructblip/core/error.h"

namespace instructblip::image_decoding {

void fail(std::string_view format, const std::string& what) {
  throw ImageError("cannot decode the " + std::string(format) + " image: " + what);
}

void fail_truncated(std::string_view format) {
  fail(format, "the file ends in the middle of the image; it is truncated or damaged");
}

void check_size(std::string_view format, std::uint64_t width, std::uint64_t height,
                Index max_pixels) {
  if (width == 0 || height == 0) fail(format, "its header says that the width or height is 0");
  constexpr std::uint64_t kLongestSide = std::uint64_t{1} << 24;
  if (width > kLongestSide || height > kLongestSide) {
    fail(format, "its header says " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels, which is too large for any image");
  }
  const auto limit = static_cast<std::uint64_t>(std::max<Index>(max_pixels, 0));
  if (width > limit / height) {
    fail(format, "its header says " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels, more than ImageOptions::max_pixels (" + std::to_string(limit) +
                     ") allows; raise the limit if you trust the file");
  }
}

int exif_orientation(Bytes tiff) {
  constexpr std::uint32_t kOrientationTag = 0x0112;
  const auto at = [&](std::size_t offset) { return static_cast<std::uint32_t>(tiff[offset]); };
  if (tiff.size() < 8) return 0;
  const bool big_endian = at(0) == 'M' && at(1) == 'M';
  if (!big_endian && !(at(0) == 'I' && at(1) == 'I')) return 0;
  const auto u16 = [&](std::size_t o) {
    return big_endian ? at(o) << 8 | at(o + 1) : at(o + 1) << 8 | at(o);
  };
  const auto u32 = [&](std::size_t o) {
    return big_endian ? u16(o) << 16 | u16(o + 2) : u16(o + 2) << 16 | u16(o);
  };
  if (u16(2) != 42) return 0;
  const std::size_t directory = u32(4);
  if (directory + 2 > tiff.size()) return 0;
  const std::size_t entries = u16(directory);
  int found = 0;
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) break;
    if (u16(entry) != kOrientationTag || u32(entry + 4) != 1) continue;
    const std::uint32_t type = u16(entry + 2);
    constexpr std::uint32_t kUnsignedShort = 3, kUnsignedLong = 4;
    if (type == kUnsignedShort) found = static_cast<int>(u16(entry + 8));
    if (type == kUnsignedLong) found = static_cast<int>(std::min(u32(entry + 8), 9u));
  }
  return found;
}

int xmp_orientation(std::string_view packet) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = packet.find(kName); at != packet.npos; at = packet.find(kName, at + 1)) {
    std::string_view rest = packet.substr(at + kName.size());
    if (rest.starts_with("=\""))
      rest.remove_prefix(2);
    else if (rest.starts_with(">"))
      rest.remove_prefix(1);
    else
      continue;
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return 0;
}

}  // namespace instructblip::image_decoding
