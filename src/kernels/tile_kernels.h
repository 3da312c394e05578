// Products of bfloat16 matrices in tiles: 16 rows of A and 16 columns of B, 32 deep. A level whose
// CPU multiplies bfloat16 in tiles (AMX) has these functions; matmul_tiles.cpp uses them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace instructblip {

constexpr std::ptrdiff_t kTileSize = 16;   // rows of A, columns of B
constexpr std::ptrdiff_t kTileDepth = 32;  // elements of a row of A

// sums[i, j] (+)= sum over k of a[i, k] * b[k, j], for one or two tiles of A and of B, or for one
// tile of A and up to four of B. A and B may be sums of two bfloat16 matrices, `a` + `a_low` and
// `b` + `b_low`; the product of both low parts is left out.
struct TileProduct {
  // Tiles of A, together [rows, depth]; `depth` is a multiple of kTileDepth, `rows` at most
  // 2 * kTileSize. Rows are a_stride elements apart, every kTileDepth elements of a row a_step, and
  // the second tile begins a_next elements behind the first.
  const std::uint16_t* a;
  const std::uint16_t* a_low;  // or nullptr
  std::ptrdiff_t a_stride;
  std::ptrdiff_t a_step;
  std::ptrdiff_t a_next;
  std::ptrdiff_t rows;
  std::ptrdiff_t depth;
  // Whether A passes by the same B again and again, which is to stay in the first-level cache, or B
  // by the same A.
  bool a_passes;
  // Tiles of B, each [depth / 2, columns, 2] with rows b_stride elements apart. The second one is
  // b_next elements behind the first, and the fourth behind the third, which is b_third elements
  // behind the first.
  const std::uint16_t* b;
  const std::uint16_t* b_low;  // or nullptr
  std::ptrdiff_t b_stride;
  std::ptrdiff_t b_next;
  std::ptrdiff_t b_third;
  std::ptrdiff_t b_tiles;
  std::ptrdiff_t columns;  // of a tile, at most kTileSize
  // [rows, b_tiles * columns] in float32, set if `first` and added to otherwise.
  float* sums;
  std::ptrdiff_t sums_stride;
  bool first;
  float* next_sums;  // those of the next product, which are brought into the cache; or nullptr
  // What is brought into the second-level cache for every kTileDepth of the depth: kTileDepth
  // elements of each of `next_rows` rows, next_stride apart, and every time those next_step behind
  // the last ones.
  const std::uint16_t* next;
  std::ptrdiff_t next_stride;
  std::ptrdiff_t next_step;
  std::ptrdiff_t next_rows;
};

struct TileKernels {
  // A thread calls `begin` before its first product and `end` after its last one.
  void (*begin)();
  void (*end)();
  // For each tile and each kTileDepth elements of k in ascending order, first those of a and b,
  // then of a and b_low, then of a_low and b: sums += even + odd, where `even` and `odd` are the
  // sums of the products of even and odd k, fused and in ascending order. Subnormal numbers are 0.
  void (*multiply)(const TileProduct& product);

  // Splits x into high + low, both rounded to bfloat16; `low` may be nullptr. x: `rows` rows of
  // `count` elements, rows <= columns <= kTileSize. Writes a tile of B of `columns` columns and a
  // depth of `count` rounded up to kTileDepth, filled up with zeros.
  void (*pack)(const float* x, std::ptrdiff_t x_stride, std::ptrdiff_t rows, std::ptrdiff_t columns,
               std::ptrdiff_t count, std::uint16_t* high, std::uint16_t* low);
  // The same numbers as rows of a tile of A, [depth / kTileDepth, kTileSize, kTileDepth].
  void (*split)(const float* x, std::ptrdiff_t x_stride, std::ptrdiff_t rows, std::ptrdiff_t count,
                std::uint16_t* high, std::uint16_t* low);
  // to[j, i] = from[i, j], kTileSize x kTileSize.
  void (*transpose)(const float* from, std::ptrdiff_t from_stride, float* to,
                    std::ptrdiff_t to_stride);
};

}  // namespace instructblip
