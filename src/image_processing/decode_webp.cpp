// WebP through libwebp, which Pillow uses, too: the first frame on its canvas, without alpha.
#include "image_processing/decode.h"

#if defined(INSTRUCTBLIP_HAVE_WEBP)
#include <webp/decode.h>
#include <webp/demux.h>
#endif

#include <memory>

namespace instructblip::image_decoding {
namespace {

constexpr std::string_view kWebpName = "WebP";

#if defined(INSTRUCTBLIP_HAVE_WEBP)
/// The contents of the first chunk of a kind, empty if there is none.
Bytes chunk(const WebPDemuxer* demuxer, const char* kind) {
  WebPChunkIterator iterator = {};
  Bytes bytes;
  if (WebPDemuxGetChunk(demuxer, kind, 1, &iterator))
    bytes = {iterator.chunk.bytes, iterator.chunk.size};
  WebPDemuxReleaseChunkIterator(&iterator);
  return bytes;  // part of the file
}
#endif

}  // namespace

#if defined(INSTRUCTBLIP_HAVE_WEBP)
Decoded decode_webp(Bytes file, Index max_pixels) {
  int width = 0, height = 0;
  if (!WebPGetInfo(file.data(), file.size(), &width, &height))
    fail(kWebpName, "its header is truncated or damaged");
  check_size(kWebpName, static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height),
             max_pixels);
  const WebPData data = {file.data(), file.size()};
  const std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder*)> decoder(
      WebPAnimDecoderNew(&data, nullptr), WebPAnimDecoderDelete);
  std::uint8_t* rgba = nullptr;
  int timestamp = 0;
  if (!decoder || !WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp))
    fail_truncated(kWebpName);
  const WebPDemuxer* demuxer = WebPAnimDecoderGetDemuxer(decoder.get());
  if (WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH) != static_cast<std::uint32_t>(width) ||
      WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT) != static_cast<std::uint32_t>(height)) {
    fail(kWebpName, "its headers are inconsistent");
  }
  Decoded decoded{.image = Image(width, height)};
  for (std::uint8_t *out = decoded.image.pixels().data(),
                    *end = out + decoded.image.pixels().size();
       out != end; out += 3, rgba += 4) {
    put_color(out, rgba);
  }
  const Bytes xmp = chunk(demuxer, "XMP ");
  decoded.orientation =
      exif_orientation(chunk(demuxer, "EXIF"))
          .value_or(xmp_orientation({reinterpret_cast<const char*>(xmp.data()), xmp.size()}));
  return decoded;
}
#else
Decoded decode_webp(Bytes, Index) {
  fail(kWebpName,
       "this library was built without libwebp; convert the picture to PNG or JPEG, or install "
       "libwebp (Debian: libwebp-dev) and build with INSTRUCTBLIP_WITH_WEBP=ON");
}
#endif

}  // namespace instructblip::image_decoding
