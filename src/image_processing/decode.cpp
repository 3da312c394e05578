#include "image_processing/decode.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>

#include "instructblip/core/error.h"

namespace instructblip::image_decoding {

bool starts_with(Bytes file, std::string_view signature, std::size_t offset) {
  return file.size() >= offset + signature.size() &&
         std::memcmp(file.data() + offset, signature.data(), signature.size()) == 0;
}

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

std::optional<int> exif_orientation(Bytes data) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  constexpr std::uint32_t kOrientationTag = 0x0112;
  // TIFF's types: bytes a value, 0 for what Pillow does not know.
  enum Type { byte = 1, ascii, rational = 5, undefined = 7, signed_rational = 10, single, real };
  constexpr std::size_t kSizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};

  for (int i = 0; i < 2 && starts_with(data, kPrefix); ++i) data = data.subspan(kPrefix.size());
  if (data.empty()) return std::nullopt;
  const bool big_endian = starts_with(data, "MM");
  if (data.size() < 8 || (!big_endian && !starts_with(data, "II"))) return 0;
  const auto number = [&](std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value = value << 8 | data[at + (big_endian ? i : size - 1 - i)];
    return value;
  };
  // Pillow also takes a version with its bytes swapped, and BigTIFF's if it is big-endian.
  const std::uint64_t version = number(2, 2);
  if (version != 42 && version != 42 << 8 && !(version == 43 && big_endian)) return 0;
  const auto value = [&](std::uint64_t type, std::size_t at) -> double {
    const auto low = static_cast<std::uint32_t>(number(at, 4));
    switch (type) {
      case byte:
      case ascii:
      case undefined: return 0;  // texts, to Pillow
      case rational: return low / static_cast<double>(number(at + 4, 4));
      case signed_rational:
        return static_cast<std::int32_t>(low) /
               static_cast<double>(static_cast<std::int32_t>(number(at + 4, 4)));
      case single: return std::bit_cast<float>(low);
      case real: return std::bit_cast<double>(number(at, 8));
      default: return static_cast<double>(number(at, kSizes[type]));
    }
  };

  std::optional<int> found;
  const std::size_t directory = number(4, 4);
  if (directory + 2 > data.size()) return found;
  const std::size_t entries = number(directory, 2);
  std::uint64_t outside = 0;  // bytes of values that do not fit into their entries
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > data.size()) break;
    const std::uint64_t tag = number(entry, 2), type = number(entry + 2, 2);
    if (tag == kOrientationTag && found) continue;
    const std::uint64_t size = type < std::size(kSizes) ? number(entry + 4, 4) * kSizes[type] : 0;
    if (size == 0) continue;
    std::uint64_t at = entry + 8;
    if (size > 4) {
      outside += size;
      if (outside > data.size()) continue;
      at = number(at, 4);
      if (at + size > data.size()) break;
    }
    if (tag != kOrientationTag) continue;
    const double orientation = value(type, at);
    const bool turned =
        orientation >= 2 && orientation <= 8 && orientation == std::floor(orientation);
    found = turned ? static_cast<int>(orientation) : 0;
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
