#include "instructblip/image_processing/image.h"

#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/fixtures.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::expect_equal;
using testing::Fixture;
using testing::TemporaryFolder;

using Bytes = std::vector<std::uint8_t>;

TensorView view(const Image& image) {
  return {image.pixels().data(), DType::UInt8, {image.height(), image.width(), image.channels()}};
}

Bytes bytes_of(const Tensor& tensor) {
  const auto span = tensor.span<std::uint8_t>();
  return {span.begin(), span.end()};
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

#define EXPECT_MESSAGE(statement, part)                                   \
  EXPECT_NE(message_of([&] { statement; }).find(part), std::string::npos) \
      << message_of([&] { statement; })

const Fixture& decoding() {
  static const Fixture fixture("image_processing/decoding");
  return fixture;
}

Bytes file(const std::string& name) { return bytes_of(decoding()[name + ".file"]); }

class Decoding : public ::testing::TestWithParam<std::string> {};

TEST_P(Decoding, PixelsEqualTheReferences) {
  const Image image = Image::open(file(GetParam()));
  EXPECT_EQ(image.format(), PixelFormat::RGB);
  expect_equal(view(image), decoding()[GetParam() + ".rgb"]);
  const std::string opaque = GetParam() + ".opaque";
  expect_equal(view(image.to_rgb()),
               decoding()[decoding().has(opaque) ? opaque : GetParam() + ".rgb"]);
}

class Refusing : public ::testing::TestWithParam<std::string> {};

TEST_P(Refusing, IsAnErrorAsInTheReference) {
  EXPECT_THROW(Image::open(file(GetParam())), ImageError)
      << "the reference: " << decoding().text(GetParam() + ".refused");
}

bool has_decoder(std::string_view name) {
  return (INSTRUCTBLIP_TEST_HAS_WEBP || !name.starts_with("webp")) &&
         (INSTRUCTBLIP_TEST_HAS_JPEG || !name.starts_with("jpeg_"));
}

/// The files of which the fixture has a tensor of that kind, without what is decoded otherwise.
std::vector<std::string> file_names(std::string_view kind) {
  std::vector<std::string> names;
  for (const std::string& name : decoding().names()) {
    if (!name.ends_with(kind) || name.starts_with("unlike") || !has_decoder(name)) continue;
    names.push_back(name.substr(0, name.size() - kind.size()));
  }
  return names;
}

TEST(Image, JpegsAreCloseToTheReferenceWithEitherDecoder) {
  for (const std::string& name : decoding().names()) {
    if (!name.starts_with("jpeg") || !name.ends_with(".rgb")) continue;
    // stb_image needs the end marker, true lengths of segments, and nothing between segments.
    const bool unclean = name.starts_with("jpeg_end") || name.ends_with("_before_scan.rgb") ||
                         name == "jpeg_short_segment.rgb";
    if (!INSTRUCTBLIP_TEST_HAS_JPEG && unclean) continue;
    SCOPED_TRACE(name);
    const std::string base = name.substr(0, name.size() - 4);
    const Image image = Image::open(file(base));
    const Tensor expected = decoding()[base + ".rgb"];
    ASSERT_EQ((Shape{image.height(), image.width(), 3}), expected.shape());
    double difference = 0;
    for (Index i = 0; i < expected.size(); ++i) {
      difference += std::abs(expected.data<std::uint8_t>()[i] -
                             int{image.pixels()[static_cast<std::size_t>(i)]});
    }
    EXPECT_LT(difference / static_cast<double>(expected.size()), 1.0);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryFile, Decoding, ::testing::ValuesIn(file_names(".rgb")),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(EveryFile, Refusing, ::testing::ValuesIn(file_names(".refused")),
                         [](const auto& info) { return info.param; });

TEST(Image, OpensAPath) {
  const TemporaryFolder folder;
  const Bytes bytes = file("png_2_8");
  const auto path = folder.write("picture.of.no.kind",
                                 {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  expect_equal(view(Image::open(path)), decoding()["png_2_8.rgb"]);
}

TEST(Image, FilesThatCannotBeOpenedAreNamed) {
  const TemporaryFolder folder;
  EXPECT_THROW(Image::open(folder.path() / "nothing.png"), ImageError);
  EXPECT_MESSAGE(Image::open(folder.path() / "nothing.png"), "nothing.png: No such file");
  EXPECT_MESSAGE(Image::open(folder.path()), "it is a folder, not a picture");
  EXPECT_MESSAGE(Image::open(folder.write("empty.png", "")), "empty.png");
  EXPECT_MESSAGE(Image::open(folder.write("empty.png", "")), "it is empty");
}

TEST(Image, OpensPipesAndDevices) {
  const TemporaryFolder folder;
  const std::filesystem::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const char* name : {"png_2_8", "jpeg_baseline", "gif_kept_table"}) {
    const Bytes bytes = file(name);
    std::thread writer([&] {
      std::ofstream stream(pipe, std::ios::binary);
      for (const std::uint8_t byte : bytes) stream.put(static_cast<char>(byte));
    });
    const Image image = Image::open(pipe);
    writer.join();
    const Image expected = Image::open(bytes);
    expect_equal(view(image), Tensor::copy_of(view(expected)));
  }
  EXPECT_MESSAGE(Image::open("/dev/null"), "it is empty");
}

TEST(Image, OtherFilesAreNamedAsWhatTheyAre) {
  const auto open = [](std::string_view text) { Image::open(Bytes(text.begin(), text.end())); };
  EXPECT_MESSAGE(open({"II*\0\0\0\0\0", 8}), "TIFF picture; convert it to JPEG or PNG");
  EXPECT_MESSAGE(open({"MM\0*\0\0\0\0", 8}), "TIFF");
  EXPECT_MESSAGE(open({"\0\0\0\x1c"
                       "ftypheic\0\0\0\0",
                       16}),
                 "HEIC");
  EXPECT_MESSAGE(open({"\0\0\0\x1c"
                       "ftypavif\0\0\0\0",
                       16}),
                 "AVIF");
  EXPECT_MESSAGE(open({"\0\0\0\x1c"
                       "ftypisom\0\0\0\0",
                       16}),
                 "video");
  EXPECT_MESSAGE(open("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
                 "git lfs pull");
  EXPECT_MESSAGE(open("\n <!DOCTYPE html><title>404</title>"), "web page");
  EXPECT_MESSAGE(open("<!-- a --><HTML>"), "web page");
  EXPECT_MESSAGE(open("<?xml version=\"1.0\"?><svg></svg>"), "SVG");
  EXPECT_MESSAGE(open("<?xml version=\"1.0\"?><a/>"), "XML");
  EXPECT_MESSAGE(open("%PDF-1.7"), "PDF");
  EXPECT_MESSAGE(open("{\"error\": 1}"), "JSON");
  EXPECT_MESSAGE(open({"PK\3\4\0\0", 6}), "ZIP");
  EXPECT_MESSAGE(open({"RIFF\0\0\0\0WAVEfmt ", 16}), "its first bytes");
  EXPECT_MESSAGE(open("MMMM"), "expected JPEG, PNG, WebP, GIF, BMP or PNM");
  EXPECT_MESSAGE(open(""), "it is empty");
  for (const std::string text : {"hello", "", "<html>", "%PDF"}) {
    const std::string message = message_of([&] { open(text); });
    EXPECT_EQ(message.find("from_pixels"), message.npos) << message;
  }
}

TEST(Image, WebpWithoutItsLibraryIsAnErrorThatSaysWhatToDo) {
  if (INSTRUCTBLIP_TEST_HAS_WEBP) GTEST_SKIP() << "built with libwebp";
  EXPECT_MESSAGE(Image::open(file("webp_lossy")), "INSTRUCTBLIP_WITH_WEBP");
}

TEST(Image, SizeIsBoundedByTheHeader) {
  for (const char* name :
       {"jpeg_baseline", "png_2_8", "bmp_24", "gif_full_table", "pnm_p6", "webp_lossy"}) {
    if (!has_decoder(name)) continue;
    const Tensor expected = decoding()[std::string(name) + ".rgb"];
    const Index pixels = expected.size() / 3;
    EXPECT_NO_THROW(Image::open(file(name), {.max_pixels = pixels})) << name;
    EXPECT_THROW(Image::open(file(name), {.max_pixels = pixels - 1}), ImageError) << name;
    EXPECT_MESSAGE(Image::open(file(name), {.max_pixels = pixels - 1}), "max_pixels");
  }
}

TEST(Image, AHugeSizeInTheHeaderAllocatesNoMemory) {
  Bytes png = file("png_0_8");
  png[16] = png[20] = 0x00, png[17] = png[21] = 0xff;  // 16 million pixels a side
  EXPECT_THROW(Image::open(png), ImageError);          // the checksum
  const std::string pnm = "P6 16000 10000 255 x";
  EXPECT_MESSAGE(Image::open(Bytes(pnm.begin(), pnm.end())), "truncated");
  const std::string huge = "P6 99999999 99999999 255 x";
  EXPECT_THROW(Image::open(Bytes(huge.begin(), huge.end()), {.max_pixels = PTRDIFF_MAX}),
               ImageError);
}

TEST(Image, TruncatedFilesAreErrors) {
  for (const char* name :
       {"jpeg_baseline", "jpeg_progressive", "jpeg_cmyk", "png_2_8", "png_3_4_adam7", "bmp_24",
        "bmp_rle8", "gif_full_table", "pnm_p6", "pnm_p3", "webp_lossy", "webp_lossless"}) {
    const Bytes whole = file(name);
    for (std::size_t size = 0; size < whole.size() * 9 / 10; size += 1 + whole.size() / 60) {
      EXPECT_THROW(
          Image::open(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))),
          ImageError)
          << name << " cut to " << size;
    }
  }
}

TEST(Image, ADamagedPngIsAnErrorUnlikeInTheReference) {
  Bytes png = file("png_2_8");
  png[png.size() - 14] ^= 1;  // the checksum of the pixels
  EXPECT_MESSAGE(Image::open(png), "checksum of chunk IDAT");
  EXPECT_MESSAGE(Image::open(file("unlike_png_rows_missing")), "truncated");
}

TEST(Image, DamageBesideThePixelsIsIgnoredUnlikeInTheReference) {
  for (const char* name :
       {"unlike_png_cut_trns", "unlike_png_cut_gama", "unlike_png_broken_exif"}) {
    const Image image = Image::open(file(name));
    EXPECT_TRUE(decoding().has(std::string(name) + ".refused")) << name;
    EXPECT_EQ(Bytes(image.pixels().begin(), image.pixels().end()),
              (Bytes{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6}));
    EXPECT_FALSE(image.transparent_color());
  }
}

TEST(Image, AGifFramesGrayRampOverridesTheGlobalPaletteUnlikeInTheReference) {
  const std::uint8_t gif[] = {'G', 'I', 'F', '8', '9', 'a', 2, 0,    1,    0,    0x80,
                              0,   0,   9,   8,   7,   6,   5, 4,  // global: two colours
                              ',', 0,   0,   0,   0,   2,   0, 1,    0,    0x80, 0,
                              0,   0,   1,   1,   1,   2,   2, 0x44, 0x0a, 0,    ';'};
  const Image image = Image::open(gif);
  EXPECT_EQ(image.row(0)[0], 0);
  EXPECT_EQ(image.row(0)[3], 1);
}

TEST(Image, BmpGrayPalettesAreAppliedUnlikeInTheReference) {
  const std::uint8_t bmp[] = {'B', 'M', 0, 0, 0, 0, 0, 0,   0,   0,   62, 0, 0, 0, 40, 0, 0,
                              0,   4,   0, 0, 0, 1, 0, 0,   0,   1,   0,  8, 0, 0, 0,  0, 0,
                              0,   0,   0, 0, 0, 0, 0, 0,   0,   0,   0,  0, 2, 0, 0,  0, 0,
                              0,   0,   0, 0, 0, 0, 0, 255, 255, 255, 0,  0, 1, 1, 0};
  const Image image = Image::open(bmp);
  EXPECT_EQ(image.row(0)[0], 0);
  EXPECT_EQ(image.row(0)[3], 255);
  EXPECT_EQ(image.row(0)[6], 255);
  EXPECT_EQ(image.row(0)[9], 0);
}

TEST(Image, JpegHuffmanTablesThatOverflowAreRefused) {
  Bytes jpeg = file("jpeg_baseline");
  const std::uint8_t marker[] = {0xff, 0xc4};
  const auto at = std::search(jpeg.begin(), jpeg.end(), std::begin(marker), std::end(marker));
  ASSERT_NE(at, jpeg.end());
  at[5] = 255;  // codes of one bit
  EXPECT_MESSAGE(Image::open(jpeg), "Huffman table");
}

TEST(Image, CopiesTheCallersPixels) {
  const std::uint8_t rows[] = {1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0};
  const Image padded = Image::from_pixels(rows, 2, 2, PixelFormat::RGB, 8);
  EXPECT_EQ(Bytes(padded.pixels().begin(), padded.pixels().end()),
            (Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  const Image flipped = Image::from_pixels(rows + 8, 2, 2, PixelFormat::RGB, -8);
  EXPECT_EQ(flipped.row(0)[0], 7);
  EXPECT_EQ(flipped.row(1)[0], 1);
  const Image gray = Image::from_pixels(rows, 4, 4, PixelFormat::Gray);
  EXPECT_EQ(gray.row(3)[1], 12);
  EXPECT_EQ(gray.channels(), 1);
}

TEST(Image, ReordersBgrPixels) {
  const std::uint8_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  const Image bgr = Image::from_pixels(rows, 1, 2, PixelFormat::BGR, 8);
  EXPECT_EQ(bgr.format(), PixelFormat::RGB);
  EXPECT_EQ(Bytes(bgr.pixels().begin(), bgr.pixels().end()), (Bytes{3, 2, 1, 11, 10, 9}));
  const Image bgra = Image::from_pixels(rows + 8, 2, 2, PixelFormat::BGRA, -8);
  EXPECT_EQ(bgra.format(), PixelFormat::RGBA);
  EXPECT_EQ(Bytes(bgra.pixels().begin(), bgra.pixels().end()),
            (Bytes{11, 10, 9, 12, 15, 14, 13, 16, 3, 2, 1, 4, 7, 6, 5, 8}));
  EXPECT_EQ(Image(2, 2, PixelFormat::BGR).format(), PixelFormat::RGB);
  EXPECT_EQ(channels_of(PixelFormat::BGR), 3);
  EXPECT_EQ(channels_of(PixelFormat::BGRA), 4);
  EXPECT_THROW(Image::from_pixels(rows, 1, 1, PixelFormat::BGRA, 3), InputError);
}

TEST(Image, InvalidPixelBuffersAreErrors) {
  const std::uint8_t pixel[4] = {};
  EXPECT_THROW(Image::from_pixels(nullptr, 1, 1, PixelFormat::RGB), InputError);
  EXPECT_THROW(Image::from_pixels(pixel, 0, 1, PixelFormat::RGB), InputError);
  EXPECT_THROW(Image::from_pixels(pixel, 1, -1, PixelFormat::RGB), InputError);
  EXPECT_THROW(Image::from_pixels(pixel, 1, 1, PixelFormat::RGBA, 3), InputError);
  EXPECT_THROW(Image::from_pixels(pixel, 1, 1, PixelFormat::RGBA, -3), InputError);
  EXPECT_THROW(Image(0, 0), InputError);
  EXPECT_THROW(Image(PTRDIFF_MAX / 2, 4), InputError);
}

TEST(Image, TransparencyOverWhiteEqualsTheReferencesForEveryValue) {
  const Fixture fixture("image_processing/objects");
  Image image(256, 256, PixelFormat::RGBA);
  for (Index y = 0; y < 256; ++y) {
    for (Index x = 0; x < 256; ++x) {
      std::uint8_t* pixel = image.row(y) + 4 * x;
      pixel[0] = pixel[1] = pixel[2] = static_cast<std::uint8_t>(x);
      pixel[3] = static_cast<std::uint8_t>(y);
    }
  }
  const Image rgb = image.to_rgb();
  Tensor first(DType::UInt8, {256, 256});
  for (Index i = 0; i < first.size(); ++i)
    first.data<std::uint8_t>()[i] = rgb.pixels()[static_cast<std::size_t>(3 * i)];
  expect_equal(first, fixture["composited"]);
}

TEST(Image, ImagesOfEveryFormatBecomeRgbAsInTheReference) {
  const Fixture fixture("image_processing/objects");
  const std::pair<const char*, PixelFormat> formats[] = {
      {"L", PixelFormat::Gray}, {"LA", PixelFormat::GrayAlpha}, {"RGBA", PixelFormat::RGBA}};
  for (const auto& [name, format] : formats) {
    const Tensor pixels = fixture[name];
    const Image image =
        Image::from_pixels(pixels.data<std::uint8_t>(), pixels.dim(1), pixels.dim(0), format);
    expect_equal(view(image.to_rgb()), fixture[std::string(name) + ".rgb"]);
  }
}

}  // namespace
}  // namespace instructblip
