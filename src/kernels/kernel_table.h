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

// A packed weight lies in panels of this many outputs (panels.h). Products take two panels at once.
constexpr std::ptrdiff_t kPanelOutputs = 16;

// sums[r, o] (+)= sum over k of x[r, k] * w[o, k], for the outputs of two panels.
struct PanelProduct {
  const float* x;
  std::ptrdiff_t x_stride;
  std::ptrdiff_t rows;  // at most KernelTable::panel_rows
  std::ptrdiff_t depth;
  const void* weight;           // float or bfloat16
  std::ptrdiff_t panel_stride;  // elements from one panel to the next
  float* sums;
  std::ptrdiff_t sums_stride;
  bool first;  // the sums are set, not added to
};

struct TileKernels;  // tile_kernels.h

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
  void (*panels)(const PanelProduct& product);
  void (*panels_bf16)(const PanelProduct& product);
  // A panel from `outs` rows of weights: to[k * kPanelOutputs + o] = rows[o][k], 0 for o >= outs.
  void (*pack_panel)(const float* const* rows, std::ptrdiff_t outs, std::ptrdiff_t k, float* to);

  // An element's result does not depend on its position in the row.
  void (*finish)(const OutputRow& row);

  // Products of bfloat16 matrices; nullptr if the CPU has no instructions for them.
  const TileKernels* tiles = nullptr;
};

// The level in use.
const KernelTable& kernels();

}  // namespace instructblip
