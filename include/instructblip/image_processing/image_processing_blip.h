// BlipImageProcessor: images -> pixel_values. Mirrors transformers' image_processing_pil_blip.py
// and the Pillow backend that it inherits (image_processing_backends.py).
#pragma once

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/image_processing/image.h"
#include "instructblip/image_processing/resize.h"

namespace instructblip {

/// A size as the reference writes it. Used in one of these combinations: height + width;
/// shortest_edge (keeps the ratio); shortest_edge + longest_edge (keeps it, bounded); max_height +
/// max_width (keeps it).
struct SizeDict {
  std::optional<Index> height = {};
  std::optional<Index> width = {};
  std::optional<Index> longest_edge = {};
  std::optional<Index> shortest_edge = {};
  std::optional<Index> max_height = {};
  std::optional<Index> max_width = {};
  // Accepted in a file, as there; resizing by them is refused.
  std::optional<Index> min_pixels = {};
  std::optional<Index> max_pixels = {};

  bool operator==(const SizeDict&) const = default;
};

/// What a single call may override; unset fields take the processor's value.
struct ImagesKwargs {
  std::optional<bool> do_convert_rgb = {};
  std::optional<bool> do_resize = {};
  std::optional<SizeDict> size = {};
  std::optional<SizeDict> crop_size = {};
  std::optional<Resampling> resample = {};
  std::optional<bool> do_rescale = {};
  std::optional<double> rescale_factor = {};
  std::optional<bool> do_normalize = {};
  std::optional<std::vector<double>> image_mean = {};  // one value, or one per channel
  std::optional<std::vector<double>> image_std = {};
  std::optional<bool> do_pad = {};
  std::optional<SizeDict> pad_size = {};
  std::optional<bool> do_center_crop = {};
};

/// Turns images into the vision model's input, bit for bit as the reference's Pillow backend:
/// to RGB, resize on 8 bits, centre crop, rescale (8 bits to float64, times the factor, to
/// float32), normalise ((x - mean) / std in float32), pad. Fields have the reference's names and
/// defaults. Const methods may be called from several threads at once.
class INSTRUCTBLIP_EXPORT BlipImageProcessor {
 public:
  bool do_convert_rgb = true;
  bool do_resize = true;
  std::optional<SizeDict> size = SizeDict{.height = 384, .width = 384};
  std::optional<Resampling> resample = Resampling::Bicubic;
  bool do_center_crop = false;
  std::optional<SizeDict> crop_size = {};
  bool do_rescale = true;
  std::optional<double> rescale_factor = 1.0 / 255.0;
  bool do_normalize = true;
  std::optional<std::vector<double>> image_mean =
      std::vector<double>{0.48145466, 0.4578275, 0.40821073};
  std::optional<std::vector<double>> image_std =
      std::vector<double>{0.26862954, 0.26130258, 0.27577711};
  bool do_pad = false;
  /// Unset: images of one call are padded (right and bottom, with 0) to the largest height and
  /// width.
  std::optional<SizeDict> pad_size = {};

  /// Reads `image_processor` in the folder's processor_config.json, else its
  /// preprocessor_config.json; a path to a file is read as the latter. Throws ConfigError if there
  /// is neither, or as from_json.
  static BlipImageProcessor from_pretrained(const std::filesystem::path& folder);

  /// Reads the text of a preprocessor_config.json. Keys that are absent keep their defaults,
  /// unknown ones are kept for to_json. Throws ConfigError, naming the key, on malformed JSON or a
  /// wrong value.
  static BlipImageProcessor from_json(std::string_view json);

  /// As the reference writes it: sorted keys, two spaces of indentation, a line end.
  std::string to_json() const;

  /// Writes preprocessor_config.json into `folder`, which is created where missing. Throws
  /// ConfigError if it cannot.
  void save_pretrained(const std::filesystem::path& folder) const;

  /// images -> pixel_values [images, channels, height, width]; channels is 3 unless
  /// `do_convert_rgb` is off. Float32; UInt8 if neither rescaled nor normalised. Throws InputError
  /// if there is no image or the options contradict each other, ImageError if images come out in
  /// different sizes.
  Tensor preprocess(std::span<const Image> images, const ImagesKwargs& kwargs = {}) const;
  Tensor preprocess(std::initializer_list<Image> images, const ImagesKwargs& kwargs = {}) const {
    return preprocess({images.begin(), images.size()}, kwargs);
  }
  Tensor operator()(const std::vector<Image>& images, const ImagesKwargs& kwargs = {}) const {
    return preprocess(images, kwargs);
  }

 private:
  struct Given;  // the file's keys, among them those that the library does not know
  std::shared_ptr<const Given> given_;
};

}  // namespace instructblip
