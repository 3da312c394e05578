// Walks over the markers of a JPEG: finds its size and orientation, as Pillow does up to the first
// scan. stb_image needs the rest walked, too: a Huffman table with too many codes makes it write
// out of bounds.
#include <algorithm>
#include <string>
#include <vector>

#include "image_processing/decode.h"

namespace instructblip::image_decoding {
namespace {

enum Marker : int {
  sof0 = 0xc0,
  dht = 0xc4,
  jpg = 0xc8,
  dac = 0xcc,
  rst0 = 0xd0,
  rst7 = 0xd7,
  soi = 0xd8,
  eoi = 0xd9,
  sos = 0xda,
  dqt = 0xdb,
  dri = 0xdd,
  app1 = 0xe1,
  sof15 = 0xcf
};

bool is_frame(int marker) {
  return marker >= sof0 && marker <= sof15 && marker != dht && marker != jpg && marker != dac;
}

void check_huffman_tables(Bytes segment) {
  Reader reader(segment, kJpegName);
  while (reader.remaining() > 0) {
    const int id = reader.u8();
    if (id >> 4 > 1 || (id & 15) > 3) fail(kJpegName, "a Huffman table has an invalid number");
    std::uint32_t values = 0, code = 0;
    for (int length = 1; length <= 16; ++length) {
      const std::uint32_t count = reader.u8();
      values += count;
      code = (code << 1) + count;
      if (code > 1u << length) fail(kJpegName, "a Huffman table has more codes than fit");
    }
    if (values > 256) fail(kJpegName, "a Huffman table has more than 256 values");
    reader.take(values);
  }
}

void check_quantization_tables(Bytes segment) {
  Reader reader(segment, kJpegName);
  while (reader.remaining() > 0) {
    const int id = reader.u8();
    if (id >> 4 > 1 || (id & 15) > 3) fail(kJpegName, "a quantisation table has an invalid number");
    reader.take(id >> 4 ? 128 : 64);
  }
}

void read_frame(Bytes segment, JpegMarkers& markers) {
  Reader reader(segment, kJpegName);
  const int precision = reader.u8();
  const std::uint32_t height = reader.u16_be(), width = reader.u16_be();
  const int components = reader.u8();
  if (precision != 8)
    fail(kJpegName, std::to_string(precision) + " bits per sample are not supported");
  if (components != 1 && components != 3 && components != 4) {
    fail(kJpegName, std::to_string(components) + " components are not supported");
  }
  if (markers.components != 0) fail(kJpegName, "it has two frame headers");
  markers.width = width, markers.height = height, markers.components = components;
}

/// Moves to the next marker outside the coded data.
void skip_coded_data(Bytes file, Reader& reader) {
  std::size_t at = reader.position();
  for (; at + 1 < file.size(); ++at) {
    const int next = file[at + 1];
    if (file[at] == 0xff && next != 0 && next != 0xff && !(next >= rst0 && next <= rst7)) break;
  }
  reader.seek(at);
}

}  // namespace

JpegMarkers walk_jpeg_markers(Bytes file, bool whole_file) {
  constexpr std::string_view kExifName("Exif\0\0", 6),
      kXmpName("http://ns.adobe.com/xap/1.0/\0", 29);
  JpegMarkers markers;
  std::vector<std::uint8_t> exif;
  int xmp = 0;
  bool scanned = false;
  Reader reader(file, kJpegName);
  reader.seek(2);
  while (!scanned || reader.remaining() >= 2) {
    if (reader.u8() != 0xff) continue;  // skip junk between segments, as other decoders do
    int marker = reader.u8();
    while (marker == 0xff) marker = reader.u8();
    if (marker == eoi) break;
    if (marker == 0 || marker == 1 || marker == soi || (marker >= rst0 && marker <= rst7)) continue;
    const Bytes segment = reader.take(std::max(reader.u16_be(), 2u) - 2);
    const std::string_view text(reinterpret_cast<const char*>(segment.data()), segment.size());
    if (marker == dht) check_huffman_tables(segment);
    if (marker == dqt) check_quantization_tables(segment);
    if (is_frame(marker)) read_frame(segment, markers);
    if (marker == app1 && !scanned && text.starts_with(kExifName)) {
      exif.insert(exif.end(), segment.begin() + (exif.empty() ? 0 : kExifName.size()),
                  segment.end());
    }
    if (marker == app1 && !scanned && text.starts_with(kXmpName)) {
      xmp = xmp_orientation(text.substr(kXmpName.size()));
    }
    if (marker == sos) {
      if (markers.components == 0) fail(kJpegName, "a scan begins before the frame header");
      scanned = true;
      if (!whole_file) break;
      skip_coded_data(file, reader);
    }
  }
  if (!scanned) fail_truncated(kJpegName);
  markers.orientation = exif_orientation(exif).value_or(xmp);
  return markers;
}

}  // namespace instructblip::image_decoding
