// The first frame of a GIF, as Pillow shows it. Pixels outside the frame have the transparent
// colour, or else colour 0. Transparent pixels keep their palette colour. A palette that is a plain
// grey ramp is ignored.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "image_processing/decode.h"

namespace instructblip::image_decoding {
namespace {

constexpr std::string_view kGifName = "GIF";

/// A palette, and whether it is needed: a plain grey ramp is not.
struct Colors {
  Palette palette;
  bool needed = false;
};

Colors read_colors(Reader& reader, int flags) {
  const std::size_t count = std::size_t{2} << (flags & 7);
  const Bytes bytes = reader.take(3 * count);
  Colors colors;
  std::copy(bytes.begin(), bytes.end(), &colors.palette.colors[0][0]);
  for (std::size_t i = 0; i < bytes.size(); ++i) colors.needed |= bytes[i] != i / 3;
  return colors;
}

/// The contents of a chain of blocks, up to its end or the end of the file.
std::vector<std::uint8_t> read_blocks(Reader& reader) {
  std::vector<std::uint8_t> bytes;
  while (reader.remaining() > 0) {
    const std::size_t size = reader.u8();
    if (size == 0) break;
    const Bytes block = reader.take(std::min(size, reader.remaining()));
    bytes.insert(bytes.end(), block.begin(), block.end());
  }
  return bytes;
}

/// Reads variable-length codes, lowest bit first.
class CodeReader {
 public:
  explicit CodeReader(Bytes bytes) : bytes_(bytes) {}

  int next(int size) {
    while (held_ < size) {
      if (position_ == bytes_.size()) fail_truncated(kGifName);
      bits_ |= static_cast<std::uint32_t>(bytes_[position_++]) << held_;
      held_ += 8;
    }
    const int code = static_cast<int>(bits_ & ((1u << size) - 1));
    bits_ >>= size;
    held_ -= size;
    return code;
  }

 private:
  Bytes bytes_;
  std::size_t position_ = 0;
  std::uint32_t bits_ = 0;
  int held_ = 0;
};

/// Expands LZW data to `count` palette indices.
std::vector<std::uint8_t> expand(Bytes data, int literal_bits, std::size_t count) {
  constexpr int kTableSize = 4096, kLongestCode = 12;
  struct Entry {
    std::int16_t prefix = -1;
    std::uint8_t last = 0, first = 0;
    std::uint16_t length = 1;
  };
  std::vector<Entry> table(kTableSize);
  const int clear = 1 << literal_bits, end = clear + 1;
  for (int i = 0; i < clear; ++i) {
    at(table, i).last = static_cast<std::uint8_t>(i);
    at(table, i).first = static_cast<std::uint8_t>(i);
  }
  // Each code adds an entry, and a code has at least two bits.
  if (count / kTableSize > data.size() * 4) fail_truncated(kGifName);
  std::vector<std::uint8_t> out;
  out.reserve(count);
  CodeReader codes(data);
  int size = literal_bits + 1, next = clear + 2, previous = -1;
  while (out.size() < count) {
    int code = codes.next(size);
    if (code == end) fail_truncated(kGifName);
    if (code == clear) {
      size = literal_bits + 1, next = clear + 2, previous = -1;
      continue;
    }
    if (code > next || (code == next && previous < 0) || (code > end && previous < 0)) {
      fail(kGifName, "its compressed data is damaged");
    }
    const Entry before = previous < 0 ? Entry{} : at(table, previous);
    if (previous >= 0 && next < kTableSize) {
      const std::uint8_t first = code == next ? before.first : at(table, code).first;
      at(table, next) = {static_cast<std::int16_t>(previous), first, before.first,
                         static_cast<std::uint16_t>(before.length + 1)};
      ++next;
      if (next == 1 << size && size < kLongestCode) ++size;
    } else if (code >= next) {
      fail(kGifName, "its compressed data is damaged");
    }
    previous = code;
    const std::size_t begin = out.size(), length = at(table, code).length;
    out.resize(begin + length);
    for (std::size_t i = length; i-- > 0; code = at(table, code).prefix) {
      out[begin + i] = at(table, code).last;
    }
  }
  return out;
}

/// The rows of an interlaced frame in the order of the file.
std::vector<Index> row_order(Index height, bool interlaced) {
  std::vector<Index> rows;
  rows.reserve(to_size(height));
  constexpr Index kPasses[][2] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
  constexpr Index kPlain[][2] = {{0, 1}};
  const auto order =
      interlaced ? std::span<const Index[2]>(kPasses) : std::span<const Index[2]>(kPlain);
  for (const auto& [first, step] : order) {
    for (Index y = first; y < height; y += step) rows.push_back(y);
  }
  return rows;
}

}  // namespace

Decoded decode_gif(Bytes file, Index max_pixels) {
  constexpr std::size_t kSignatureSize = 6;
  constexpr int kExtension = '!', kImage = ',', kEnd = ';', kGraphicControl = 0xf9,
                kHasPalette = 0x80;
  Reader reader(file, kGifName);
  reader.seek(kSignatureSize);
  std::uint32_t width = reader.u16_le(), height = reader.u16_le();
  const int screen_flags = reader.u8();
  reader.take(2);
  Colors colors;
  if (screen_flags & kHasPalette) colors = read_colors(reader, screen_flags);

  std::optional<std::uint8_t> transparent;
  for (int block = 0; (block = reader.u8()) != kImage;) {
    if (block == kEnd) fail(kGifName, "it contains no frame");
    if (block != kExtension) continue;
    const int label = reader.u8();
    const std::vector<std::uint8_t> data = read_blocks(reader);
    if (label == kGraphicControl && data.size() >= 4 && (data[0] & 1)) transparent = data[3];
  }
  const std::uint32_t left = reader.u16_le(), top = reader.u16_le();
  const std::uint32_t frame_width = reader.u16_le(), frame_height = reader.u16_le();
  const int frame_flags = reader.u8();
  if (frame_flags & kHasPalette) {
    const Colors local = read_colors(reader, frame_flags);
    if (local.needed)
      colors = local;
    else
      colors.needed = false;
  }
  check_size(kGifName, frame_width, frame_height, max_pixels);
  width = std::max(width, left + frame_width);
  height = std::max(height, top + frame_height);
  check_size(kGifName, width, height, max_pixels);

  const int literal_bits = reader.u8();
  if (literal_bits > 11) fail(kGifName, "its compressed data is damaged");
  const std::vector<std::uint8_t> data = read_blocks(reader);
  const std::vector<std::uint8_t> indices =
      expand(data, literal_bits, std::size_t{frame_width} * frame_height);

  if (!colors.needed) {
    for (int i = 0; i < 256; ++i) put_gray(colors.palette.colors[i], static_cast<std::uint8_t>(i));
  }
  const auto& palette = colors.palette.colors;
  Decoded decoded{.image = Image(width, height)};
  const std::span<std::uint8_t> pixels = decoded.image.pixels();
  const std::uint8_t* fill = palette[transparent.value_or(0)];
  if (transparent) decoded.image.set_transparent_color({{fill[0], fill[1], fill[2]}});
  for (std::size_t i = 0; i < pixels.size(); i += 3) put_color(&pixels[i], fill);
  const std::uint8_t* in = indices.data();
  for (const Index y : row_order(frame_height, (frame_flags & 0x40) != 0)) {
    std::uint8_t* out = decoded.image.row(top + y) + 3 * left;
    for (std::uint32_t x = 0; x < frame_width; ++x, out += 3) put_color(out, palette[*in++]);
  }
  return decoded;
}

}  // namespace instructblip::image_decoding
