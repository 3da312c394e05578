// Products of weights of 8 and 4 bits with whole numbers, written once for every level; a level
// replaces `integer_sums` and, if it reads x in another layout, `round_block`. As in
// vector_kernels.h, everything is a member of the level's struct.
#pragma once

#include <Eigen/Core>
#include <limits>
#include <type_traits>

#include "kernels/kernel_table.h"

namespace instructblip {

template <class Level, class Lanes>
struct IntegerVectorKernels {
  using Index = std::ptrdiff_t;
  static constexpr Index kLanes = Lanes::SizeAtCompileTime;
  // Rows of x and tiles of outputs in a product: as many as sums fit into the registers.
  static constexpr int kIntegerRows = 4;
  static constexpr int kIntegerTiles = 1;
  // How far ahead a single row brings codes of 4 bits into the first-level cache: it has not enough
  // work per byte to wait for the second-level cache, into which `next` has brought them.
  static constexpr Index kNearBytes = 512;

  // The whole numbers that stand for x.
  template <class Vector>
  static Vector rounded(const Vector& x, const Rounding& r) {
    return (((x * r.inverse + Level::kWhole) - Level::kWhole) + r.zero)
        .max(r.least)
        .min(r.greatest);
  }

  static float rounding_error(const float* x, Index count, const Rounding& r) {
    return Level::sum_of(x, count, 0.0f, [&r](const auto& v) -> std::decay_t<decltype(v)> {
      return (v - (rounded(v, r) - r.zero) * r.scale).square();
    });
  }

  template <class Integer>
  static void store_integers(const Lanes& values, Index count, Integer* to) {
    for (Index lane = 0; lane < count; ++lane) to[lane] = static_cast<Integer>(values[lane]);
  }

  template <class Integer>
  static void round_all(const float* x, Index count, const Rounding& r, Integer* to) {
    Index i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      store_integers(rounded(Level::load(x + i), r), kLanes, to + i);
    }
    if (i < count)
      store_integers(rounded(Level::load_last(x + i, count - i), r), count - i, to + i);
  }
  static void round(const float* x, Index count, const Rounding& r, std::int8_t* to) {
    round_all(x, count, r, to);
  }

  // The largest magnitude, or NaN if an element is not finite.
  static float largest_magnitude(const float* x, Index count) {
    const auto fold = [&](const auto& combine) {
      return Level::template fold<Lanes>(x, count, 0.0f, Lanes::Zero(), combine);
    };
    const float zero =
        fold([](const Lanes& a, const Lanes& b) { return Lanes(a + b * 0.0f); }).sum();
    if (zero != 0.0f) return std::numeric_limits<float>::quiet_NaN();
    return Level::greatest(
        fold([](const Lanes& a, const Lanes& b) { return Lanes(a.max(b.abs())); }));
  }

  // Writes `count` numbers filled up with zeros to `width`, and returns their sum.
  template <class Integer>
  static std::int32_t round_and_fill(const float* x, Index count, Index width,
                                     const Rounding& rounding, Integer* to) {
    round_all(x, count, rounding, to);
    std::fill(to + count, to + width, Integer{0});
    std::int32_t sum = 0;
    for (Index i = 0; i < count; ++i) sum += to[i];
    return sum;
  }

  // Writes a block of an IntegerRow, of numbers of `bits` bits, and returns their sum.
  static std::int32_t round_block(const float* x, Index count, Index width, int /*bits*/,
                                  const Rounding& rounding, std::int16_t* to) {
    return round_and_fill(x, count, width, rounding, to);
  }

  static void to_integers(const float* x, Index count, Index block, int bits, std::int16_t* values,
                          float* scales, std::int32_t* sums) {
    const float greatest = bits == 8 ? 127.0f : kGreatestInteger;
    for (Index begin = 0; begin < count; begin += block) {
      const Index size = std::min(block, count - begin), width = (size + 31) / 32 * 32;
      const float largest = Level::largest_magnitude(x + begin, size), scale = largest / greatest;
      const Rounding rounding{scale, 1.0f / scale, 0.0f, -greatest, greatest};
      // All are 0 if x is or has an element that is not finite, or is so small that 1 / scale is
      // not.
      const bool is_zero = !(scale > 0.0f && rounding.inverse <= std::numeric_limits<float>::max());
      *sums++ =
          Level::round_block(x + begin, is_zero ? 0 : size, width, bits, rounding, values + begin);
      *scales++ = scale;
    }
  }

  // Inputs 4 q + j of outputs o, [q, o, j] as numbers of 16 bits. `w`: of 8 bits one vector for 4
  // inputs, of 4 bits one for 8.
  template <int bits>
  static void widen_codes(const std::uint8_t* w, std::int16_t* to) {
    constexpr Index kVector = 4 * kIntegerOutputs;
    for (Index i = 0; i < kVector; ++i) {
      to[i] = bits == 8 ? w[i] : w[i] & 15;
      if (bits == 4) to[kVector + i] = w[i] >> 4;
    }
  }

  // sums[r, o] = the sum of x * code over the inputs [begin, begin + size). A level with several
  // kIntegerTiles has a third parameter, the number of tiles.
  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr Index kInputs = 32 / bits;  // of a vector of weights
    std::fill_n(sums, rows * kIntegerOutputs, 0);
    const std::uint8_t* w = p.codes(begin);
    for (Index k = 0; k < size; k += kInputs, w += 4 * kIntegerOutputs) {
      std::int16_t wide[kInputs * kIntegerOutputs];
      widen_codes<bits>(w, wide);
      for (int r = 0; r < rows; ++r) {
        const std::int16_t* const x = p.x[r].values + begin + k;
        std::int32_t* const to = sums + r * kIntegerOutputs;
        for (Index q = 0; q < kInputs; q += 4) {
          for (Index o = 0; o < kIntegerOutputs; ++o) {
            const std::int16_t* const four = wide + q * kIntegerOutputs + 4 * o;
            to[o] += x[q] * four[0] + x[q + 1] * four[1] + x[q + 2] * four[2] + x[q + 3] * four[3];
          }
        }
      }
    }
  }

  // totals += (sums - zero points * x sum) * (x scale * w scale), for the outputs of a row. Eigen
  // has no wide vectors of integers, and GCC 12 makes vectors only of loops that it does not
  // unroll.
  static void add_block(const IntegerProduct& p, Index row, Index block, Index group,
                        const std::int32_t* __restrict sums, float* __restrict totals) {
    const std::int32_t x_sum = p.x[row].sums[block], middle = p.middle() * x_sum;
    const float x_scale = p.x[row].scales[block];
    const float* const __restrict scales = p.scales + group * kIntegerOutputs;
    if (p.zero_points == nullptr) {
#pragma GCC unroll 1
      for (Index o = 0; o < kIntegerOutputs; ++o) {
        totals[o] += static_cast<float>(sums[o] - middle) * (x_scale * scales[o]);
      }
    } else {
      const std::uint8_t* const __restrict zeros = p.zero_points + group * kIntegerOutputs;
#pragma GCC unroll 1
      for (Index o = 0; o < kIntegerOutputs; ++o) {
        totals[o] += static_cast<float>(sums[o] - zeros[o] * x_sum) * (x_scale * scales[o]);
      }
    }
  }

  template <int rows, int bits, int tiles>
  static void integer_tile(const IntegerProduct& p) {
    alignas(64) float totals[rows][tiles][kIntegerOutputs] = {};
    Index group = 0, blocks_left = p.blocks_per_group;
    for (Index begin = 0, b = 0; begin < p.depth; begin += p.block, ++b) {
      alignas(64) std::int32_t sums[rows][tiles][kIntegerOutputs];
      const Index size = std::min(p.block, p.depth - begin);
      if constexpr (tiles == 1) {
        Level::template integer_sums<rows, bits>(p, begin, size, sums[0][0]);
      } else {
        Level::template integer_sums<rows, bits, tiles>(p, begin, size, sums[0][0]);
      }
      for (int tile = 0; tile < tiles; ++tile) {
        for (int r = 0; r < rows; ++r) {
          add_block(p.tile(tile), r, b, group, sums[r][tile], totals[r][tile]);
        }
      }
      if (--blocks_left == 0) {
        ++group;
        blocks_left = p.blocks_per_group;
      }
    }
    for (int r = 0; r < rows; ++r) {
      std::copy_n(totals[r][0], tiles * kIntegerOutputs, p.sums + r * p.sums_stride);
    }
  }

  // Tiles have any number of rows up to half of the most, then even ones.
  template <int bits, int tiles, int rows = 2>
  static void integer_rows(const IntegerProduct& p) {
    constexpr int kNext = rows < Level::kIntegerRows / 2 ? rows + 1 : (rows + 2) / 2 * 2;
    if constexpr (kNext <= Level::kIntegerRows) {
      if (p.rows > rows) return integer_rows<bits, tiles, kNext>(p);
    }
    integer_tile<rows, bits, tiles>(p);
  }
  // A single row takes its tiles one by one, as they lie in memory.
  template <int bits>
  static void integer_tiles(const IntegerProduct& p) {
    if (p.rows > 1 && p.tiles == Level::kIntegerTiles) {
      return integer_rows<bits, Level::kIntegerTiles>(p);
    }
    for (Index tile = 0; tile < p.tiles; ++tile) {
      p.rows == 1 ? integer_tile<1, bits, 1>(p.tile(tile)) : integer_rows<bits, 1>(p.tile(tile));
    }
  }
  static void integer_product(const IntegerProduct& p) {
    p.bits == 8 ? integer_tiles<8>(p) : integer_tiles<4>(p);
  }

  static constexpr IntegerKernels integers() {
    return {.rows = Level::kIntegerRows,
            .tiles = Level::kIntegerTiles,
            .to_integers = to_integers,
            .product = integer_product};
  }
};

}  // namespace instructblip
