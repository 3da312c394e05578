// PBM, PGM and PPM, plain (P1 to P3) and raw (P4 to P6), with Pillow's scaling: colours to 8 bits;
// grey of more than 8 bits to 16 bits, which are then clipped to 8.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "image_processing/decode.h"

namespace instructblip::image_decoding {
namespace {

constexpr std::string_view kPnmName = "PNM";

bool is_space(std::uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(std::uint8_t c) { return c >= '0' && c <= '9'; }

/// Skips white space and comments (from # to the end of the line).
std::uint8_t first_of_token(Reader& reader) {
  for (;;) {
    std::uint8_t c = reader.u8();
    if (c == '#') {
      while (c != '\n' && c != '\r') c = reader.u8();
    }
    if (!is_space(c)) return c;
  }
}

/// A decimal number and the one byte of white space after it (or the end of the file).
std::uint32_t read_number(Reader& reader) {
  std::uint64_t value = 0;
  int digits = 0;
  for (std::uint8_t c = first_of_token(reader);; c = reader.u8()) {
    if (digits > 0 && is_space(c)) break;
    if (digits > 0 && c == '#') {
      while (c != '\n' && c != '\r' && reader.remaining() > 0) c = reader.u8();
      break;
    }
    if (!is_digit(c)) {
      fail(kPnmName, "expected a number, found byte " + std::to_string(c));
    }
    if (++digits > 10) fail(kPnmName, "a number has more than 10 digits");
    value = value * 10 + (c - '0');
    if (reader.remaining() == 0) break;
  }
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, 0xffffffffu));
}

/// Maps samples to 8 bits.
struct Scale {
  std::uint32_t largest = 255;
  bool wide_gray = false;  // grey of more than 8 bits

  std::uint8_t of(std::uint32_t sample) const {
    const double top = wide_gray ? 65535.0 : 255.0;
    const double scaled = std::nearbyint(static_cast<double>(sample) / largest * top);
    return static_cast<std::uint8_t>(std::min(scaled, 255.0));
  }
};

void read_raw(Reader& reader, bool gray, const Scale& scale, Image& image) {
  const std::size_t sample_size = scale.largest > 255 ? 2 : 1;
  const std::size_t samples = image.pixels().size() / (gray ? 3 : 1);
  const Bytes data = reader.take(samples * sample_size);
  std::vector<std::uint8_t> table(sample_size == 1 ? 256 : 65536);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = scale.of(static_cast<std::uint32_t>(i));
  std::uint8_t* out = image.pixels().data();
  for (std::size_t i = 0; i < samples; ++i) {
    const std::size_t sample = sample_size == 1 ? data[i] : data[2 * i] << 8 | data[2 * i + 1];
    if (gray) {
      put_gray(out, table[sample]);
      out += 3;
    } else {
      *out++ = table[sample];
    }
  }
}

void read_plain(Reader& reader, bool gray, const Scale& scale, Image& image) {
  const std::size_t samples = image.pixels().size() / (gray ? 3 : 1);
  std::uint8_t* out = image.pixels().data();
  for (std::size_t i = 0; i < samples; ++i) {
    const std::uint32_t sample = read_number(reader);
    if (sample > scale.largest) {
      fail(kPnmName, "a sample is " + std::to_string(sample) +
                         ", but the header declares at most " + std::to_string(scale.largest));
    }
    if (gray) {
      put_gray(out, scale.of(sample));
      out += 3;
    } else {
      *out++ = scale.of(sample);
    }
  }
}

void read_bits(Reader& reader, bool plain, Image& image) {
  const Index width = image.width(), row_bytes = (width + 7) / 8;
  for (Index y = 0; y < image.height(); ++y) {
    const Bytes row = plain ? Bytes() : reader.take(to_size(row_bytes));
    for (Index x = 0; x < width; ++x) {
      std::uint8_t bit = 0;
      if (plain) {
        const std::uint8_t c = first_of_token(reader);
        if (c != '0' && c != '1')
          fail(kPnmName, "expected 0 or 1, found byte " + std::to_string(c));
        bit = c - '0';
      } else {
        bit = at(row, x / 8) >> (7 - x % 8) & 1;
      }
      put_gray(image.row(y) + 3 * x, bit ? 0 : 255);
    }
  }
}

}  // namespace

Decoded decode_pnm(Bytes file, Index max_pixels) {
  Reader reader(file, kPnmName);
  const int kind = reader.take(2)[1] - '0';
  if (!is_space(reader.u8())) fail(kPnmName, "no white space follows P" + std::to_string(kind));
  const std::uint32_t width = read_number(reader), height = read_number(reader);
  check_size(kPnmName, width, height, max_pixels);
  const bool bits = kind == 1 || kind == 4, gray = kind == 2 || kind == 5, plain = kind <= 3;
  Scale scale;
  if (!bits) {
    scale.largest = read_number(reader);
    if (scale.largest < 1 || scale.largest > 65535) {
      fail(kPnmName, "its header declares a largest sample of " + std::to_string(scale.largest) +
                         ", expected 1 to 65535");
    }
    scale.wide_gray = gray && scale.largest > 255;
  }
  // A sample takes at least a bit, a byte or a digit, so a truncated file is detected before memory
  // is allocated.
  const std::uint64_t samples = std::uint64_t{width} * height * (bits || gray ? 1 : 3);
  if ((kind == 4 ? samples / 8 : samples) > reader.remaining()) fail_truncated(kPnmName);
  Decoded decoded{.image = Image(width, height)};
  if (bits)
    read_bits(reader, plain, decoded.image);
  else if (plain)
    read_plain(reader, gray, scale, decoded.image);
  else
    read_raw(reader, gray, scale, decoded.image);
  return decoded;
}

}  // namespace instructblip::image_decoding
