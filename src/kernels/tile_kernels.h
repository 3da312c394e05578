// Products of bfloat16 matrices in tiles: 16 rows of A and 16 columns of B, 32 deep. A level whose
// CPU multiplies bfloat16 in tiles (AMX) has these functions; matmul_tiles.cpp uses them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace instructblip {

constexpr std::ptrdiff_t kTileSize = 16;   // rows of A, columns of B
constexpr std::ptrdiff_t kTileDepth = 32;  // elements of a row of A

// sums[i, j] (+)= sum over k of a[i, k] * b[k, j], for two tiles of A and one or two of B.
struct TileProduct {
  // [2 * kTileSize, depth] in bfloat16, row-major; `depth` is a multiple of kTileDepth.
  const std::uint16_t* a;
  std::ptrdiff_t a_stride;
  std::ptrdiff_t depth;
  // Tiles of B, each [depth / 2, columns, 2] in bfloat16; the second one, if there is one, is
  // b_stride elements behind the first. If b_low is not nullptr, B is the sum of both.
  const std::uint16_t* b;
  const std::uint16_t* b_low;
  std::ptrdiff_t b_stride;
  std::ptrdiff_t b_tiles;
  std::ptrdiff_t columns;  // of a tile, at most kTileSize
  // [2 * kTileSize, b_tiles * kTileSize] in float32, set if `first` and added to otherwise.
  float* sums;
  std::ptrdiff_t sums_stride;
  bool first;
  // The rows [next, next + next_rows) of A, a_stride apart, are brought into the caches.
  const std::uint16_t* next;
  std::ptrdiff_t next_rows;
};

struct TileKernels {
  // A thread calls `begin` before its first product and `end` after its last one.
  void (*begin)();
  void (*end)();
  // For each tile and each 32 elements of k in ascending order, first those of b, then those of
  // b_low: sums += even + odd, where `even` and `odd` are the sums of the products of even and odd k,
  // fused and in ascending order. Subnormal numbers are 0.
  void (*multiply)(const TileProduct& product);

  // Splits x into high + low, both rounded to bfloat16; `low` may be nullptr. x: `rows` rows of
  // `count` elements, rows <= columns <= kTileSize. Writes a tile of B of `columns` columns and a
  // depth of `count` rounded up to kTileDepth, filled up with zeros.
  void (*pack)(const float* x, std::ptrdiff_t x_stride, std::ptrdiff_t rows, std::ptrdiff_t columns,
               std::ptrdiff_t count, std::uint16_t* high, std::uint16_t* low);
  // to[j, i] = from[i, j], kTileSize x kTileSize.
  void (*transpose)(const float* from, std::ptrdiff_t from_stride, float* to,
                    std::ptrdiff_t to_stride);
};

}  // namespace instructblip
