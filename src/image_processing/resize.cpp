// Pillow's resampling, step by step: coefficients are computed in double and rounded to 22 bits;
// rows and columns are resized in separate passes, which round to 8 bits.
#include "instructblip/image_processing/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"

namespace instructblip {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double hamming(double x) {
  x = std::fabs(x);
  if (x == 0.0) return 1.0;
  if (x >= 1.0) return 0.0;
  x = x * std::numbers::pi;
  return std::sin(x) / x * (0.54 + 0.46 * std::cos(x));
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x = x * std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Filter {
  double (*weight)(double x);
  double support;
};

Filter filter_of(Resampling resampling) {
  switch (resampling) {
    case Resampling::Lanczos: return {lanczos, 3.0};
    case Resampling::Bilinear: return {bilinear, 1.0};
    case Resampling::Bicubic: return {bicubic, 2.0};
    case Resampling::Box: return {box, 0.5};
    case Resampling::Hamming: return {hamming, 1.0};
    case Resampling::Nearest: break;
  }
  throw InputError("resize: " + std::to_string(static_cast<int>(resampling)) +
                   " is not a filter; expected 0 (nearest) to 5 (hamming)");
}

/// For each output position: the first contributing input position, their number, and their
/// weights.
struct Coefficients {
  std::vector<Index> first, count;
  std::vector<std::int32_t> weights;  // [outputs, width]
  Index width = 0;

  const std::int32_t* of(Index output) const { return weights.data() + output * width; }
};

Coefficients coefficients(Index in_size, Index out_size, const Filter& filter) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter.support * filter_scale;
  Coefficients result;
  // At most the whole input contributes.
  result.width = std::min(static_cast<Index>(std::ceil(support)) * 2 + 1, in_size);
  result.weights.resize(to_size(out_size * result.width));
  std::vector<double> exact(to_size(result.width));
  for (Index output = 0; output < out_size; ++output) {
    const double center = (static_cast<double>(output) + 0.5) * scale;
    const double inverse = 1.0 / filter_scale;
    const Index first = std::max<Index>(static_cast<Index>(center - support + 0.5), 0);
    const Index count = std::min(static_cast<Index>(center + support + 0.5), in_size) - first;
    double sum = 0.0;
    for (Index i = 0; i < count; ++i) {
      const double weight =
          filter.weight((static_cast<double>(i + first) - center + 0.5) * inverse);
      at(exact, i) = weight;
      sum += weight;
    }
    std::int32_t* weights = result.weights.data() + output * result.width;
    for (Index i = 0; i < count; ++i) {
      double weight = at(exact, i);
      if (sum != 0.0) weight /= sum;
      weight *= 1 << kPrecisionBits;
      weights[i] = static_cast<std::int32_t>(weight < 0 ? -0.5 + weight : 0.5 + weight);
    }
    result.first.push_back(first);
    result.count.push_back(count);
  }
  return result;
}

std::uint8_t clip(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

template <Index channels>
void resize_row(const std::uint8_t* in, std::uint8_t* out, Index out_width, const Coefficients& k) {
  for (Index x = 0; x < out_width; ++x, out += channels) {
    const std::int32_t* weights = k.of(x);
    const std::uint8_t* pixel = in + at(k.first, x) * channels;
    std::int32_t sums[channels];
    std::fill_n(sums, channels, kHalf);
    for (Index i = 0; i < at(k.count, x); ++i, pixel += channels) {
      for (Index c = 0; c < channels; ++c) sums[c] += pixel[c] * weights[i];
    }
    for (Index c = 0; c < channels; ++c) out[c] = clip(sums[c]);
  }
}

constexpr Index kRowsPerThread = 16;

Image resize_horizontally(const Image& image, Index width, const Filter& filter) {
  const Coefficients k = coefficients(image.width(), width, filter);
  Image result(width, image.height(), image.format());
  parallel_for(image.height(), kRowsPerThread, [&](Index begin, Index end) {
    for (Index y = begin; y < end; ++y) {
      switch (image.channels()) {
        case 1: resize_row<1>(image.row(y), result.row(y), width, k); break;
        case 2: resize_row<2>(image.row(y), result.row(y), width, k); break;
        case 3: resize_row<3>(image.row(y), result.row(y), width, k); break;
        default: resize_row<4>(image.row(y), result.row(y), width, k); break;
      }
    }
  });
  return result;
}

Image resize_vertically(const Image& image, Index height, const Filter& filter) {
  const Coefficients k = coefficients(image.height(), height, filter);
  Image result(image.width(), height, image.format());
  const Index row_bytes = image.width() * image.channels();
  parallel_for(height, kRowsPerThread, [&](Index begin, Index end) {
    std::vector<std::int32_t> sums(to_size(row_bytes));
    for (Index y = begin; y < end; ++y) {
      const Index first = at(k.first, y);
      std::fill(sums.begin(), sums.end(), kHalf);
      for (Index i = 0; i < at(k.count, y); ++i) {
        const std::uint8_t* in = image.row(first + i);
        const std::int32_t weight = k.of(y)[i];
        for (Index x = 0; x < row_bytes; ++x) at(sums, x) += in[x] * weight;
      }
      std::uint8_t* out = result.row(y);
      for (Index x = 0; x < row_bytes; ++x) out[x] = clip(at(sums, x));
    }
  });
  return result;
}

/// Source positions of an axis; -1 if rounding leads outside. Like Pillow, accumulates the step
/// with its rounding errors.
std::vector<Index> nearest_positions(Index in_size, Index out_size) {
  const double step = static_cast<double>(in_size) / static_cast<double>(out_size);
  std::vector<Index> positions;
  double position = step * 0.5;
  for (Index i = 0; i < out_size; ++i, position += step) {
    const Index at = static_cast<Index>(position);
    positions.push_back(at < in_size ? at : -1);
  }
  return positions;
}

Image resize_nearest(const Image& image, Index width, Index height) {
  const std::vector<Index> columns = nearest_positions(image.width(), width);
  const std::vector<Index> lines = nearest_positions(image.height(), height);
  const Index channels = image.channels();
  Image result(width, height, image.format());
  parallel_for(height, kRowsPerThread, [&](Index begin, Index end) {
    for (Index y = begin; y < end; ++y) {
      if (at(lines, y) < 0) continue;
      const std::uint8_t* in = image.row(at(lines, y));
      std::uint8_t* out = result.row(y);
      for (const Index column : columns) {
        if (column >= 0) std::copy_n(in + column * channels, channels, out);
        out += channels;
      }
    }
  });
  return result;
}

bool has_alpha(PixelFormat format) {
  return format == PixelFormat::GrayAlpha || format == PixelFormat::RGBA;
}

void multiply_by_alpha(Image& image) {
  const Index channels = image.channels();
  std::uint8_t* end = image.pixels().data() + image.pixels().size();
  for (std::uint8_t* pixel = image.pixels().data(); pixel != end; pixel += channels) {
    for (Index c = 0; c + 1 < channels; ++c) {
      const int product = pixel[c] * pixel[channels - 1] + 128;
      pixel[c] = static_cast<std::uint8_t>(((product >> 8) + product) >> 8);
    }
  }
}

void divide_by_alpha(Image& image) {
  const Index channels = image.channels();
  std::uint8_t* end = image.pixels().data() + image.pixels().size();
  for (std::uint8_t* pixel = image.pixels().data(); pixel != end; pixel += channels) {
    const int alpha = pixel[channels - 1];
    if (alpha == 0 || alpha == 255) continue;
    for (Index c = 0; c + 1 < channels; ++c) {
      pixel[c] = static_cast<std::uint8_t>(std::min(255 * pixel[c] / alpha, 255));
    }
  }
}

void check(const Image& image, Index width, Index height) {
  constexpr Index kLongestSide = Index{1} << 20, kMostPixels = Index{1} << 30;
  if (image.empty()) throw InputError("resize: the image is empty (0 x 0)");
  if (width < 1 || height < 1 || width > kLongestSide || height > kLongestSide ||
      width * height > kMostPixels || width * image.height() > kMostPixels) {
    throw InputError(
        "resize: cannot make an image of " + std::to_string(image.width()) + " x " +
        std::to_string(image.height()) + " pixels into one of " + std::to_string(width) + " x " +
        std::to_string(height) +
        "; expected sides from 1 to 2^20 and at most 2^30 pixels, also after the first pass");
  }
}

}  // namespace

Image resize(const Image& image, Index width, Index height, Resampling filter) {
  check(image, width, height);
  if (width == image.width() && height == image.height()) return image;
  if (filter == Resampling::Nearest) return resize_nearest(image, width, height);
  const Filter weights = filter_of(filter);
  const bool alpha = has_alpha(image.format());
  Image result;
  const Image* source = &image;
  if (alpha) {
    result = image;
    multiply_by_alpha(result);
    source = &result;
  }
  const auto pass = [&](bool horizontal) {
    if (horizontal ? width == source->width() : height == source->height()) return;
    result = horizontal ? resize_horizontally(*source, width, weights)
                        : resize_vertically(*source, height, weights);
    source = &result;
  };
  // Each pass rounds to 8 bits, so their order matters. This is the order of Pillow 13; older
  // versions always resize horizontally first.
  const Index fewer_lines = image.height() - height, fewer_columns = image.width() - width;
  const bool vertical_first = fewer_lines > 0 && fewer_lines > 2 * fewer_columns;
  pass(!vertical_first);
  pass(vertical_first);
  if (alpha) divide_by_alpha(result);
  return result;
}

}  // namespace instructblip
