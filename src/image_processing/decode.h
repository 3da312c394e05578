// Common parts of the decoders. Each takes a whole file in memory and returns RGB.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "instructblip/core/dtype.h"
#include "instructblip/image_processing/image.h"

namespace instructblip::image_decoding {

using Bytes = std::span<const std::uint8_t>;

/// An RGB image and its EXIF orientation (1 to 8; 1 is upright).
struct Decoded {
  Image image;
  int orientation = 1;
};

/// The format's name in messages.
inline constexpr std::string_view kJpegName = "JPEG";

Decoded decode_jpeg(Bytes file, Index max_pixels);
Decoded decode_png(Bytes file, Index max_pixels);
Decoded decode_bmp(Bytes file, Index max_pixels);
Decoded decode_gif(Bytes file, Index max_pixels);
Decoded decode_pnm(Bytes file, Index max_pixels);
Decoded decode_webp(Bytes file, Index max_pixels);

bool starts_with(Bytes file, std::string_view signature, std::size_t offset = 0);

[[noreturn]] void fail(std::string_view format, const std::string& what);
[[noreturn]] void fail_truncated(std::string_view format);

/// Throws if the size in a header is 0 or exceeds `max_pixels`.
void check_size(std::string_view format, std::uint64_t width, std::uint64_t height,
                Index max_pixels);

/// Reads numbers and byte ranges in order. Reading past the end throws.
class Reader {
 public:
  Reader(Bytes bytes, std::string_view format) : bytes_(bytes), format_(format) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }
  void seek(std::size_t position) {
    if (position > bytes_.size()) fail_truncated(format_);
    position_ = position;
  }
  Bytes take(std::size_t count) {
    if (count > remaining()) fail_truncated(format_);
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }
  std::uint8_t u8() { return take(1)[0]; }
  std::uint32_t u16_le() { return number(2, false); }
  std::uint32_t u32_le() { return number(4, false); }
  std::uint32_t u16_be() { return number(2, true); }
  std::uint32_t u32_be() { return number(4, true); }

 private:
  std::uint32_t number(std::size_t size, bool big_endian) {
    const Bytes bytes = take(size);
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value = value << 8 | bytes[big_endian ? i : size - 1 - i];
    return value;
  }

  Bytes bytes_;
  std::size_t position_ = 0;
  std::string_view format_;
};

/// Palette colours [256][3]; entries missing from the file are black, as in Pillow.
struct Palette {
  std::uint8_t colors[256][3] = {};
};

/// Writes a grey pixel as RGB.
inline void put_gray(std::uint8_t* rgb, std::uint8_t value) { rgb[0] = rgb[1] = rgb[2] = value; }
inline void put_color(std::uint8_t* rgb, const std::uint8_t* color) {
  rgb[0] = color[0], rgb[1] = color[1], rgb[2] = color[2];
}

/// The orientation in EXIF data: a TIFF structure after up to two "Exif\0\0". As Pillow reads it:
/// a number of any type, the first of several. 0 if the structure is damaged or the value means
/// nothing; nothing if there is no such tag, in which case Pillow looks into the XMP packet.
std::optional<int> exif_orientation(Bytes data);
/// Orientation from an XMP packet; 0 if there is none.
int xmp_orientation(std::string_view packet);

/// Inflates a zlib stream into `out`. Returns the number of bytes written, or -1 if the stream is
/// damaged or longer than `out`.
std::ptrdiff_t inflate(Bytes stream, std::span<std::uint8_t> out);

/// The size and orientation of a JPEG file. walk_jpeg_markers throws on malformed markers; what
/// follows the first scan is only looked at with `whole_file`.
struct JpegMarkers {
  std::uint32_t width = 0, height = 0;
  int components = 0;
  int orientation = 1;
};
JpegMarkers walk_jpeg_markers(Bytes file, bool whole_file);

/// Decodes a PNG or JPEG file, whose size is known, to RGB. 16-bit samples keep their upper byte,
/// or are clipped to 8 bits if `clipped` (grey only).
Image decode_with_stb(std::string_view format, Bytes file, Index width, Index height,
                      bool clipped = false);

}  // namespace instructblip::image_decoding
