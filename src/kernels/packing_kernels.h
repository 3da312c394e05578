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

  // As pack_lanes, kLanes x kLanes elements from `k` on.
  static void transpose_lanes(const float* const* rows, Index k, float* to, Index /*width*/,
                              Index lane_stride) {
    const float* block[kLanes];
    for (Index i = 0; i < kLanes; ++i) block[i] = rows[i] + k;
    Level::transpose(block, to, lane_stride);
  }
  static void pack_lanes(const float* const* rows, Index count, Index width, Index depth,
                         Index lane_stride, float* to) {
    constexpr Index kChunk = 64;  // both its rows and their columns stay in the first-level cache
    const float* from[kLanes];
    const Index whole = depth - depth % kLanes;
    for (Index begin = 0; begin < whole; begin += kChunk) {
      const Index end = std::min(begin + kChunk, whole);
      for (Index i = 0; i < width; i += kLanes) {
        for (Index r = 0; r < kLanes; ++r) from[r] = rows[std::min(i + r, count - 1)];
        float* column = to + begin / kLanes * terms * width + i;
        for (Index k = begin; k < end; k += kLanes, column += terms * width) {
          Level::transpose_lanes(from, k, column, width, lane_stride);
        }
      }
    }
    if (whole == depth) return;
    for (Index i = 0; i < width; i += kLanes) {
      float last[kLanes][kLanes] = {};
      for (Index r = 0; r < kLanes; ++r) {
        std::memcpy(last[r], rows[std::min(i + r, count - 1)] + whole,
                    static_cast<std::size_t>(depth - whole) * sizeof(float));
        from[r] = last[r];
      }
      Level::transpose_lanes(from, 0, to + whole / kLanes * terms * width + i, width, lane_stride);
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
