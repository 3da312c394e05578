// The functions of a kernel level: a version of the kernels for one set of CPU instructions. They
// have no threads, checks or memory of their own; the shared code around them (matmul.cpp,
// attention.cpp, rows.cpp) divides the work into blocks and packs the data.
#pragma once

#include <cstddef>
#include <cstdint>

#include "instructblip/kernels/kernels.h"

namespace instructblip {

// The most rows in one call of `weighted_sum`.
constexpr std::ptrdiff_t kTileRows = 4;
// The most rows in one call of `dots`, of all levels.
constexpr std::ptrdiff_t kMostDotRows = 8;

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

// x is stored as round(x / scale) + zero, at least `least` and at most `greatest`.
struct Rounding {
  float scale, inverse, zero, least, greatest;
};

// Weights of 8 and 4 bits are multiplied with whole numbers of 16 or 8 bits, in blocks of inputs
// with a scale each for a row of x. The sums of a block are exact.
constexpr std::ptrdiff_t kIntegerBlock = 256;         // at most, for numbers of 16 bits
constexpr std::ptrdiff_t kIntegerRowBlock = 1 << 15;  // for numbers of 8 bits
constexpr std::ptrdiff_t kIntegerOutputs = 16;
// The most rows of x and tiles of outputs in an IntegerProduct, of all levels.
constexpr std::ptrdiff_t kMostIntegerRows = 96;
constexpr std::ptrdiff_t kMostIntegerTiles = 2;
// The greatest number of 16 bits, 127 * 256: both of its bytes are signed ones.
constexpr float kGreatestInteger = 32512.0f;

// A row of x as whole numbers, each block filled up with zeros to a multiple of 32. A level may
// store a block as bytes (avx2, avx512_vnni, neon_dotprod and better ones).
struct IntegerRow {
  const std::int16_t* values;
  const float* scales;       // of blocks
  const std::int32_t* sums;  // of the values of blocks

  // The block that begins at this input, of a level that stores bytes.
  const std::int8_t* bytes(std::ptrdiff_t begin) const {
    return reinterpret_cast<const std::int8_t*>(values + begin);
  }
};

// Products of rows of x with tiles of kIntegerOutputs outputs.
//   y[r, o] = sum over blocks of sum(x * (code - zero_point)) * (x scale * w scale)
// in ascending order of blocks, with every step rounded to float32.
struct IntegerProduct {
  // At most IntegerKernels::rows. As many as these can be read, and as many rows of sums written.
  const IntegerRow* x;
  std::ptrdiff_t rows;
  // Codes [depth / 4, kIntegerOutputs, 4] of 8 bits, or [depth / 8, kIntegerOutputs, 4] pairs of
  // codes of 4 bits: the low half of byte j is input j of 8, the high half input 4 + j.
  const std::uint8_t* w;
  int bits;
  int x_bits;            // 16 or 8
  std::ptrdiff_t depth;  // a multiple of 32
  std::ptrdiff_t block;  // a multiple of 32
  // [groups, kIntegerOutputs]
  const float* scales;
  const std::uint8_t* zero_points;  // or nullptr: all are middle()
  std::ptrdiff_t blocks_per_group;
  float* sums;
  std::ptrdiff_t sums_stride;
  // Weights that are brought into the caches: next_step bytes for every 64 bytes of w, of every
  // tile.
  const std::uint8_t* next;
  std::ptrdiff_t next_step;

  // At most IntegerKernels::tiles, from each of which to the next are so many bytes of codes, and
  // scales and zero points.
  std::ptrdiff_t tiles;
  std::ptrdiff_t next_tile;
  std::ptrdiff_t next_tile_groups;

  int middle() const { return 1 << (bits - 1); }
  const std::uint8_t* codes(std::ptrdiff_t begin) const {
    return w + begin * kIntegerOutputs * bits / 8;
  }
  // The same product with tile i alone.
  IntegerProduct tile(std::ptrdiff_t i) const {
    IntegerProduct one = *this;
    one.tiles = 1;
    one.w += i * next_tile;
    one.next += i * next_tile;
    one.scales += i * next_tile_groups;
    if (zero_points != nullptr) one.zero_points += i * next_tile_groups;
    one.sums += i * kIntegerOutputs;
    return one;
  }
};

// out[r * out_stride + o] += sum over k of x[r][k] * w[o][k], one block of k after the other.
struct DotProduct {
  const float* const* x;
  std::ptrdiff_t rows;   // at most VectorProducts::single_tile_rows
  const void* const* w;  // float or bfloat16
  std::ptrdiff_t outs;
  std::ptrdiff_t depth;  // a multiple of KernelTable::lanes, as block
  std::ptrdiff_t block;
  float* out;
  std::ptrdiff_t out_stride;
  // Memory that is brought into the second-level cache with the last block: for every output,
  // next_step bytes for every KernelTable::lanes weights. It is the task of `turns` products with
  // the same weights, of which this is number `turn`.
  const char* const* next;
  std::ptrdiff_t next_step;
  std::ptrdiff_t turn, turns;
};

// A packed weight lies in panels of this many outputs (panels.h).
constexpr std::ptrdiff_t kPanelOutputs = 32;

// The most rows of x in such a product, of all levels.
constexpr std::ptrdiff_t kMostPanelRows = 16;

// sums[r, o] (+)= sum over k of x[k, r] * w[o, k].
struct PanelProduct {
  const float* x;       // [depth, VectorProducts::row_tile_width], a tile of rows (panels.h)
  std::ptrdiff_t rows;  // at most VectorProducts::panel_rows
  std::ptrdiff_t depth;
  const float* weight;  // [depth, outs]
  std::ptrdiff_t outs;  // a multiple of VectorProducts::panel_outputs
  float* sums;
  std::ptrdiff_t sums_stride;
  bool first;  // the sums are set, not added to
  // Memory that is brought into the second-level cache: next_step bytes for each input.
  const char* next;
  std::ptrdiff_t next_step;
};

// Products in vectors with weights in float32. A pair of bfloat16 numbers may take the place of an
// element (PairKernels, exact_pairs).
struct VectorProducts {
  // The values of x for each weight. Of every KernelTable::lanes weights, first all first values
  // are stored, then all second ones.
  std::ptrdiff_t terms;

  // The rows of a tile of `dots`, and how many rows at most are a single one, so that their weights
  // are read once.
  std::ptrdiff_t dot_rows, single_tile_rows;
  // The tiles of outputs that few rows, but more than a tile has, multiply at a time.
  std::ptrdiff_t few_rows_tiles;
  // The outputs of a tile of so many rows.
  std::ptrdiff_t (*dot_outputs)(std::ptrdiff_t rows);
  // In a block, lane i sums the products of k = i, i + lanes, ... in this order; then the lanes are
  // added in a fixed tree.
  void (*dots)(const DotProduct& product);
  // From this many rows on, products are faster with transposed weights (matmul_transposed.cpp),
  // and have the same bits.
  std::ptrdiff_t transposed_rows;
  // KernelTable::pack_lanes of weights, each of which becomes `terms` values in a row of its lane.
  void (*pack_lanes)(const float* const* rows, std::ptrdiff_t count, std::ptrdiff_t width,
                     std::ptrdiff_t depth, std::ptrdiff_t lane_stride, float* to);
  // Adds the sum of the lanes to `count` elements, whole vectors of them, in the tree of `dots`:
  // lane i of element j is sums[i * lane_stride + j].
  void (*add_lanes)(const float* sums, std::ptrdiff_t lane_stride, std::ptrdiff_t count,
                    float* out);

  // Products with a packed weight: every sum is one chain of fused (on levels with such an
  // instruction) multiplications and additions, in ascending order of k.
  std::ptrdiff_t panel_rows, panel_outputs;  // of a tile of sums
  std::ptrdiff_t row_tile_width;             // panel_rows rounded up to whole vectors
  void (*panels)(const PanelProduct& product);
};

struct TileKernels;  // tile_kernels.h

// Products of bfloat16 weights in vectors: two inputs are one element of 32 bits.
//
// With instructions for bfloat16, an activation is the sum of `terms` bfloat16 numbers, and a term
// is a pair of them. The products of a pair are added to the sum in one instruction, which rounds
// each addition to nearest and takes subnormal numbers for 0.
//
// In float32 (KernelTable::exact_pairs), the two activations of a pair are its terms.
struct PairKernels {
  // To each sum, the product of a weight and the first term is added before that of the second one.
  VectorProducts products;
  // Makes terms of `count` activations and fills up with zeros to whole vectors of pairs.
  void (*to_terms)(const float* x, std::ptrdiff_t count, float* to);
};

// How a level multiplies quantised weights.
struct IntegerKernels {
  std::ptrdiff_t rows;   // of x in one product
  std::ptrdiff_t tiles;  // of outputs in one product
  // x as an IntegerRow, of numbers of `bits` bits: values [count rounded up to 32], and a scale and
  // a sum per block.
  void (*to_integers)(const float* x, std::ptrdiff_t count, std::ptrdiff_t block, int bits,
                      std::int16_t* values, float* scales, std::int32_t* sums);
  void (*product)(const IntegerProduct& product);
};

// Codes of 4 bits, each of which stands for one of 16 values, in units of 64 inputs with a scale.
constexpr std::ptrdiff_t kCodeUnit = 64;
// The byte of input i in its unit, of 32 bytes; the low half has the inputs 0 to 31. A group of 4
// bytes from the beginning and one from the middle are 8 inputs in a row.
constexpr std::ptrdiff_t code_byte(std::ptrdiff_t i) {
  return i % 8 / 4 * 16 + i % 32 / 8 * 4 + i % 4;
}

// The codes of an output from the beginning of a unit on.
struct CodeRow {
  const std::uint8_t* codes;
  const float* scales;
};

struct KernelTable {
  const char* name;
  // The number of partial sums along k. The caller must pad k to a multiple of it with zeros.
  std::ptrdiff_t lanes;

  VectorProducts products;
  // As `dots`, with weights in bfloat16. The bits are those of widening the weights first.
  void (*dots_bf16)(const DotProduct& product);
  void (*widen_bf16)(const std::uint16_t* from, std::ptrdiff_t count, float* to);
  // As `dots`, with weights of 16 values; `rows` <= dot_rows, k is a multiple of kCodeUnit. The
  // bits are those of widening the weights first.
  void (*dots_codes)(const float* const* x, std::ptrdiff_t rows, const CodeRow* w,
                     std::ptrdiff_t outs, const float* codebook, std::ptrdiff_t k, float* out,
                     std::ptrdiff_t out_stride);
  void (*widen_codes)(const CodeRow& w, const float* codebook, std::ptrdiff_t units, float* to);

  // The sum of the squared errors of rounding `count` elements, and the rounded numbers. The same
  // on every level.
  float (*rounding_error)(const float* x, std::ptrdiff_t count, const Rounding& rounding);
  void (*round)(const float* x, std::ptrdiff_t count, const Rounding& rounding, std::int8_t* to);
  IntegerKernels integers;

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

  // The inputs [0, depth) of a panel in bfloat16; `depth` is even.
  void (*widen_panel)(const std::uint16_t* from, std::ptrdiff_t depth, float* to);
  // Transposes `count` rows: to[k * width + i] = rows[i][k], 0 for i >= count. `width` is
  // kPanelOutputs or row_tile_width.
  void (*pack)(const float* const* rows, std::ptrdiff_t count, std::ptrdiff_t width,
               std::ptrdiff_t depth, float* to);
  // The same for each lane: to[k % lanes * lane_stride + k / lanes * width + i] = rows[i][k], and 0
  // from `depth` to the next multiple of `lanes`, too; anything for i >= count, but count >= 1.
  void (*pack_lanes)(const float* const* rows, std::ptrdiff_t count, std::ptrdiff_t width,
                     std::ptrdiff_t depth, std::ptrdiff_t lane_stride, float* to);

  // An element's result does not depend on its position in the row.
  void (*finish)(const OutputRow& row);

  // Products of bfloat16 matrices; nullptr if the CPU has no instructions for them.
  const TileKernels* tiles = nullptr;
  // Products of pairs of bfloat16 with activations in bfloat16, and with the sum of two.
  const PairKernels* pairs = nullptr;
  const PairKernels* split_pairs = nullptr;
  // The same in float32, for weights that are not packed.
  const PairKernels* exact_pairs = nullptr;
};

// The level in use.
const KernelTable& kernels();

}  // namespace instructblip
