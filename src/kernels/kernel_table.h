// The functions of a kernel level: a version of the kernels for one set of CPU instructions. They
// have no threads, checks or memory of their own; the shared code around them (matmul.cpp,
// attention.cpp, rows.cpp) divides the work into blocks and packs the data.
#pragma once

#include <cstddef>
#include <cstdint>

#include "instructblip/kernels/kernels.h"

namespace instructblip {

// The most rows in one call of `dots` and `weighted_sum`.
constexpr std::ptrdiff_t kTileRows = 4;

// Outputs of one row: y = activation(sums + bias) * scale * gate + residual.
struct OutputRow {
  const float* sums;
  std::ptrdiff_t count;
  const float* bias;  // or nullptr, as gate and residual
  Activation activation;
  float scale;
  const float* gate;
  const float* residual;
  float* y;  // may be sums or residual
};

// A packed weight lies in panels of this many outputs (panels.h).
constexpr std::ptrdiff_t kPanelOutputs = 32;

// The most rows of x in such a product, of all levels.
constexpr std::ptrdiff_t kMostPanelRows = 16;

// sums[r, o] (+)= sum over k of x[k, r] * w[o, k], for the outputs of a panel.
struct PanelProduct {
  const float* x;       // [depth, KernelTable::row_tile_width], a tile of rows (panels.h)
  std::ptrdiff_t rows;  // at most KernelTable::panel_rows
  std::ptrdiff_t depth;
  const void* weight;  // float or bfloat16
  float* sums;
  std::ptrdiff_t sums_stride;
  bool first;  // the sums are set, not added to
  // Memory that is brought into the second-level cache: next_step bytes for each input.
  const char* next;
  std::ptrdiff_t next_step;
};

struct TileKernels;  // tile_kernels.h

// Products of bfloat16 activations with bfloat16 weights in vectors. Two inputs are one element of
// 32 bits, and the products of a pair are added to the sum in one instruction, which rounds each
// addition to nearest and takes subnormal numbers for 0.
struct PairKernels {
  // As those of KernelTable, on pairs.
  void (*dots)(const float* const* x, std::ptrdiff_t rows, const float* const* w,
               std::ptrdiff_t outs, std::ptrdiff_t k, float* out, std::ptrdiff_t out_stride);
  void (*panels)(const PanelProduct& product);
  // Rounds `count` elements to bfloat16 and fills up with zeros to `pairs` pairs.
  void (*round)(const float* x, std::ptrdiff_t count, std::ptrdiff_t pairs, float* to);
};

struct KernelTable {
  const char* name;
  // The number of partial sums along k. The caller must pad k to a multiple of it with zeros.
  std::ptrdiff_t lanes;

  // out[r * out_stride + o] += sum over k of x[r][k] * w[o][k]; `rows` <= kTileRows, k a multiple
  // of `lanes`. Lane i sums the products of k = i, i + lanes, ... in this order; then the lanes are
  // added in a fixed tree.
  void (*dots)(const float* const* x, std::ptrdiff_t rows, const float* const* w,
               std::ptrdiff_t outs, std::ptrdiff_t k, float* out, std::ptrdiff_t out_stride);
  // As `dots`, with weights in bfloat16. The bits are those of widening the weights first.
  void (*dots_bf16)(const float* const* x, std::ptrdiff_t rows, const std::uint16_t* const* w,
                    std::ptrdiff_t outs, std::ptrdiff_t k, float* out, std::ptrdiff_t out_stride);
  void (*widen_bf16)(const std::uint16_t* from, std::ptrdiff_t count, float* to);

  // out[r * out_stride + d] += p[r * p_stride + j] * v[j][d] for all d and for j = 0, 1, ... in
  // this order; `rows` <= kTileRows.
  void (*weighted_sum)(const float* p, std::ptrdiff_t p_stride, std::ptrdiff_t rows,
                       const float* const* v, std::ptrdiff_t keys, std::ptrdiff_t d, float* out,
                       std::ptrdiff_t out_stride);
  // In place: x = exp(scale * x - max) / sum. count >= 1.
  void (*softmax)(float* x, std::ptrdiff_t count, float scale);

  void (*layer_norm)(const float* x, std::ptrdiff_t count, const float* weight, const float* bias,
                     float eps, float* y);
  void (*rms_norm)(const float* x, std::ptrdiff_t count, const float* weight, float eps, float* y);

  // Products with a packed weight: every sum is one chain of fused (on levels with such an
  // instruction) multiplications and additions, in ascending order of k.
  std::ptrdiff_t panel_rows;
  std::ptrdiff_t row_tile_width;  // panel_rows rounded up to whole vectors
  void (*panels)(const PanelProduct& product);
  void (*panels_bf16)(const PanelProduct& product);
  // Transposes `count` rows: to[k * width + i] = rows[i][k], 0 for i >= count. `width` is
  // kPanelOutputs or row_tile_width.
  void (*pack)(const float* const* rows, std::ptrdiff_t count, std::ptrdiff_t width,
               std::ptrdiff_t depth, float* to);

  // An element's result does not depend on its position in the row.
  void (*finish)(const OutputRow& row);

  // Products of bfloat16 matrices; nullptr if the CPU has no instructions for them.
  const TileKernels* tiles = nullptr;
  const PairKernels* pairs = nullptr;
};

// The level in use.
const KernelTable& kernels();

}  // namespace instructblip
