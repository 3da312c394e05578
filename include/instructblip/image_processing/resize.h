// Resampling that equals Pillow's Image.resize bit for bit.
#pragma once

#include "instructblip/core/export.h"
#include "instructblip/image_processing/image.h"

namespace instructblip {

/// Pillow's filters with Pillow's numbers, as used by `resample` in a preprocessor_config.json.
enum class Resampling { Nearest = 0, Lanczos = 1, Bilinear = 2, Bicubic = 3, Box = 4, Hamming = 5 };

/// Resizes to `width` x `height`. All filters but Nearest are antialiased: their support grows with
/// the reduction. Alpha is premultiplied before and divided out afterwards. An image that already
/// has the size is returned unchanged. Throws InputError if the image is empty, or if the size is
/// below 1 or too large (a side above 2^20, or more than 2^30 pixels). Source: Pillow's
/// Image.resize, Resample.c, Geometry.c.
INSTRUCTBLIP_EXPORT Image resize(const Image& image, Index width, Index height,
                                 Resampling filter = Resampling::Bicubic);

}  // namespace instructblip
