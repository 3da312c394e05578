#include "instructblip/image_processing/image_processing_blip.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"

namespace instructblip {
namespace {

std::string text_of(const SizeDict& size) {
  std::string text = "{";
  const auto add = [&](const char* name, const std::optional<Index>& value) {
    if (!value) return;
    if (text.size() > 1) text += ", ";
    text.append(name).append(": ").append(std::to_string(*value));
  };
  add("height", size.height), add("width", size.width);
  add("shortest_edge", size.shortest_edge), add("longest_edge", size.longest_edge);
  add("max_height", size.max_height), add("max_width", size.max_width);
  add("min_pixels", size.min_pixels), add("max_pixels", size.max_pixels);
  return text.append("}");
}

struct Extent {
  Index height = 0, width = 0;
};

// Without the part after the point. `resize` refuses what is cut off above.
Index whole(double value) { return static_cast<Index>(std::min(value, 0x1p62)); }

/// As image_transforms.get_size_with_aspect_ratio.
Extent bounded_by_longest(const Extent& image, Index size, Index longest) {
  const auto height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  const double small = std::min(height, width), large = std::max(height, width);
  double wanted = static_cast<double>(size);
  if (large / small * wanted > static_cast<double>(longest)) {
    wanted = static_cast<double>(longest) * small / large;
    size = whole(std::nearbyint(wanted));
  }
  if (std::min(image.height, image.width) == size) return image;
  if (image.width < image.height) return {whole(wanted * height / width), size};
  return {size, whole(wanted * width / height)};
}

/// The size of an image after resizing. Source: PilBackend.resize.
Extent resized_extent(const Extent& image, const SizeDict& size) {
  const Index shortest = size.shortest_edge.value_or(0), longest = size.longest_edge.value_or(0);
  const auto height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  if (shortest != 0 && longest != 0) return bounded_by_longest(image, shortest, longest);
  if (shortest != 0) {
    const double ratio = static_cast<double>(shortest) * std::max(height, width);
    const Index other = whole(ratio / std::min(height, width));
    return image.width <= image.height ? Extent{other, shortest} : Extent{shortest, other};
  }
  const Index max_height = size.max_height.value_or(0), max_width = size.max_width.value_or(0);
  if (max_height != 0 && max_width != 0) {
    const double scale =
        std::min(static_cast<double>(max_height) / height, static_cast<double>(max_width) / width);
    return {whole(height * scale), whole(width * scale)};
  }
  if (size.height.value_or(0) != 0 && size.width.value_or(0) != 0)
    return {*size.height, *size.width};
  throw InputError("BlipImageProcessor: size is " + text_of(size) +
                   "; expected height and width, max_height and max_width, or shortest_edge");
}

Extent extent_of(const Image& image) { return {image.height(), image.width()}; }

Index floor_half(Index value) { return (value - (value < 0 ? 1 : 0)) / 2; }

/// The height and width of a `crop_size` or `pad_size`, which have the limits of `resize`.
Extent extent_of(const char* name, const SizeDict& size) {
  constexpr Index kLongestSide = Index{1} << 20, kMostPixels = Index{1} << 30;
  const Extent extent{size.height.value_or(0), size.width.value_or(0)};
  if (extent.height < 1 || extent.width < 1 || extent.height > kLongestSide ||
      extent.width > kLongestSide || extent.height * extent.width > kMostPixels) {
    throw InputError("BlipImageProcessor: " + std::string(name) + " is " + text_of(size) +
                     "; expected height and width from 1 to 2^20 and at most 2^30 pixels");
  }
  return extent;
}

/// As image_transforms.center_crop: pixels outside the image are black.
Image center_crop(const Image& image, const SizeDict& size) {
  const Extent crop = extent_of("crop_size", size);
  Image result(crop.width, crop.height, image.format());
  // If the image is too small and the difference is odd, the larger half goes to the top or left.
  const Index top = floor_half(image.height() - crop.height);
  const Index left = floor_half(image.width() - crop.width);
  const Index first = std::max<Index>(-left, 0);
  const Index count = std::min(image.width() - std::max<Index>(left, 0), crop.width - first);
  for (Index y = 0; y < crop.height; ++y) {
    const Index line = y + top;
    if (line < 0 || line >= image.height()) continue;
    const std::uint8_t* in = image.row(line) + std::max<Index>(left, 0) * image.channels();
    std::copy_n(in, count * image.channels(), result.row(y) + first * image.channels());
  }
  return result;
}

/// The result for each byte value of a channel, computed once with the rounding steps of the
/// reference.
using Levels = std::array<float, 256>;

struct Options {
  bool do_convert_rgb, do_resize, do_center_crop, do_rescale, do_normalize, do_pad;
  std::optional<SizeDict> size, crop_size, pad_size;
  std::optional<Resampling> resample;
  std::optional<double> rescale_factor;
  std::optional<std::vector<double>> image_mean, image_std;
};

double channel_value(const std::vector<double>& values, std::size_t channel) {
  return values.size() == 1 ? values[0] : values[channel];
}

std::vector<Levels> levels_of(const Options& options, Index channels) {
  std::vector<Levels> levels(to_size(channels));
  for (std::size_t c = 0; c < levels.size(); ++c) {
    for (std::size_t i = 0; i < 256; ++i) {
      auto value = static_cast<float>(i);
      if (options.do_rescale)
        value = static_cast<float>(static_cast<double>(i) * *options.rescale_factor);
      if (options.do_normalize) {
        const auto mean = static_cast<float>(channel_value(*options.image_mean, c));
        const auto std = static_cast<float>(channel_value(*options.image_std, c));
        value = (value - mean) / std;
      }
      levels[c][i] = value;
    }
  }
  return levels;
}

void require(bool condition, const std::string& message) {
  if (!condition) throw InputError("BlipImageProcessor: " + message);
}

void check(const Options& options) {
  require(!options.do_resize || (options.size && options.resample),
          "`size` and `resample` must be set if `do_resize` is");
  require(!options.do_center_crop || options.crop_size,
          "`crop_size` must be set if `do_center_crop` is");
  require(!options.do_rescale || options.rescale_factor,
          "`rescale_factor` must be set if `do_rescale` is");
  require(!options.do_normalize || (options.image_mean && options.image_std),
          "`image_mean` and `image_std` must be set if `do_normalize` is");
  if (!options.do_normalize) return;
  for (const double value : *options.image_std) {
    require(static_cast<float>(value) != 0.0f,
            "`image_std` must not contain 0, because pixels are divided by it");
  }
}

void check_channels(const std::string& name, const std::vector<double>& values, Index channels) {
  const auto found = std::ssize(values);
  require(found == 1 || found == channels,
          name + " has " + std::to_string(found) + " values, but the images have " +
              std::to_string(channels) +
              " channels; expected one value per channel, or one for all");
}

Extent padded_extent(const std::vector<Image>& images, const std::optional<SizeDict>& pad_size) {
  Extent extent;
  for (const Image& image : images) {
    extent.height = std::max(extent.height, image.height());
    extent.width = std::max(extent.width, image.width());
  }
  if (!pad_size) return extent;
  const Extent wanted = extent_of("pad_size", *pad_size);
  require(wanted.height >= extent.height && wanted.width >= extent.width,
          "pad_size is " + text_of(*pad_size) + ", but an image is " +
              std::to_string(extent.height) + " high or " + std::to_string(extent.width) + " wide");
  return wanted;
}

void check_equal_sizes(const std::vector<Image>& images) {
  for (std::size_t i = 1; i < images.size(); ++i) {
    const Image &first = images[0], &other = images[i];
    if (other.width() == first.width() && other.height() == first.height()) continue;
    throw ImageError(
        "BlipImageProcessor: image " + std::to_string(i) + " has " + std::to_string(other.width()) +
        " x " + std::to_string(other.height()) + " pixels after processing, image 0 has " +
        std::to_string(first.width()) + " x " + std::to_string(first.height()) +
        "; set height and width in `size`, set `do_center_crop` or `do_pad`, or process the "
        "images one by one");
  }
}

Image prepared(const Image& image, const Options& options) {
  const bool is_opaque_rgb = image.format() == PixelFormat::RGB && !image.transparent_color();
  if (options.do_convert_rgb && !is_opaque_rgb) {
    return prepared(image.to_rgb(), options);
  }
  Image result;
  if (options.do_resize) {
    const Extent extent = resized_extent(extent_of(image), *options.size);
    if (extent.height == 0 || extent.width == 0) {
      throw ImageError("BlipImageProcessor: an image of " + std::to_string(image.width()) + " x " +
                       std::to_string(image.height()) + " pixels, resized by " +
                       text_of(*options.size) + ", would have no pixels; use a larger size");
    }
    result = resize(image, extent.width, extent.height, *options.resample);
  } else {
    result = image;
  }
  return options.do_center_crop ? center_crop(result, *options.crop_size) : result;
}

/// Writes the interleaved pixels of all images to planes of `out`, each through `convert(channel,
/// byte)`.
template <class T, class Convert>
void write_planes(const std::vector<Image>& images, const Extent& extent, Tensor& out,
                  Convert convert) {
  const Index channels = images[0].channels(), plane = extent.height * extent.width;
  T* base = out.data<T>();
  parallel_for(std::ssize(images) * channels, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Image& image = at(images, i / channels);
      const Index channel = i % channels;
      for (Index y = 0; y < image.height(); ++y) {
        const std::uint8_t* in = image.row(y) + channel;
        T* row = base + i * plane + y * extent.width;
        for (Index x = 0; x < image.width(); ++x) row[x] = convert(channel, in[x * channels]);
      }
    }
  });
}

}  // namespace

Tensor BlipImageProcessor::preprocess(std::span<const Image> images,
                                      const ImagesKwargs& kwargs) const {
  const auto either = [](const auto& given, const auto& own) { return given ? given : own; };
  const Options options{
      .do_convert_rgb = kwargs.do_convert_rgb.value_or(do_convert_rgb),
      .do_resize = kwargs.do_resize.value_or(do_resize),
      .do_center_crop = kwargs.do_center_crop.value_or(do_center_crop),
      .do_rescale = kwargs.do_rescale.value_or(do_rescale),
      .do_normalize = kwargs.do_normalize.value_or(do_normalize),
      .do_pad = kwargs.do_pad.value_or(do_pad),
      .size = either(kwargs.size, size),
      .crop_size = either(kwargs.crop_size, crop_size),
      .pad_size = either(kwargs.pad_size, pad_size),
      .resample = either(kwargs.resample, resample),
      .rescale_factor = either(kwargs.rescale_factor, rescale_factor),
      .image_mean = either(kwargs.image_mean, image_mean),
      .image_std = either(kwargs.image_std, image_std),
  };
  check(options);
  require(!images.empty(), "expected at least one image, found none");
  std::vector<Image> ready;
  for (const Image& image : images) {
    require(!image.empty(), "image " + std::to_string(ready.size()) + " is empty (0 x 0)");
    ready.push_back(prepared(image, options));
    require(ready.back().format() == ready.front().format(),
            "the images have different numbers of channels; set `do_convert_rgb`");
  }
  if (!options.do_pad) check_equal_sizes(ready);
  const Extent extent =
      options.do_pad ? padded_extent(ready, options.pad_size) : extent_of(ready[0]);
  const Index channels = ready[0].channels();
  const Shape shape{std::ssize(ready), channels, extent.height, extent.width};
  if (!options.do_rescale && !options.do_normalize) {
    Tensor result(DType::UInt8, shape);
    write_planes<std::uint8_t>(ready, extent, result,
                               [](Index, std::uint8_t value) { return value; });
    return result;
  }
  if (options.do_normalize) {
    check_channels("image_mean", *options.image_mean, channels);
    check_channels("image_std", *options.image_std, channels);
  }
  const std::vector<Levels> levels = levels_of(options, channels);
  Tensor result(DType::Float32, shape);
  write_planes<float>(ready, extent, result, [&](Index channel, std::uint8_t value) {
    return at(levels, channel)[value];
  });
  return result;
}

}  // namespace instructblip
