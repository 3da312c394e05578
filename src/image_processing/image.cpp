#include "instructblip/image_processing/image.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

#include "image_processing/decode.h"
#include "instructblip/core/error.h"
#include "instructblip/core/tensor.h"

namespace instructblip {
namespace {

using image_decoding::Bytes;
using image_decoding::Decoded;

struct Format {
  std::string_view signature;
  Decoded (*decode)(Bytes file, Index max_pixels);
};

// To add a format, add one line here and one file.
constexpr Format kFormats[] = {
    {"\xff\xd8\xff", image_decoding::decode_jpeg},
    {"\x89PNG\r\n\x1a\n", image_decoding::decode_png},
    {"GIF87a", image_decoding::decode_gif},
    {"GIF89a", image_decoding::decode_gif},
    {"BM", image_decoding::decode_bmp},
    {"P1", image_decoding::decode_pnm},
    {"P2", image_decoding::decode_pnm},
    {"P3", image_decoding::decode_pnm},
    {"P4", image_decoding::decode_pnm},
    {"P5", image_decoding::decode_pnm},
    {"P6", image_decoding::decode_pnm},
};

bool starts_with(Bytes file, std::string_view signature, std::size_t offset = 0) {
  return file.size() >= offset + signature.size() &&
         std::memcmp(file.data() + offset, signature.data(), signature.size()) == 0;
}

std::string describe_unknown(Bytes file) {
  std::string kind = "its first bytes match none of them";
  if (starts_with(file, "WEBP", 8)) kind = "it is a WebP file";
  if (starts_with(file, "ftyp", 4)) kind = "it is an AVIF, HEIF or video file";
  if (starts_with(file, "II*") || starts_with(file, {"MM\0*", 4})) kind = "it is a TIFF file";
  if (starts_with(file, "<svg") || starts_with(file, "<?xml")) kind = "it is an SVG or XML file";
  if (file.empty()) kind = "it is empty";
  return "cannot decode the image: expected JPEG, PNG, BMP, GIF or PNM, but " + kind +
         "; convert it to one of these, or decode it yourself and use Image::from_pixels";
}

/// Rotates or mirrors an image by its EXIF orientation; 1 and unknown values leave it unchanged.
Image oriented(Image image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const bool transposed = orientation >= 5;
  const bool mirror_x =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirror_y =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const Index width = image.width(), height = image.height();
  Image result = transposed ? Image(height, width) : Image(width, height);
  result.set_transparent_color(image.transparent_color());
  for (Index y = 0; y < result.height(); ++y) {
    std::uint8_t* out = result.row(y);
    for (Index x = 0; x < result.width(); ++x, out += 3) {
      const Index column = transposed ? y : x, line = transposed ? x : y;
      const std::uint8_t* in = image.row(mirror_y ? height - 1 - line : line) +
                               3 * (mirror_x ? width - 1 - column : column);
      image_decoding::put_color(out, in);
    }
  }
  return result;
}

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw ImageError("cannot open the image " + path.string() + ": " +
                     (error ? error.message() : std::string("it is not a file")));
  }
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = stream ? static_cast<std::streamoff>(stream.tellg()) : -1;
  if (size < 0)
    throw ImageError("cannot open the image " + path.string() + ": check its permissions");
  if (size > std::numeric_limits<std::int32_t>::max()) {
    throw ImageError("cannot open the image " + path.string() + ": it is " + std::to_string(size) +
                     " bytes large; the limit is 2 GiB");
  }
  std::vector<std::uint8_t> bytes(to_size(size));
  stream.seekg(0);
  if (size > 0 && !stream.read(reinterpret_cast<char*>(bytes.data()), size)) {
    throw ImageError("cannot read the image " + path.string());
  }
  return bytes;
}

/// Pillow's alpha_composite onto opaque white, in its fixed-point arithmetic.
std::uint8_t over_white(std::uint32_t color, std::uint32_t alpha) {
  constexpr std::uint32_t kPrecision = 7, kWhite = 255;
  const std::uint32_t source = alpha << kPrecision, background = (kWhite << kPrecision) - source;
  const std::uint32_t sum = color * source + kWhite * background + (0x80u << kPrecision);
  return static_cast<std::uint8_t>(((sum >> 8) + sum) >> 8 >> kPrecision);
}

}  // namespace

Image::Image(Index width, Index height, PixelFormat format)
    : width_(width), height_(height), format_(format) {
  if (width < 1 || height < 1) {
    throw InputError("Image: width and height must be at least 1, found " + std::to_string(width) +
                     " x " + std::to_string(height));
  }
  pixels_.resize(to_size(element_count({height, width, channels()})));
}

Image Image::open(const std::filesystem::path& path, const ImageOptions& options) {
  const std::vector<std::uint8_t> bytes = read_file(path);
  try {
    return open(bytes, options);
  } catch (const ImageError& error) {
    throw ImageError(path.string() + ": " + error.what());
  }
}

Image Image::open(std::span<const std::uint8_t> bytes, const ImageOptions& options) {
  for (const Format& format : kFormats) {
    if (!starts_with(bytes, format.signature)) continue;
    Decoded decoded = format.decode(bytes, options.max_pixels);
    return oriented(std::move(decoded.image), decoded.orientation);
  }
  throw ImageError(describe_unknown(bytes));
}

Image Image::from_pixels(const std::uint8_t* pixels, Index width, Index height, PixelFormat format,
                         Index row_stride) {
  Image image(width, height, format);
  const Index row_bytes = width * image.channels();
  if (pixels == nullptr) throw InputError("Image::from_pixels: `pixels` is null");
  if (row_stride == 0) row_stride = row_bytes;
  if (row_stride < row_bytes && row_stride > -row_bytes) {
    throw InputError("Image::from_pixels: row_stride is " + std::to_string(row_stride) +
                     " bytes, but a row has " + std::to_string(row_bytes) + " (" +
                     std::to_string(width) + " pixels of " + std::to_string(image.channels()) +
                     ")");
  }
  for (Index y = 0; y < height; ++y) {
    std::copy_n(pixels + y * row_stride, row_bytes, image.row(y));
  }
  return image;
}

Image Image::to_rgb() const {
  if (empty()) return {};
  if (format_ == PixelFormat::RGB) {
    Image result = *this;
    result.transparent_color_.reset();
    for (std::size_t i = 0; transparent_color_ && i < pixels_.size(); i += 3) {
      if (std::equal(transparent_color_->begin(), transparent_color_->end(), &pixels_[i])) {
        image_decoding::put_gray(&result.pixels_[i], 255);
      }
    }
    return result;
  }
  const Index step = channels();
  const bool color = format_ == PixelFormat::RGBA;
  const bool alpha = color || format_ == PixelFormat::GrayAlpha;
  Image result(width_, height_, PixelFormat::RGB);
  std::uint8_t* out = result.pixels_.data();
  const std::uint8_t* end = pixels_.data() + pixels_.size();
  for (const std::uint8_t* in = pixels_.data(); in != end; in += step, out += 3) {
    for (Index c = 0; c < 3; ++c) {
      const std::uint8_t value = in[color ? c : 0];
      out[c] = alpha ? over_white(value, in[step - 1]) : value;
    }
  }
  return result;
}

}  // namespace instructblip
