// PNG. The chunks are read here, because the orientation, the transparent colour and the palette
// need Pillow's rules; stb_image decodes the pixels from a file with what is left: the header, a
// full palette and the data. (It reads past a short palette, and checks no checksum.)
#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "image_processing/decode.h"

namespace instructblip::image_decoding {
namespace {

constexpr std::string_view kPngName = "PNG";
constexpr std::uint8_t kPngSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

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
  Index bits() const { return channels() * depth; }  // per pixel
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
  reader.u8();  // compression: there is one
  const int filter = reader.u8();
  header.interlaced = reader.u8() != 0;
  const int d = header.depth, c = header.color_type;
  const bool small = d == 1 || d == 2 || d == 4;
  const bool known = c == gray || c == rgb || c == palette || c == gray_alpha || c == rgb_alpha;
  if (!known || !(d == 8 || (d == 16 && c != palette) || (small && (c == gray || c == palette)))) {
    fail(kPngName, "bit depth " + std::to_string(d) + " with colour type " + std::to_string(c) +
                       " does not exist");
  }
  if (filter != 0) fail(kPngName, "its header names an unknown filter method");
  check_size(kPngName, width, height, max_pixels);
  header.width = width;
  header.height = height;
  return header;
}

/// The contents of the chunks.
struct Chunks {
  PngHeader header;
  Palette colors;
  std::vector<std::uint8_t> stream;  // all IDAT chunks
  bool cut = false;                  // the file ends in one
  Bytes transparency;                // tRNS
  std::optional<std::vector<std::uint8_t>> exif, raw_profile;
  int xmp = 0;
  bool apple = false;  // Xcode's variant of the format
};

/// ImageMagick's EXIF: "\nexif\n   <length>\n" and hexadecimal digits.
std::vector<std::uint8_t> parse_raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) return {};
    text.remove_prefix(end + 1);
  }
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
               [](char c) { return c != ' ' && (c < '\t' || c > '\r'); });
  std::vector<std::uint8_t> bytes(digits.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char* pair = digits.data() + 2 * i;
    if (std::from_chars(pair, pair + 2, bytes[i], 16).ptr != pair + 2) return {};
  }
  return bytes;
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
  const bool is_xmp = keyword == "XML:com.adobe.xmp";
  if (keyword == "exif" && type == "tEXt") chunks.exif.emplace(rest.begin(), rest.end());
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
    chunks.raw_profile = parse_raw_profile(rest);
}

void read_palette(Bytes data, Chunks& chunks) {
  if (data.size() > sizeof(Palette)) {
    fail(kPngName,
         "its palette has " + std::to_string(data.size() / 3) + " colours, expected at most 256");
  }
  chunks.colors = {};
  std::copy_n(data.data(), data.size() / 3 * 3, &chunks.colors.colors[0][0]);
}

Chunks read_chunks(Bytes file, Index max_pixels) {
  Reader reader(file, kPngName);
  reader.seek(sizeof(kPngSignature));
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
    if (is_data && !have_header) fail(kPngName, "it has no IHDR chunk in front of its pixels");
    // The end of the last data need not be there: whether they are complete, the stream tells.
    chunks.cut = is_data && length > reader.remaining();
    const Bytes data = reader.take(chunks.cut ? reader.remaining() : length);
    const Bytes checked = file.subspan(checked_from, data.size() + 4);
    if (reader.remaining() >= 4 && reader.u32_be() != crc32(checked)) {
      if (data_ended) break;
      fail(kPngName,
           "the checksum of chunk " + std::string(type) + " is wrong; the file is damaged");
    }
    if (type == "IHDR" && !have_header) {
      chunks.header = read_png_header(data, max_pixels);
      have_header = true;
    }
    if (type == "CgBI") chunks.apple = true;
    if (type == "PLTE" && chunks.header.color_type == palette) read_palette(data, chunks);
    if (type == "tRNS") chunks.transparency = data;
    if (is_data && !data_ended) chunks.stream.insert(chunks.stream.end(), data.begin(), data.end());
    if (type == "eXIf") chunks.exif.emplace(data.begin(), data.end());
    if (type == "tEXt" || type == "zTXt" || type == "iTXt") read_text(type, data, chunks);
    if (type == "IEND") break;
  }
  if (chunks.stream.empty()) fail_truncated(kPngName);
  return chunks;
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
      if (header.depth == 1) return {{byte(number(0) != 0 ? 255 : 0), 0, 0}};
      if (header.depth == 16) return {{byte(number(0)), 0, 0}};
      const std::uint8_t value = byte(std::min(number(0), 255));
      return {{value, value, value}};
    }
    case rgb:
      if (data.size() < 6) return std::nullopt;
      return {{byte(number(0)), byte(number(1)), byte(number(2))}};
    default: return std::nullopt;
  }
}

void append_chunk(std::vector<std::uint8_t>& file, std::string_view type, Bytes data) {
  for (int shift = 24; shift >= 0; shift -= 8)
    file.push_back(static_cast<std::uint8_t>(data.size() >> shift));
  file.insert(file.end(), type.begin(), type.end());
  file.insert(file.end(), data.begin(), data.end());
  file.insert(file.end(), 4, 0);  // a checksum, which stb_image does not read
}

/// A file with nothing but the pixels. stb_image needs four bytes behind them, a checksum that may
/// be missing and that it does not check.
std::vector<std::uint8_t> plain_file(const Chunks& chunks, std::uint8_t spare) {
  const PngHeader& header = chunks.header;
  std::vector<std::uint8_t> ihdr;
  for (const Index side : {header.width, header.height}) {
    for (int shift = 24; shift >= 0; shift -= 8)
      ihdr.push_back(static_cast<std::uint8_t>(side >> shift));
  }
  for (const int field : {header.depth, header.color_type, 0, 0, header.interlaced ? 1 : 0})
    ihdr.push_back(static_cast<std::uint8_t>(field));
  std::vector<std::uint8_t> file(std::begin(kPngSignature), std::end(kPngSignature));
  append_chunk(file, "IHDR", ihdr);
  if (header.color_type == palette)
    append_chunk(file, "PLTE", {&chunks.colors.colors[0][0], sizeof(Palette)});
  append_chunk(file, "IDAT", chunks.stream);
  append_chunk(file, "IDAT", std::vector<std::uint8_t>(4, spare));
  append_chunk(file, "IEND", {});
  return file;
}

}  // namespace

Decoded decode_png(Bytes file, Index max_pixels) {
  const Chunks chunks = read_chunks(file, max_pixels);
  const PngHeader& header = chunks.header;
  // Deflate compresses at most 1032 to 1, so a stream that is too short is detected before memory
  // is allocated.
  const Index expected = (header.width * header.bits() + 7) / 8 * header.height;
  if (expected / 1032 > std::ssize(chunks.stream)) fail_truncated(kPngName);
  if (chunks.apple && !starts_with(chunks.stream, "\x78"))
    fail(kPngName,
         "it is in Xcode's private variant (CgBI); convert it with "
         "`pngcrush -revert-iphone-optimizations`");
  const bool clipped = header.color_type == gray && header.depth == 16;
  const auto decode = [&](std::uint8_t spare) {
    return decode_with_stb(kPngName, plain_file(chunks, spare), header.width, header.height,
                           clipped);
  };
  Decoded decoded{.image = decode(0)};
  // If bits of the last pixels are missing, it makes a difference what stands for them.
  if (chunks.cut && !std::ranges::equal(decode(0xff).pixels(), decoded.image.pixels()))
    fail_truncated(kPngName);
  decoded.image.set_transparent_color(transparent_color(chunks));
  const auto& exif = chunks.exif ? chunks.exif : chunks.raw_profile;
  decoded.orientation = (exif ? exif_orientation(*exif) : std::nullopt).value_or(chunks.xmp);
  return decoded;
}

}  // namespace instructblip::image_decoding
