// BMP as Pillow reads it: 1, 4 and 8 bits with a palette (plain or run-length encoded), 16, 24 and
// 32 bits with the usual masks. Unlike Pillow, which mistakes the grey palette of a 4- or 8-bit
// image for packed pixels, the palette is always applied.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "image_processing/decode.h"

namespace instructblip::image_decoding {
namespace {

constexpr std::string_view kBmpName = "BMP";

enum Compression : std::uint32_t { raw = 0, rle8 = 1, rle4 = 2, bitfields = 3 };

struct BmpHeader {
  Index width = 0, height = 0;
  bool top_down = false;
  std::uint32_t bits = 0, compression = raw, colors = 0;
  std::uint32_t masks[4] = {};  // red, green, blue, alpha
  std::size_t palette_entry = 4;
  std::size_t pixels_at = 0;
  std::size_t end = 0;  // of all headers
};

BmpHeader read_bmp_header(Bytes file, Index max_pixels) {
  constexpr std::size_t kFileHeader = 14, kOffsetField = 10;
  Reader reader(file, kBmpName);
  reader.seek(kOffsetField);
  BmpHeader header;
  header.pixels_at = reader.u32_le();
  const std::uint32_t size = reader.u32_le();
  std::uint32_t width = 0, height = 0;
  if (size == 12) {
    width = reader.u16_le(), height = reader.u16_le();
    reader.u16_le();
    header.bits = reader.u16_le();
    header.palette_entry = 3;
  } else if (size == 40 || size == 52 || size == 56 || size == 64 || size == 108 || size == 124) {
    width = reader.u32_le(), height = reader.u32_le();
    header.top_down = height >> 24 == 0xff;
    if (header.top_down) height = 0u - height;
    reader.u16_le();
    header.bits = reader.u16_le();
    header.compression = reader.u32_le();
    reader.take(12);
    header.colors = reader.u32_le();
    reader.take(4);
  } else {
    fail(kBmpName,
         "its header is " + std::to_string(size) + " bytes long, which matches no known version");
  }
  // The masks follow a header of 40 bytes; in longer headers they are the next fields.
  if (header.compression == bitfields) {
    for (int i = 0; i < (size >= 56 ? 4 : 3); ++i) header.masks[i] = reader.u32_le();
  }
  header.end = std::max(kFileHeader + size, reader.position());
  check_size(kBmpName, width, height, max_pixels);
  header.width = width;
  header.height = height;
  return header;
}

Palette read_palette(Bytes file, BmpHeader& header) {
  const std::uint32_t count = header.colors == 0 ? 1u << header.bits : header.colors;
  if (count > 65536) fail(kBmpName, "its palette has " + std::to_string(count) + " colours");
  Palette palette;
  Reader reader(file, kBmpName);
  reader.seek(header.end);
  // Some files declare more colours than they contain; the pixels start where the header says.
  const std::size_t held =
      std::min<std::size_t>({count, 256, reader.remaining() / header.palette_entry});
  for (std::size_t i = 0; i < held; ++i) {
    const Bytes bgr = reader.take(header.palette_entry);
    palette.colors[i][0] = bgr[2], palette.colors[i][1] = bgr[1], palette.colors[i][2] = bgr[0];
  }
  if (header.pixels_at == 0) header.pixels_at = header.end + count * header.palette_entry;
  return palette;
}

/// One channel of a pixel, scaled to 8 bits as Pillow does: value * 255 / largest, rounded down.
struct Channel {
  std::uint32_t shift = 0, largest = 255;

  explicit Channel(std::uint32_t mask) {
    while (mask != 0 && (mask & 1) == 0) mask >>= 1, ++shift;
    largest = mask;
  }
  std::uint8_t of(std::uint32_t pixel) const {
    return largest == 0 ? 0 : static_cast<std::uint8_t>((pixel >> shift & largest) * 255 / largest);
  }
};

std::array<Channel, 3> read_masks(const BmpHeader& header) {
  using Masks = std::array<std::uint32_t, 3>;
  constexpr Masks kBgr888{0xff0000, 0xff00, 0xff}, kBgr555{0x7c00, 0x3e0, 0x1f},
      kBgr565{0xf800, 0x7e0, 0x1f};
  constexpr Masks kOthers32[] = {
      {0xff000000, 0xff0000, 0xff00}, {0xff000000, 0xff00, 0xff}, {0xff, 0xff00, 0xff0000}};
  const Masks usual = header.bits == 16 ? kBgr555 : kBgr888;
  Masks masks = usual;
  if (header.compression == bitfields) {
    masks = {header.masks[0], header.masks[1], header.masks[2]};
    const bool none = masks == Masks{} && header.bits == 32;
    const bool known = masks == usual || (header.bits == 16 && masks == kBgr565) ||
                       (header.bits == 32 && std::find(std::begin(kOthers32), std::end(kOthers32),
                                                       masks) != std::end(kOthers32));
    if (none)
      masks = usual;
    else if (!known)
      fail(kBmpName, "its bit masks have an unsupported layout");
  }
  return {Channel(masks[0]), Channel(masks[1]), Channel(masks[2])};
}

/// Run-length encoded rows in the order of the file: one palette index per pixel.
std::vector<std::uint8_t> read_runs(Bytes file, const BmpHeader& header) {
  const bool nibbles = header.compression == rle4;
  const Index total = header.width * header.height;
  std::vector<std::uint8_t> indices;
  Reader reader(file, kBmpName);
  reader.seek(header.pixels_at);
  const auto size = [&] { return std::ssize(indices); };
  const auto append = [&](Index count, std::uint8_t value) {
    indices.insert(indices.end(), to_size(std::min(count, total - size())), value);
  };
  Index x = 0;
  while (size() < total) {
    const Index count = reader.u8();
    const std::uint8_t value = reader.u8();
    if (count > 0) {
      const Index run = std::clamp<Index>(header.width - x, 0, count);
      for (Index i = 0; nibbles && i < run; ++i) append(1, i % 2 == 0 ? value >> 4 : value & 15);
      if (!nibbles) append(run, value);
      x += run;
    } else if (value == 0) {
      append((header.width - size() % header.width) % header.width, 0);
      x = 0;
    } else if (value == 1) {
      fail(kBmpName, "its run-length data ends before the last row");
    } else if (value == 2) {
      const Index right = reader.u8(), up = reader.u8();
      append(right + up * header.width, 0);
      x = size() % header.width;
    } else {
      const Index literal = std::min<Index>(value, total - size());
      const Bytes bytes = reader.take(to_size(nibbles ? (literal + 1) / 2 : literal));
      for (Index i = 0; i < literal; ++i) {
        const std::uint8_t byte = at(bytes, nibbles ? i / 2 : i);
        append(1, !nibbles ? byte : i % 2 == 0 ? byte >> 4 : byte & 15);
      }
      x += value;
      if (reader.position() % 2 != 0 && size() < total) reader.take(1);
    }
  }
  return indices;
}

void put_row(const BmpHeader& header, const Palette& palette,
             const std::array<Channel, 3>& channels, const std::uint8_t* in, std::uint8_t* out) {
  for (Index x = 0; x < header.width; ++x, out += 3) {
    if (header.bits <= 8) {
      const Index bit = x * header.bits;
      const int largest = (1 << header.bits) - 1;
      const int shift = static_cast<int>(8 - header.bits) - static_cast<int>(bit % 8);
      put_color(out, palette.colors[in[bit / 8] >> shift & largest]);
      continue;
    }
    std::uint32_t pixel = 0;
    const Index bytes = header.bits / 8;
    for (Index i = 0; i < bytes; ++i)
      pixel |= static_cast<std::uint32_t>(in[x * bytes + i]) << 8 * i;
    for (std::size_t c = 0; c < 3; ++c) out[c] = channels[c].of(pixel);
  }
}

}  // namespace

Decoded decode_bmp(Bytes file, Index max_pixels) {
  BmpHeader header = read_bmp_header(file, max_pixels);
  const std::uint32_t bits = header.bits;
  const bool indexed = bits == 1 || bits == 4 || bits == 8;
  if (!indexed && bits != 16 && bits != 24 && bits != 32) {
    fail(kBmpName, std::to_string(bits) + " bits per pixel are not supported");
  }
  const bool runs = header.compression == rle8 || header.compression == rle4;
  if (header.compression > bitfields || (runs && bits != (header.compression == rle8 ? 8 : 4)) ||
      (header.compression == bitfields && indexed)) {
    fail(kBmpName, "compression " + std::to_string(header.compression) + " of " +
                       std::to_string(bits) + " bits per pixel is not supported");
  }
  const Palette palette = indexed ? read_palette(file, header) : Palette{};
  const std::array<Channel, 3> channels = read_masks(header);
  if (header.pixels_at == 0) header.pixels_at = header.end;

  std::vector<std::uint8_t> indices;
  if (runs) {
    indices = read_runs(file, header);
    header.bits = 8;
  }
  const Index row_bytes = (header.width * header.bits + 7) / 8;
  const Index stride = runs ? row_bytes : (row_bytes + 3) / 4 * 4;
  Reader reader(runs ? Bytes(indices) : file, kBmpName);
  reader.seek(runs ? 0 : header.pixels_at);
  // The padding of the last row may be missing.
  const Bytes data = reader.take(to_size(stride * (header.height - 1) + row_bytes));
  Decoded decoded{.image = Image(header.width, header.height)};
  for (Index y = 0; y < header.height; ++y) {
    const Index line = header.top_down ? y : header.height - 1 - y;
    put_row(header, palette, channels, data.data() + y * stride, decoded.image.row(line));
  }
  return decoded;
}

}  // namespace instructblip::image_decoding
