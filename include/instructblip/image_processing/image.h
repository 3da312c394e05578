// Image: 8-bit pixels, decoded from a file or from memory as the reference decodes a path, or
// copied from the caller as the reference takes an image object.
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

/// Bytes of a pixel, in this order: Gray 1, GrayAlpha 2, RGB 3, RGBA 4. Alpha is not premultiplied.
enum class PixelFormat { Gray, GrayAlpha, RGB, RGBA };

constexpr Index channels_of(PixelFormat format) { return static_cast<Index>(format) + 1; }

/// What a file may be when it is decoded.
struct ImageOptions {
  /// Most pixels (width x height) that a file may decode to; checked against its header before
  /// memory is taken for them. The default is the size above which Pillow refuses to decode.
  Index max_pixels = 178'956'970;
};

/// An owned image: rows from top to bottom, no padding between them. A value: copying copies the
/// pixels; reading from several threads at once is safe.
class INSTRUCTBLIP_EXPORT Image {
 public:
  /// An empty image: 0 x 0.
  Image() = default;
  /// A black image (transparent where the format has alpha), to be filled through `row`.
  /// Throws InputError on a side below 1.
  Image(Index width, Index height, PixelFormat format = PixelFormat::RGB);

  /// Decodes a file: JPEG, PNG, BMP, GIF (first frame) or PNM (P1 to P6), recognised by its
  /// content. As the reference does with a path: the EXIF orientation is applied, alpha is dropped,
  /// the result is RGB. A single colour that the file calls transparent (GIF, PNG without alpha)
  /// keeps its pixels and is remembered, see transparent_color. Throws ImageError if the file
  /// cannot be read, is of another kind, is damaged or truncated, or exceeds `options.max_pixels`.
  /// Source: image_utils.load_image.
  static Image open(const std::filesystem::path& path, const ImageOptions& options = {});

  /// Decodes a file that is already in memory; otherwise as above.
  static Image open(std::span<const std::uint8_t> bytes, const ImageOptions& options = {});

  /// Copies the caller's pixels, first row on top. `row_stride` is the distance between the
  /// beginnings of two rows in bytes; 0 means that rows follow one another, a negative one that
  /// they are stored from bottom to top (`pixels` then still points at the top row). Transparency
  /// is kept; BlipImageProcessor composites it onto white, as the reference does with an image
  /// object. Throws InputError on a null pointer, a side below 1, or a stride shorter than a row.
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

  /// The colour of an RGB image that stands for transparency: what Pillow keeps in
  /// info["transparency"] when it converts to RGB. Nothing unless a file names one.
  const std::optional<std::array<std::uint8_t, 3>>& transparent_color() const {
    return transparent_color_;
  }
  void set_transparent_color(std::optional<std::array<std::uint8_t, 3>> color) {
    transparent_color_ = color;
  }

  /// The image in RGB, with none of it transparent: grey is repeated, transparency is composited
  /// onto white (Pillow's rounding), every pixel of the transparent colour is white.
  /// Source: image_transforms.convert_to_rgb.
  Image to_rgb() const;

 private:
  Index width_ = 0, height_ = 0;
  PixelFormat format_ = PixelFormat::RGB;
  std::vector<std::uint8_t> pixels_;
  std::optional<std::array<std::uint8_t, 3>> transparent_color_;
};

}  // namespace instructblip
