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

/// A size in the format of the reference. Valid combinations: height + width; shortest_edge (keeps
/// the aspect ratio); shortest_edge + longest_edge (keeps it, with a limit); max_height + max_width
/// (keeps it).
struct SizeDict {
  std::optional<Index> height = {};
  std::optional<Index> width = {};
  std::optional<Index> longest_edge = {};
  std::optional<Index> shortest_edge = {};
  std::optional<Index> max_height = {};
  std::optional<Index> max_width = {};
  // Accepted in files, as in the reference, but resizing with them throws InputError.
  std::optional<Index> min_pixels = {};
  std::optional<Index> max_pixels = {};

  bool operator==(const SizeDict&) const = default;
};

/// Overrides for a single call. Unset fields use the processor's value.
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
/// convert to RGB, resize in 8 bits, centre crop, rescale (in float64, rounded to float32),
/// normalise ((x - mean) / std in float32), pad. Fields have the reference's names and defaults.
/// Const methods are thread-safe.
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
  /// Unset: the images of a call are padded (right and bottom, with 0) to their largest height and
  /// width.
  std::optional<SizeDict> pad_size = {};

  /// Reads `image_processor` in the folder's processor_config.json, otherwise its
  /// preprocessor_config.json; a path to a file is read as the latter. With the modality "video",
  /// which stands for the reference's InstructBlipVideoVideoProcessor, reads `video_processor`,
  /// otherwise video_preprocessor_config.json, otherwise preprocessor_config.json; frames are not
  /// sampled (`do_sample_frames`). Throws ConfigError if none exists, or as from_json does.
  static BlipImageProcessor from_pretrained(const std::filesystem::path& folder,
                                            const std::string& modality = "image");

  /// Reads the contents of a preprocessor_config.json. Missing keys keep their defaults; unknown
  /// keys are kept for to_json. Throws ConfigError on malformed JSON or an invalid value; the
  /// message names the key.
  static BlipImageProcessor from_json(std::string_view json);

  /// JSON as the reference writes it: sorted keys, indented by two spaces, with a final newline.
  std::string to_json() const;

  /// Writes preprocessor_config.json to `folder`, which is created if necessary. Throws ConfigError
  /// on failure.
  void save_pretrained(const std::filesystem::path& folder) const;

  /// images -> pixel_values [images, channels, height, width]; there are 3 channels unless
  /// `do_convert_rgb` is off. Float32, or UInt8 if neither rescaled nor normalised. Throws
  /// InputError if `images` is empty or the options are inconsistent, ImageError if the resulting
  /// sizes differ.
  Tensor preprocess(std::span<const Image> images, const ImagesKwargs& kwargs = {}) const;
  Tensor preprocess(std::initializer_list<Image> images, const ImagesKwargs& kwargs = {}) const {
    return preprocess({images.begin(), images.size()}, kwargs);
  }
  Tensor operator()(const std::vector<Image>& images, const ImagesKwargs& kwargs = {}) const {
    return preprocess(images, kwargs);
  }

 private:
  struct Given;  // all keys of the file, including unknown ones
  std::shared_ptr<const Given> given_;
};

}  // namespace instructblip
