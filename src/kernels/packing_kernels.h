// The kernels of every level that put rows in the order in which products with panels read them:
// part of VectorKernels (vector_kernels.h).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace instructblip {

template <class Level, int lanes, int terms>
struct PackingKernels {
  using Index = std::ptrdiff_t;
  static constexpr Index kLanes = lanes;

  // to[j * stride + i] = rows[i][j], kLanes x kLanes.
  static void transpose(const float* const* rows, float* to, Index stride) {
    for (Index i = 0; i < kLanes; ++i) {
      for (Index j = 0; j < kLanes; ++j) to[j * stride + i] = rows[i][j];
    }
  }

  // As pack_lanes, kLanes x kLanes.
  static void transpose_lanes(const float* const* rows, float* to, Index, Index lane_stride) {
    Level::transpose(rows, to, lane_stride);
  }
  static void pack_lanes(const float* const* rows, Index count, Index width, Index depth,
                         Index lane_stride, float* to) {
    constexpr float kZeros[kLanes] = {};
    const auto transpose = [&](const float* const* block, Index i, Index k) {
      Level::transpose_lanes(block, to + k / kLanes * terms * width + i, width, lane_stride);
    };
    constexpr Index kLine = 16;  // elements of a cache line, which is read at once
    const Index whole = depth - depth % kLanes;
    const float* block[kLanes];
    for (Index line = 0; line < whole; line += kLine) {
      for (Index i = 0; i < width; i += kLanes) {
        for (Index k = line; k < std::min(line + kLine, whole); k += kLanes) {
          for (Index r = 0; r < kLanes; ++r) block[r] = i + r < count ? rows[i + r] + k : kZeros;
          transpose(block, i, k);
        }
      }
    }
    if (whole == depth) return;
    for (Index i = 0; i < width; i += kLanes) {
      float last[kLanes][kLanes] = {};
      for (Index r = 0; r < kLanes; ++r) {
        block[r] = last[r];
        if (i + r >= count) continue;
        std::memcpy(last[r], rows[i + r] + whole,
                    static_cast<std::size_t>(depth - whole) * sizeof(float));
      }
      transpose(block, i, whole);
    }
  }

  static void pack(const float* const* rows, Index count, Index width, Index depth, float* to) {
    constexpr float kZeros[kLanes] = {};
    Index k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
      for (Index i = 0; i < width; i += kLanes) {
        const float* block[kLanes];
        for (Index r = 0; r < kLanes; ++r) block[r] = i + r < count ? rows[i + r] + k : kZeros;
        Level::transpose(block, to + k * width + i, width);
      }
    }
    for (; k < depth; ++k) {
      for (Index i = 0; i < width; ++i) to[k * width + i] = i < count ? rows[i][k] : 0.0f;
    }
  }
};

}  // namespace instructblip
