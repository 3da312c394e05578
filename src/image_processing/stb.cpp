// The only file that compiles stb_image: the pixels and the texts of PNG, and JPEG in builds
// without libjpeg.
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "image_processing/decode.h"

namespace {

// stb_image allocates whatever a compressed stream contains; no single allocation may exceed this.
thread_local std::size_t stb_allocation_limit = 0;

void* stb_allocate(void* old, std::size_t size) {
  return size <= stb_allocation_limit ? std::realloc(old, size) : nullptr;
}

}  // namespace

#define STBI_MALLOC(size) stb_allocate(nullptr, size)
#define STBI_REALLOC(old, size) stb_allocate(old, size)
#define STBI_FREE(old) std::free(old)
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

Image decode_with_stb(std::string_view format, Bytes file, Index width, Index height,
                      bool clipped) {
  if (file.size() > kLargestInt) fail(format, "it is larger than 2 GiB");
  // Up to 8 bytes a pixel, and room for the blocks of JPEG and for doubling a buffer.
  stb_allocation_limit = 2 * file.size() + to_size(16 * (width + 64) * (height + 64));
  int found_width = 0, found_height = 0, channels = 0;
  const auto load = [&](auto* function, int wanted) {
    auto* pixels = function(file.data(), static_cast<int>(file.size()), &found_width, &found_height,
                            &channels, wanted);
    return std::unique_ptr<std::remove_reference_t<decltype(*pixels)>, void (*)(void*)>(
        pixels, stbi_image_free);
  };
  const auto check = [&](const auto& pixels) {
    if (!pixels)
      fail(format, "it is truncated or damaged (" + std::string(stbi_failure_reason()) + ")");
    if (found_width != width || found_height != height)
      fail(format, "its headers are inconsistent");
  };
  if (!clipped) {
    const auto pixels = load(stbi_load_from_memory, 3);
    check(pixels);
    return Image::from_pixels(pixels.get(), width, height, PixelFormat::RGB);
  }
  const auto pixels = load(stbi_load_16_from_memory, 1);
  check(pixels);
  Image image(width, height);
  for (Index i = 0; i < width * height; ++i)
    put_gray(image.pixels().data() + 3 * i,
             static_cast<std::uint8_t>(std::min<int>(pixels.get()[i], 255)));
  return image;
}

}  // namespace instructblip::image_decoding
