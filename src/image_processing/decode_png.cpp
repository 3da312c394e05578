// PNG. Chunks, filters and Adam7 are handled here, as in Pillow; stb_image inflates the data into a
// buffer whose size follows from the header. (stb's own PNG reader allocates memory for whatever
// the stream contains, and reads past a short palette.)
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "image_processing/decode.h"

namespace instructblip::image_decoding {
namespace {

constexpr std::string_view kPngName = "PNG";

enum ColorType : std::uint8_t { gray = 0, rgb = 2, palette = 3, gray_alpha = 4, rgb_alpha = 6 };

struct PngHeader {
  Index width = 0, height = 0;
  int depth = 0;
  int color_type = 0;
  bool interlaced = false;

  int channels() const {
    switch (color_type) {
      case rgb: return 3;
      case gray_alpha: return 2;
      case rgb_alpha: return 4;
      default: return 1;
    }
  }
  Index row_bytes(Index columns) const { return (columns * channels() * depth + 7) / 8; }
};

std::uint32_t crc32(Bytes bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> values{};
    for (std::uint32_t n = 0; n < 256; ++n) {
      std::uint32_t c = n;
      for (int k = 0; k < 8; ++k) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
      values[n] = c;
    }
    return values;
  }();
  std::uint32_t crc = 0xffffffffu;
  for (const std::uint8_t byte : bytes) crc = table[(crc ^ byte) & 0xff] ^ (crc >> 8);
  return ~crc;
}

PngHeader read_png_header(Bytes data, Index max_pixels) {
  Reader reader(data, kPngName);
  PngHeader header;
  const std::uint32_t width = reader.u32_be(), height = reader.u32_be();
  header.depth = reader.u8();
  header.color_type = reader.u8();
  const int compression = reader.u8(), filter = reader.u8(), interlace = reader.u8();
  const int d = header.depth, c = header.color_type;
  const bool small = d == 1 || d == 2 || d == 4;
  const bool known = c == gray || c == rgb || c == palette || c == gray_alpha || c == rgb_alpha;
  if (!known || !(d == 8 || (d == 16 && c != palette) || (small && (c == gray || c == palette)))) {
    fail(kPngName, "bit depth " + std::to_string(d) + " with colour type " + std::to_string(c) +
                       " does not exist");
  }
  if (compression != 0 || filter != 0 || interlace > 1) {
    fail(kPngName, "unknown compression, filter or interlace method in its header");
  }
  check_size(kPngName, width, height, max_pixels);
  header.width = width;
  header.height = height;
  header.interlaced = interlace == 1;
  return header;
}

/// The contents of the chunks.
struct Chunks {
  PngHeader header;
  Palette colors;
  std::vector<std::uint8_t> stream;  // all IDAT chunks
  Bytes transparency;                // tRNS
  std::optional<int> exif, raw_profile;
  int xmp = 0;
};

/// ImageMagick's EXIF: "\nexif\n   <length>\n" and hexadecimal digits.
std::optional<int> raw_profile_orientation(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) return std::nullopt;
    text.remove_prefix(end + 1);
  }
  std::vector<std::uint8_t> bytes;
  std::string digits;
  for (const char c : text) {
    if (c == '\n') continue;
    digits += c;
    if (digits.size() < 2) continue;
    unsigned value = 0;
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + 2, value, 16);
    if (error != std::errc() || rest != digits.data() + 2) return std::nullopt;
    bytes.push_back(static_cast<std::uint8_t>(value));
    digits.clear();
  }
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  Bytes tiff = bytes;
  const std::string_view view(reinterpret_cast<const char*>(tiff.data()), tiff.size());
  if (view.starts_with(kPrefix)) tiff = tiff.subspan(kPrefix.size());
  return exif_orientation(tiff);
}

/// Text chunks may contain the orientation. They hold a keyword, NUL, and text (tEXt), compressed
/// text (zTXt), or flags, two more strings and either of those (iTXt).
void read_text(std::string_view type, Bytes data, Chunks& chunks) {
  std::string_view rest(reinterpret_cast<const char*>(data.data()), data.size());
  const auto next_string = [&] {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view text = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return text;
  };
  const std::string_view keyword = next_string();
  const bool is_xmp = keyword == "XML:com.adobe.xmp" && type == "iTXt";
  if (!is_xmp && keyword != "Raw profile type exif") return;
  bool compressed = type == "zTXt";
  if (compressed) rest.remove_prefix(std::min<std::size_t>(1, rest.size()));
  if (type == "iTXt") {
    compressed = !rest.empty() && rest[0] == 1;
    rest.remove_prefix(std::min<std::size_t>(2, rest.size()));
    next_string();
    next_string();
  }
  std::vector<std::uint8_t> text;
  if (compressed) {
    constexpr std::size_t kLongest = 1 << 20;
    text.resize(kLongest);
    const std::ptrdiff_t size =
        inflate({reinterpret_cast<const std::uint8_t*>(rest.data()), rest.size()}, text);
    if (size < 0) return;
    rest = {reinterpret_cast<const char*>(text.data()), to_size(size)};
  }
  if (is_xmp)
    chunks.xmp = xmp_orientation(rest);
  else
    chunks.raw_profile = raw_profile_orientation(rest);
}

void read_palette(Bytes data, Chunks& chunks) {
  if (data.size() > sizeof(Palette)) {
    fail(kPngName,
         "its palette has " + std::to_string(data.size() / 3) + " colours, expected at most 256");
  }
  std::copy_n(data.data(), data.size() / 3 * 3, &chunks.colors.colors[0][0]);
}

Chunks read_chunks(Bytes file, Index max_pixels) {
  constexpr std::size_t kSignatureSize = 8, kIhdrSize = 13;
  Reader reader(file, kPngName);
  reader.seek(kSignatureSize);
  Chunks chunks;
  bool have_header = false, data_ended = false;
  while (reader.remaining() >= 8) {
    const std::size_t length = reader.u32_be();
    const std::size_t checked_from = reader.position();
    const Bytes name = reader.take(4);
    const std::string_view type(reinterpret_cast<const char*>(name.data()), name.size());
    const bool is_data = type == "IDAT";
    data_ended = data_ended || (!is_data && !chunks.stream.empty());
    // Damage after the pixel data is ignored.
    if (data_ended && (type == "IEND" || length + 4 > reader.remaining())) break;
    const Bytes data = reader.take(length);
    const Bytes checked = file.subspan(checked_from, length + 4);
    // Some writers omit the last checksum; if present, it must be correct.
    if (reader.remaining() >= 4 && reader.u32_be() != crc32(checked)) {
      if (data_ended) break;
      fail(kPngName,
           "the checksum of chunk " + std::string(type) + " is wrong; the file is damaged");
    }
    if (!have_header && (type != "IHDR" || length < kIhdrSize)) {
      fail(kPngName, "its first chunk is not IHDR");
    }
    if (type == "IHDR" && !have_header) chunks.header = read_png_header(data, max_pixels);
    have_header = true;
    if (type == "PLTE" && chunks.header.color_type == palette) read_palette(data, chunks);
    if (type == "tRNS") chunks.transparency = data;
    if (is_data && !data_ended) chunks.stream.insert(chunks.stream.end(), data.begin(), data.end());
    if (type == "eXIf") chunks.exif = exif_orientation(data);
    if (type == "tEXt" || type == "zTXt" || type == "iTXt") read_text(type, data, chunks);
    if (type == "IEND") break;
  }
  if (chunks.stream.empty()) fail_truncated(kPngName);
  return chunks;
}

std::uint8_t paeth(int left, int above, int corner) {
  const int estimate = left + above - corner;
  const int to_left = std::abs(estimate - left), to_above = std::abs(estimate - above);
  const int to_corner = std::abs(estimate - corner);
  if (to_left <= to_above && to_left <= to_corner) return static_cast<std::uint8_t>(left);
  return static_cast<std::uint8_t>(to_above <= to_corner ? above : corner);
}

/// Reverses a row's filter in place; `above` is the previous row, already unfiltered, or zeros.
void unfilter(int filter, std::uint8_t* row, const std::uint8_t* above, Index size, Index step) {
  for (Index i = 0; i < size; ++i) {
    const int left = i >= step ? row[i - step] : 0;
    int predicted = 0;
    switch (filter) {
      case 0: return;
      case 1: predicted = left; break;
      case 2: predicted = above[i]; break;
      case 3: predicted = (left + above[i]) / 2; break;
      case 4: predicted = paeth(left, above[i], i >= step ? above[i - step] : 0); break;
      default: fail(kPngName, "filter " + std::to_string(filter) + " of a row does not exist");
    }
    row[i] = static_cast<std::uint8_t>(row[i] + predicted);
  }
}

/// Pixel `x` of an unfiltered row.
void put_pixel(const Chunks& chunks, const std::uint8_t* row, Index x, std::uint8_t* out) {
  const PngHeader& header = chunks.header;
  if (header.depth < 8) {
    const Index bit = x * header.depth;
    const int largest = (1 << header.depth) - 1;
    const int value = row[bit / 8] >> (8 - header.depth - bit % 8) & largest;
    if (header.color_type == palette)
      put_color(out, chunks.colors.colors[value]);
    else
      put_gray(out, static_cast<std::uint8_t>(value * (255 / largest)));
    return;
  }
  const Index sample = header.depth / 8;
  const std::uint8_t* in = row + x * header.channels() * sample;
  switch (header.color_type) {
    case palette: put_color(out, chunks.colors.colors[in[0]]); break;
    // 16-bit grey without alpha is clipped to 8 bits; other formats keep the upper byte.
    case gray: put_gray(out, sample == 1 ? in[0] : in[0] != 0 ? 255 : in[1]); break;
    case gray_alpha: put_gray(out, in[0]); break;
    default:
      for (Index c = 0; c < 3; ++c) out[c] = in[c * sample];
  }
}

/// The transparent colour in tRNS, as Pillow reads it: numbers above 255 lose their upper byte, and
/// 1- or 16-bit grey is taken for a red value. If several palette entries are transparent, there is
/// no such colour.
std::optional<std::array<std::uint8_t, 3>> transparent_color(const Chunks& chunks) {
  const PngHeader& header = chunks.header;
  const Bytes data = chunks.transparency;
  const auto number = [&](std::size_t i) { return data[2 * i] << 8 | data[2 * i + 1]; };
  const auto byte = [](int value) { return static_cast<std::uint8_t>(value & 0xff); };
  switch (header.color_type) {
    case palette: {
      const auto first = std::find(data.begin(), data.end(), 0);
      if (first == data.end()) return std::nullopt;
      if (std::count(data.begin(), data.end(), 255) + 1 != std::ssize(data)) return std::nullopt;
      const std::uint8_t* color = chunks.colors.colors[first - data.begin()];
      return {{color[0], color[1], color[2]}};
    }
    case gray: {
      if (data.size() < 2) return std::nullopt;
      if (header.depth == 1 || header.depth == 16) return {{byte(number(0)), 0, 0}};
      const std::uint8_t value = byte(std::min(number(0), 255));
      return {{value, value, value}};
    }
    case rgb:
      if (data.size() < 6) return std::nullopt;
      return {{byte(number(0)), byte(number(1)), byte(number(2))}};
    default: return std::nullopt;
  }
}

struct Pass {
  Index x0, y0, dx, dy;
};
constexpr Pass kWhole[] = {{0, 0, 1, 1}};
constexpr Pass kAdam7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                           {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

}  // namespace

Decoded decode_png(Bytes file, Index max_pixels) {
  const Chunks chunks = read_chunks(file, max_pixels);
  const PngHeader& header = chunks.header;
  const std::span<const Pass> passes =
      header.interlaced ? std::span<const Pass>(kAdam7) : std::span<const Pass>(kWhole);
  const auto columns = [&](const Pass& p) { return (header.width - p.x0 + p.dx - 1) / p.dx; };
  const auto lines = [&](const Pass& p) { return (header.height - p.y0 + p.dy - 1) / p.dy; };
  Index expected = 0;
  for (const Pass& pass : passes) {
    if (columns(pass) > 0) expected += (header.row_bytes(columns(pass)) + 1) * lines(pass);
  }
  // Deflate compresses at most 1032 to 1, so a stream that is too short is detected before memory
  // is allocated.
  if (expected / 1032 > std::ssize(chunks.stream)) fail_truncated(kPngName);

  constexpr Index kSpare = 4096;  // some writers append a few bytes, which are ignored
  std::vector<std::uint8_t> raw(to_size(expected + kSpare));
  const std::ptrdiff_t size = inflate(chunks.stream, raw);
  if (size < 0) fail(kPngName, "its compressed data is damaged");
  if (size < expected) fail_truncated(kPngName);

  Decoded decoded{.image = Image(header.width, header.height)};
  const Index step = std::max(1, header.channels() * header.depth / 8);
  std::uint8_t* row = raw.data();
  for (const Pass& pass : passes) {
    const Index count = columns(pass), row_bytes = header.row_bytes(count);
    if (count <= 0) continue;
    const std::vector<std::uint8_t> zeros(to_size(row_bytes));
    const std::uint8_t* above = zeros.data();
    for (Index y = pass.y0; y < header.height; y += pass.dy, row += row_bytes + 1) {
      unfilter(row[0], row + 1, above, row_bytes, step);
      above = row + 1;
      std::uint8_t* out = decoded.image.row(y) + 3 * pass.x0;
      for (Index x = 0; x < count; ++x, out += 3 * pass.dx) put_pixel(chunks, row + 1, x, out);
    }
  }
  decoded.image.set_transparent_color(transparent_color(chunks));
  decoded.orientation = chunks.exif.value_or(chunks.raw_profile.value_or(0));
  if (decoded.orientation == 0) decoded.orientation = chunks.xmp;
  return decoded;
}

}  // namespace instructblip::image_decoding
