// Image: 8-bit pixels, decoded from a file or from memory (as the reference decodes a path) or
// copied from the caller (as the reference takes an image object). "The reference" means
// transformers 5.24 with Pillow.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// The channels of a pixel, one byte each, in this order. Alpha is not premultiplied. BGR and BGRA
/// (OpenCV, GDI, QImage) describe the caller's pixels: an Image holds them as RGB and RGBA.
enum class PixelFormat { Gray, GrayAlpha, RGB, RGBA, BGR, BGRA };

constexpr Index channels_of(PixelFormat format) {
  const auto number = static_cast<Index>(format);
  return number < 4 ? number + 1 : number - 1;
}

/// Limits for decoding.
struct ImageOptions {
  /// Maximum number of pixels (width x height), checked against the header before memory is
  /// allocated. The default is the size above which Pillow refuses to decode.
  Index max_pixels = 178'956'970;
};

/// An owned image: rows from top to bottom, without padding. Copying copies the pixels. Concurrent
/// reads are safe.
class INSTRUCTBLIP_EXPORT Image {
 public:
  /// An empty image: 0 x 0.
  Image() = default;
  /// A black image (transparent if the format has alpha), to be filled through `row`. BGR and BGRA
  /// become RGB and RGBA. Throws InputError if width or height is below 1.
  Image(Index width, Index height, PixelFormat format = PixelFormat::RGB);

  /// Decodes a JPEG, PNG, WebP (first frame), GIF (first frame), BMP or PNM (P1 to P6) file,
  /// recognised by its content. As in the reference, the EXIF orientation is applied, alpha is
  /// dropped, and the result is RGB. If the file declares a single transparent colour (GIF, PNG
  /// without alpha), its pixels are kept and transparent_color returns it. A pipe or device
  /// (/dev/stdin, a named pipe) is read to its end, at most 512 MiB of it. Throws ImageError if the
  /// file cannot be read, has another format, is damaged or truncated, or exceeds
  /// `options.max_pixels`. Source: image_utils.load_image.
  static Image open(const std::filesystem::path& path, const ImageOptions& options = {});

  /// Decodes a file in memory; otherwise as above.
  static Image open(std::span<const std::uint8_t> bytes, const ImageOptions& options = {});

  /// Copies the caller's pixels, top row first. `row_stride` is the distance between the starts of
  /// two rows in bytes; 0 means that rows are contiguous. A negative stride means that rows are
  /// stored bottom to top; `pixels` still points to the top row. BGR is reordered to RGB, BGRA to
  /// RGBA: `format()` is never BGR or BGRA. Transparency is kept;
  /// BlipImageProcessor composites it onto white, as the reference does with an image object.
  /// Throws InputError on a null pointer, a width or height below 1, or a stride shorter than a
  /// row.
  static Image from_pixels(const std::uint8_t* pixels, Index width, Index height,
                           PixelFormat format, Index row_stride = 0);

  Index width() const { return width_; }
  Index height() const { return height_; }
  PixelFormat format() const { return format_; }
  Index channels() const { return channels_of(format_); }
  bool empty() const { return pixels_.empty(); }

  /// All pixels [height, width, channels].
  std::span<const std::uint8_t> pixels() const { return pixels_; }
  std::span<std::uint8_t> pixels() { return pixels_; }
  /// The first byte of row y, which must exist.
  const std::uint8_t* row(Index y) const { return pixels_.data() + y * width_ * channels(); }
  std::uint8_t* row(Index y) { return pixels_.data() + y * width_ * channels(); }

  /// The transparent colour of an RGB image: what Pillow keeps in info["transparency"] on
  /// conversion to RGB. Nothing unless the file declared one.
  const std::optional<std::array<std::uint8_t, 3>>& transparent_color() const {
    return transparent_color_;
  }
  void set_transparent_color(std::optional<std::array<std::uint8_t, 3>> color) {
    transparent_color_ = color;
  }

  /// The image as opaque RGB: grey is repeated, transparency is composited onto white (with
  /// Pillow's rounding), and pixels of the transparent colour become white. Source:
  /// image_transforms.convert_to_rgb.
  Image to_rgb() const;

 private:
  Index width_ = 0, height_ = 0;
  PixelFormat format_ = PixelFormat::RGB;
  std::vector<std::uint8_t> pixels_;
  std::optional<std::array<std::uint8_t, 3>> transparent_color_;
};

}  // namespace instructblip
