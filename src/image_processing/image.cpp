#include "instructblip/image_processing/image.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
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
using image_decoding::starts_with;

// Which code decodes a format, and why. The pixels are those of Pillow 13.
//
//   JPEG  libjpeg(-turbo), Pillow's own; without it stb_image, whose pixels differ by a few steps
//   WebP  libwebp, Pillow's own
//   PNG   stb_image for the pixels; the chunks here: stb_image reads past a short palette
//         (png_short_palette), checks no checksum and knows no orientation
//   GIF   here: stb_image gives up where a full table of strings stays in use (gif_kept_table),
//         loses the colour of transparent pixels (gif_transparent) and takes half a file
//   BMP   here: stb_image has no run-length coding (bmp_rle8), scales 5 and 6 bits otherwise
//         (bmp_16), and takes half a file
//   PNM   here: stb_image has P5 and P6 only, does not scale samples (pnm_p5_small), reads past
//         16-bit ones (pnm_p5_1000) and takes half a file
//
// The names are those of files in the tests.
struct Format {
  std::string_view signature;
  Decoded (*decode)(Bytes file, Index max_pixels);
  std::size_t offset = 0;  // of the signature
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
    {"WEBP", image_decoding::decode_webp, 8},
};

/// What a file that is no picture may be, and what to do about it.
struct Other {
  std::string_view signature;
  std::string_view meaning;
  std::size_t offset = 0;
};

constexpr std::string_view kConvert = "; convert it to JPEG or PNG";
constexpr Other kOthers[] = {
    {"version https://git-lfs",
     "it is a Git LFS pointer, not the picture; run `git lfs pull` where it lies"},
    {"%PDF", "it is a PDF document; save the page or the picture in it as JPEG or PNG"},
    {"ftypavif", "it is an AVIF picture", 4},
    {"ftypavis", "it is an AVIF picture", 4},
    {"ftyphei", "it is a HEIC picture, as iPhones write them", 4},
    {"ftyphev", "it is a HEIC picture, as iPhones write them", 4},
    {"ftypmif1", "it is a HEIF picture", 4},
    {"ftyp", "it is a video or another file in an MP4 container", 4},
    {"jP  \r\n", "it is a JPEG 2000 picture", 4},
    {"JXL ", "it is a JPEG XL picture", 4},
    {"\xff\x0a", "it is a JPEG XL picture"},
    {"II*", "it is a TIFF picture"},
    {{"MM\0*", 4}, "it is a TIFF picture"},
    {"8BPS", "it is a Photoshop document"},
    {{"\0\0\1\0", 4}, "it is an icon (ICO)"},
    {"qoif", "it is a QOI picture"},
    {"PK\3\4", "it is a ZIP archive or an office document; take the picture out of it first"},
    {"\x1f\x8b", "it is compressed with gzip; unpack it first"},
};

std::string describe_unknown(Bytes file) {
  if (file.empty()) return "it is empty; download or copy it again";
  for (const Other& other : kOthers) {
    if (!starts_with(file, other.signature, other.offset)) continue;
    const bool advice = other.meaning.find(';') != other.meaning.npos;
    return std::string(other.meaning) + std::string(advice ? "" : kConvert);
  }
  std::string text;  // the first letters, in lower case
  for (const std::uint8_t c : file.first(std::min<std::size_t>(file.size(), 1000)))
    text += static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  text.erase(0, std::min(text.find_first_not_of("\xef\xbb\xbf \t\r\n"), text.size()));
  const auto begins = [&](std::string_view start) { return text.starts_with(start); };
  if (begins("<!doctype html") || begins("<html") || begins("<head") ||
      text.find("<html") != text.npos) {
    return "it is a web page (HTML), not a picture: the address was that of a page, or the server "
           "answered with an error; download the picture itself";
  }
  if (text.find("<svg") != text.npos) return "it is an SVG drawing" + std::string(kConvert);
  if (begins("<?xml")) return "it is an XML document, not a picture";
  if (begins("{") || begins("[")) return "it is a text, perhaps JSON, not a picture";
  return "its first bytes match none of them" + std::string(kConvert);
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

[[noreturn]] void fail_to_open(const std::filesystem::path& path, const std::string& what) {
  throw ImageError("cannot open the image " + path.string() + ": " + what);
}

/// The contents of a file, or of a pipe or device up to its end.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  constexpr std::uintmax_t kMiB = 1 << 20, kLargestFile = 2047 * kMiB, kLongestStream = 512 * kMiB;
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status))
    fail_to_open(path, error ? error.message() : std::string("there is no such file"));
  if (std::filesystem::is_directory(status)) fail_to_open(path, "it is a folder, not a picture");
  const bool regular = std::filesystem::is_regular_file(status);
  const std::uintmax_t limit = regular ? kLargestFile : kLongestStream;
  const std::uintmax_t expected = regular ? std::filesystem::file_size(path, error) : 0;
  const auto fail_too_long = [&] {
    fail_to_open(path, "it is longer than " + std::to_string(limit / kMiB) +
                           " MiB, the limit for a " + (regular ? "file" : "pipe or device"));
  };
  if (expected > limit) fail_too_long();
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    fail_to_open(path, std::generic_category().message(errno) + "; check its permissions");
  }
  std::vector<std::uint8_t> bytes(expected + 1);  // one more, to see the end
  std::size_t size = 0;
  while (stream.read(reinterpret_cast<char*>(bytes.data() + size),
                     static_cast<std::streamsize>(bytes.size() - size))) {
    size = bytes.size();
    if (size > limit) fail_too_long();
    bytes.resize(std::min<std::uintmax_t>(std::max<std::size_t>(2 * size, 1 << 16), limit + 1));
  }
  if (stream.bad()) fail_to_open(path, "reading it failed");
  bytes.resize(size + to_size(stream.gcount()));
  return bytes;
}

bool is_bgr(PixelFormat format) {
  return format == PixelFormat::BGR || format == PixelFormat::BGRA;
}

/// The format in which an Image holds pixels.
PixelFormat stored(PixelFormat format) {
  if (format == PixelFormat::BGR) return PixelFormat::RGB;
  return format == PixelFormat::BGRA ? PixelFormat::RGBA : format;
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
    : width_(width), height_(height), format_(stored(format)) {
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
    if (!starts_with(bytes, format.signature, format.offset)) continue;
    Decoded decoded = format.decode(bytes, options.max_pixels);
    return oriented(std::move(decoded.image), decoded.orientation);
  }
  throw ImageError("cannot decode the image: expected JPEG, PNG, WebP, GIF, BMP or PNM, but " +
                   describe_unknown(bytes));
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
    std::uint8_t* out = std::copy_n(pixels + y * row_stride, row_bytes, image.row(y));
    if (!is_bgr(format)) continue;
    for (std::uint8_t* pixel = image.row(y); pixel != out; pixel += image.channels())
      std::swap(pixel[0], pixel[2]);
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
