#include "instructblip/image_processing/resize.h"

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "support/compare.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using testing::expect_equal;
using testing::Fixture;

Image image_from(const Tensor& pixels) {
  return Image::from_pixels(pixels.data<std::uint8_t>(), pixels.dim(1), pixels.dim(0),
                            static_cast<PixelFormat>(pixels.dim(2) - 1));
}

TensorView pixels_of(const Image& image) {
  return {image.pixels().data(), DType::UInt8, {image.height(), image.width(), image.channels()}};
}

/// Compares every "<image>.<width>x<height>.<filter>" of the fixture.
void compare_all() {
  const Fixture fixture("image_processing/resizing");
  int compared = 0;
  for (const std::string& name : fixture.names()) {
    const std::size_t dot = name.find('.');
    if (dot == name.npos) continue;
    SCOPED_TRACE(name);
    const Tensor expected = fixture[name];
    const auto filter = static_cast<Resampling>(name.back() - '0');
    const Image image = image_from(fixture[name.substr(0, dot)]);
    expect_equal(pixels_of(resize(image, expected.dim(1), expected.dim(0), filter)), expected);
    ++compared;
  }
  EXPECT_GE(compared, 90);
}

TEST(Resize, EqualsPillowInEveryFilterBitForBit) { compare_all(); }

TEST(Resize, DoesNotDependOnTheNumberOfThreads) {
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    compare_all();
  }
  set_num_threads(before);
}

TEST(Resize, TheSameSizeIsACopy) {
  Image image(3, 2, PixelFormat::RGBA);
  image.row(1)[4] = 77;  // a colour under full transparency would not survive premultiplication
  expect_equal(pixels_of(resize(image, 3, 2)), pixels_of(image));
}

TEST(Resize, InvalidSizesAreErrors) {
  const Image image(2, 2);
  EXPECT_THROW(resize(Image(), 2, 2), InputError);
  EXPECT_THROW(resize(image, 0, 2), InputError);
  EXPECT_THROW(resize(image, 2, -1), InputError);
  EXPECT_THROW(resize(image, Index{1} << 30, 2), InputError);
  EXPECT_THROW(resize(image, Index{1} << 20, Index{1} << 20), InputError);
  EXPECT_THROW(resize(image, 3, 3, static_cast<Resampling>(9)), InputError);
}

}  // namespace
}  // namespace instructblip
