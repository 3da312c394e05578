// JPEG through libjpeg(-turbo), which Pillow uses, too, so that pixels are equal. Without it,
// stb_image.
#include "image_processing/decode.h"

#if defined(INSTRUCTBLIP_HAVE_JPEG)
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs FILE to be declared.
#include <jpeglib.h>
#endif

#include <algorithm>
#include <string>
#include <vector>

namespace instructblip::image_decoding {

#if defined(INSTRUCTBLIP_HAVE_JPEG)
namespace {

/// Pillow's conversion from CMYK (4 bytes per pixel) to RGB. Like Pillow, assumes that samples are
/// stored inverted, as Adobe does.
void inverted_cmyk_to_rgb(const std::uint8_t* cmyk, std::uint8_t* rgb, Index count) {
  for (Index i = 0; i < count; ++i, cmyk += 4, rgb += 3) {
    const int not_black = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * not_black + 128;
      rgb[c] = static_cast<std::uint8_t>(not_black - (((product >> 8) + product) >> 8));
    }
  }
}

/// libjpeg reports errors through functions that must not return. They use longjmp, so no C++
/// object may live in the frames they leave.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void raise_error(j_common_ptr common) {
  auto* manager = reinterpret_cast<ErrorManager*>(common->err);
  manager->base.format_message(common, manager->message);
  std::longjmp(manager->escape, 1);
}

void ignore_message(j_common_ptr) {}

// The whole file is in memory, so there is never more data: libjpeg returns without the rows that
// it lacks. A missing end marker does not matter then, once all rows are there.
boolean no_more_data(j_decompress_ptr) { return FALSE; }

void skip_input(j_decompress_ptr decoder, long count) {
  const std::size_t skipped =
      std::min(static_cast<std::size_t>(std::max(count, 0L)), decoder->src->bytes_in_buffer);
  decoder->src->next_input_byte += skipped;
  decoder->src->bytes_in_buffer -= skipped;
}

void nothing(j_decompress_ptr) {}

// Each scan of a progressive file processes the whole image, so their number is limited.
void limit_scans(j_common_ptr common) {
  constexpr int kMostScans = 1000;
  if (reinterpret_cast<j_decompress_ptr>(common)->input_scan_number <= kMostScans) return;
  auto* manager = reinterpret_cast<ErrorManager*>(common->err);
  std::snprintf(manager->message, sizeof(manager->message), "it has more than %d scans",
                kMostScans);
  std::longjmp(manager->escape, 1);
}

struct Decompressor {
  jpeg_decompress_struct decoder = {};
  ErrorManager errors = {};
  jpeg_source_mgr source = {};
  jpeg_progress_mgr progress = {};

  explicit Decompressor(Bytes file) {
    decoder.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = raise_error;
    errors.base.output_message = ignore_message;
    source.next_input_byte = file.data();
    source.bytes_in_buffer = file.size();
    source.init_source = nothing;
    source.fill_input_buffer = no_more_data;
    source.skip_input_data = skip_input;
    source.resync_to_restart = jpeg_resync_to_restart;
    source.term_source = nothing;
    progress.progress_monitor = limit_scans;
  }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  ~Decompressor() { jpeg_destroy_decompress(&decoder); }
};

enum class Outcome { done, failed, truncated };

/// What follows reports libjpeg's errors as Outcome::failed; the message is in `d.errors`. No
/// object with a destructor may live in these functions.
Outcome start(Decompressor& d) {
  if (setjmp(d.errors.escape) != 0) return Outcome::failed;
  jpeg_create_decompress(&d.decoder);
  d.decoder.src = &d.source;
  d.decoder.progress = &d.progress;
  if (jpeg_read_header(&d.decoder, TRUE) != JPEG_HEADER_OK) return Outcome::truncated;
  if (d.decoder.num_components == 4)
    d.decoder.out_color_space = JCS_CMYK;
  else
    d.decoder.out_color_space = d.decoder.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  return jpeg_start_decompress(&d.decoder) ? Outcome::done : Outcome::truncated;
}

Outcome read_rows(Decompressor& d, std::uint8_t* line, Image& image) {
  if (setjmp(d.errors.escape) != 0) return Outcome::failed;
  while (d.decoder.output_scanline < d.decoder.output_height) {
    std::uint8_t* out = image.row(static_cast<Index>(d.decoder.output_scanline));
    JSAMPROW target = d.decoder.output_components == 3 ? out : line;
    if (jpeg_read_scanlines(&d.decoder, &target, 1) == 0) return Outcome::truncated;
    if (d.decoder.output_components == 4) inverted_cmyk_to_rgb(line, out, image.width());
    if (d.decoder.output_components == 1) {
      for (Index x = 0; x < image.width(); ++x) put_gray(out + 3 * x, line[x]);
    }
  }
  jpeg_finish_decompress(&d.decoder);
  return Outcome::done;
}

void check(Outcome outcome, const Decompressor& d) {
  if (outcome == Outcome::failed) fail(kJpegName, d.errors.message);
  if (outcome == Outcome::truncated) fail_truncated(kJpegName);
}

Image decode_with_libjpeg(Bytes file, const JpegMarkers& markers) {
  Decompressor d(file);
  check(start(d), d);
  if (d.decoder.output_width != markers.width || d.decoder.output_height != markers.height) {
    fail(kJpegName, "its headers are inconsistent");
  }
  Image image(static_cast<Index>(markers.width), static_cast<Index>(markers.height));
  std::vector<std::uint8_t> line(4 * std::size_t{markers.width});
  check(read_rows(d, line.data(), image), d);
  return image;
}

}  // namespace
#endif

Decoded decode_jpeg(Bytes file, Index max_pixels) {
#if defined(INSTRUCTBLIP_HAVE_JPEG)
  const JpegMarkers markers = walk_jpeg_markers(file, false);
  check_size(kJpegName, markers.width, markers.height, max_pixels);
  return {decode_with_libjpeg(file, markers), markers.orientation};
#else
  const JpegMarkers markers = walk_jpeg_markers(file, true);
  check_size(kJpegName, markers.width, markers.height, max_pixels);
  return {decode_with_stb(kJpegName, file, markers.width, markers.height), markers.orientation};
#endif
}

}  // namespace instructblip::image_decoding
