// The only file that compiles stb_image: its inflate for PNG, and its JPEG decoder for builds
// without libjpeg.
#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include "image_processing/decode.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_MAX_DIMENSIONS (1 << 24)
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <stb/stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace instructblip::image_decoding {
namespace {

constexpr std::size_t kLargestInt = std::numeric_limits<int>::max();

}  // namespace

std::ptrdiff_t inflate(Bytes stream, std::span<std::uint8_t> out) {
  if (stream.size() > kLargestInt || out.size() > kLargestInt) return -1;
  return stbi_zlib_decode_buffer(reinterpret_cast<char*>(out.data()), static_cast<int>(out.size()),
                                 reinterpret_cast<const char*>(stream.data()),
                                 static_cast<int>(stream.size()));
}

Image decode_jpeg_with_stb(Bytes file, const JpegMarkers& markers) {
  if (file.size() > kLargestInt) fail("JPEG", "it is larger than 2 GiB");
  int width = 0, height = 0, components = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(file.data(), static_cast<int>(file.size()), &width, &height,
                            &components, 3),
      stbi_image_free);
  if (!pixels) fail("JPEG", std::string("stb_image says: ") + stbi_failure_reason());
  if (static_cast<std::uint32_t>(width) != markers.width ||
      static_cast<std::uint32_t>(height) != markers.height) {
    fail("JPEG", "its headers are inconsistent");
  }
  return Image::from_pixels(pixels.get(), width, height, PixelFormat::RGB);
}

}  // namespace instructblip::image_decoding
