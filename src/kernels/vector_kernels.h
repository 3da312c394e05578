// The kernels of every level, written once over Eigen's fixed-size arrays. A kernel level is this
// source compiled for one set of CPU instructions (cmake/kernels.cmake). Its file
// kernels_<level>.cpp derives a struct from VectorKernels, replaces what C++ cannot say, such as a
// fused multiplication and addition, and defines the level's table.
//
// Code for one level must never run on a CPU without its instructions, so the linker must not be
// able to use it elsewhere. Eigen's namespace therefore has another name in each level's file, the
// struct is in an unnamed namespace, and everything else here is a member of the struct.
//
// An element's result does not depend on its position: the end of a row goes through a padded
// vector. Only `multiply_add` can fuse a multiplication with an addition.
#pragma once

#include <Eigen/Core>
#include <bit>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/integer_kernels.h"
#include "kernels/kernel_table.h"
#include "kernels/packing_kernels.h"
#include "kernels/row_kernels.h"

namespace instructblip {

// `lanes` is the number of partial sums of a dot product, `terms` the number of values of x for
// each weight (VectorProducts). `Level` is the derived struct: functions called as Level::f can be
// replaced there.
template <class Level, int lanes, int terms = 1>
struct VectorKernels : IntegerVectorKernels<Level, Eigen::Array<float, lanes, 1>>,
                       PackingKernels<Level, lanes, terms>,
                       RowVectorKernels<Level, Eigen::Array<float, lanes, 1>> {
  using Index = std::ptrdiff_t;
  using Lanes = Eigen::Array<float, lanes, 1>;
  using Integers = IntegerVectorKernels<Level, Lanes>;
  using Packing = PackingKernels<Level, lanes, terms>;
  using Rows = RowVectorKernels<Level, Lanes>;
  static constexpr Index kLanes = lanes;
  static constexpr int kTerms = terms;
  // 4 x 3 sums of dot products, 3 weights and a value fill 16 registers.
  static constexpr int kDotRows = 4;
  static constexpr int kDotOutputs = 3;
  // Up to so many rows are a single tile, with an output less if they are more than kDotRows.
  static constexpr int kSingleTileRows = 4;
  // With one row: as many as it takes for a sum not to wait for its last addition.
  static constexpr int kRowOutputs = 4;
  // VectorProducts::few_rows_tiles and transposed_rows.
  static constexpr Index kFewRowsTiles = 2;
  static constexpr Index kTransposedRows = std::numeric_limits<Index>::max();
  // 6 x 2 sums of a product with panels, 2 weights and a value.
  static constexpr int kPanelRows = 6;
  static constexpr int kPanelVectors = 2;
  // Depths by which the rows of a product are brought into the first-level cache in advance.
  static constexpr Index kPrefetchDepth = 64;

  // a * b + c, rounded twice here.
  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) { return a * b + c; }
  static float multiply_add(float a, float b, float c) { return a * b + c; }

  template <class Vector = Lanes>
  static Vector load(const float* p) {
    return Eigen::Map<const Vector>(p);
  }
  static Lanes load(const std::uint16_t* p) { return Level::load_bf16(p); }
  static Lanes load_bf16(const std::uint16_t* p) {
    Lanes values;
    for (Index lane = 0; lane < kLanes; ++lane) values[lane] = widen(p[lane]);
    return values;
  }
  static float widen(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  static Lanes broadcast(const float* p) { return Lanes::Constant(*p); }
  static void store(const Lanes& values, float* p) { Eigen::Map<Lanes>{p} = values; }

  // The last `count` elements of a row in a vector, the rest of which is `fill`.
  template <class Vector = Lanes>
  static Vector load_last(const float* p, Index count, float fill = 0.0f) {
    Vector values = Vector::Constant(fill);
    for (Index i = 0; i < count; ++i) values[i] = p[i];
    return values;
  }
  // The first `count` elements of a vector become the last ones of a row.
  static void store_last(const Lanes& values, Index count, float* p) {
    for (Index i = 0; i < count; ++i) p[i] = values[i];
  }

  // Calls body with the number of rows, 1 to `most`, as a compile-time constant.
  template <int most, class Body>
  static void with_rows(Index rows, const Body& body) {
    if constexpr (most > 1) {
      if (rows < most) return with_rows<most - 1>(rows, body);
    }
    body(std::integral_constant<int, most>{});
  }

  // Calls body with 0 to count - 1 as compile-time constants: a loop that is always unrolled, so
  // that the elements of an array that it indexes are in registers.
  template <int count, class Body>
  [[gnu::always_inline]] static void unrolled(const Body& body) {
    [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
      (body(std::integral_constant<int, i>{}), ...);
    }
    (std::make_integer_sequence<int, count>{});
  }

  // Dot products.

  template <int rows, int outs, int fetched, class Weight>
  static void dots_tile(const DotProduct& p, Index first) {
    for (Index k = 0; k < p.depth; k += p.block) {
      dots_block<rows, outs, fetched, Weight>(p, first, k);
    }
  }

  // Loops over arrays of vectors stay plain: in a lambda, GCC 12 keeps such an array in memory.
  // `fetched`: the outputs whose next weights are brought into the cache.
  template <int rows, int outs, int fetched, class Weight>
  static void dots_block(const DotProduct& p, Index first, Index k) {
    const Index depth = std::min(p.block, p.depth - k);
    const float* x[rows];
    const Weight* w[outs];
    const char* next[fetched + 1];
    for (int r = 0; r < rows; ++r) x[r] = p.x[r] + k * kTerms;
    for (int o = 0; o < outs; ++o) w[o] = static_cast<const Weight*>(p.w[first + o]) + k;
    // Products with more turns than outputs share the weights of an output.
    const Index turn =
        fetched == 1 ? p.turn % outs : std::min<Index>(p.turn * fetched, outs - fetched);
    const Index shares = fetched == 1 ? (p.turns - turn + outs - 1) / outs : 1;
    const Index share = p.turn / outs;
    const Index next_step = (p.next_step + shares - 1) / shares;
    for (int o = 0; o < fetched; ++o) {
      next[o] = (k + depth < p.depth ? reinterpret_cast<const char*>(w[turn + o] + depth)
                                     : p.next[first + turn + o]) +
                share * next_step * (depth / kLanes);
    }
    Lanes sums[rows][outs];
    Level::template sum_products<rows, outs, fetched>(x, w, depth, next, next_step, sums);
    for (int r = 0; r < rows; ++r) add_sums(sums[r], p.out + r * p.out_stride + first);
  }

  // The sums of the lanes of a block.
  template <int rows, int outs, int fetched, class Weight>
  [[gnu::always_inline]] static void sum_products(const float* const (&x)[rows],
                                                  const Weight* const (&w)[outs], Index depth,
                                                  const char* const (&next)[fetched + 1],
                                                  Index next_step, Lanes (&sums)[rows][outs]) {
    for (auto& row : sums) {
      for (Lanes& sum : row) sum.setZero();
    }
    for (Index i = 0, ahead = 0; i < depth; i += kLanes, ahead += next_step) {
      Lanes weight[outs];
      for (int o = 0; o < outs; ++o) weight[o] = load(w[o] + i);
      for (int o = 0; o < fetched; ++o) __builtin_prefetch(next[o] + ahead, 0, 2);
      // So that a sum does not wait for its other term.
      for (int term = 0; term < kTerms; ++term) {
        for (int r = 0; r < rows; ++r) {
          const Lanes value = load(x[r] + i * kTerms + term * kLanes);
          for (int o = 0; o < outs; ++o) {
            sums[r][o] = Level::multiply_add(value, weight[o], sums[r][o]);
          }
        }
      }
    }
  }

  // Adds the sum of the lanes of each vector to an element of `out`.
  template <int count>
  [[gnu::always_inline]] static void add_sums(const Lanes (&vectors)[count], float* out) {
    const Lanes zero = Lanes::Zero();
    for (int i = 0; i < count; i += 4) {
      alignas(16) float sums[4];
      Level::sum_lanes(vectors[i], i + 1 < count ? vectors[i + 1] : zero,
                       i + 2 < count ? vectors[i + 2] : zero, i + 3 < count ? vectors[i + 3] : zero,
                       sums);
      if (i + 4 <= count) {
        Eigen::Map<Eigen::Array4f>{out + i} +=
            Eigen::Map<const Eigen::Array4f, Eigen::Aligned16>{sums};
        continue;
      }
      for (int j = 0; i + j < count; ++j) out[i + j] += sums[j];
    }
  }
  static void sum_lanes(const Lanes& a, const Lanes& b, const Lanes& c, const Lanes& d,
                        float* sums) {
    sums[0] = a.sum(), sums[1] = b.sum(), sums[2] = c.sum(), sums[3] = d.sum();
  }

  // For a level with kTransposedRows, the sum of kLanes vectors, `stride` elements apart, in the
  // tree of `sum_lanes`.
  static Lanes sum_of_lanes(const float* /*lanes*/, Index /*stride*/) { return Lanes::Zero(); }
  static void add_lanes(const float* sums, Index lane_stride, Index count, float* out) {
    for (Index i = 0; i < count; i += kLanes) {
      store(load(out + i) + Level::sum_of_lanes(sums + i, lane_stride), out + i);
    }
  }

  template <int rows, int outs, int fetched, class Weight>
  static void dots_rows(const DotProduct& p) {
    Index o = 0;
    for (; o + outs <= p.outs; o += outs) dots_tile<rows, outs, fetched, Weight>(p, o);
    for (; o < p.outs; ++o) dots_tile<rows, 1, 0, Weight>(p, o);
  }

  // The products that take turns share the outputs of a tile.
  template <int rows, int outs, class Weight>
  static void dots_in_turn(const DotProduct& p) {
    if (p.turns == 1) return dots_rows<rows, outs, outs, Weight>(p);
    if (p.turns == 2) return dots_rows<rows, outs, (outs + 1) / 2, Weight>(p);
    if (p.turns >= outs) return dots_rows<rows, outs, 1, Weight>(p);
    constexpr int kFetched = (outs + 2) / 3;
    if (p.turn * kFetched < outs) return dots_rows<rows, outs, kFetched, Weight>(p);
    dots_rows<rows, outs, 0, Weight>(p);
  }

  static constexpr Index dot_outputs(Index rows) {
    if (rows == 1) return Level::kRowOutputs;
    return rows <= Level::kDotRows ? Level::kDotOutputs : Level::kDotOutputs - 1;
  }

  template <class Weight>
  static void dots(const DotProduct& p) {
    with_rows<Level::kSingleTileRows>(
        p.rows, [&](auto tile) { dots_in_turn<tile, Level::dot_outputs(tile), Weight>(p); });
  }

  static void widen_bf16(const std::uint16_t* from, Index count, float* to) {
    for (Index i = 0; i < count; ++i) to[i] = widen(from[i]);
  }

  // Codes of 16 values.

  // The 16 values in the form in which a level looks them up.
  using Book = const float*;
  static Book book_of(const float* values) { return values; }

  // The weights of the inputs 32 * half to 32 * half + 31 of a unit.
  template <int half>
  static void look_up(const Book& book, const std::uint8_t* codes, float scale,
                      Lanes (&values)[kCodeUnit / 2 / lanes]) {
    for (Index i = 0; i < kCodeUnit / 2; ++i) {
      values[i / kLanes][i % kLanes] = book[codes[code_byte(i)] >> (4 * half) & 15] * scale;
    }
  }

  template <int rows, int outs, class LevelBook>
  static void dots_codes_tile(const float* const* x, const CodeRow* w, const LevelBook& book,
                              Index k, float* out, Index out_stride) {
    constexpr int kHalf = kCodeUnit / 2;
    Lanes sums[rows][outs];
    for (auto& row : sums) {
      for (Lanes& sum : row) sum.setZero();
    }
    for (Index i = 0; i < k; i += kCodeUnit) {
      unrolled<2 * outs>([&](auto step) __attribute__((always_inline)) {
        constexpr int o = step / 2, half = step % 2;
        Lanes weight[kHalf / kLanes];
        Level::template look_up<half>(book, w[o].codes + i / 2, w[o].scales[i / kCodeUnit], weight);
        unrolled<kHalf / kLanes * rows>([&](auto place) __attribute__((always_inline)) {
          constexpr int v = place / rows, r = place % rows;
          sums[r][o] = Level::multiply_add(load(x[r] + i + half * kHalf + v * kLanes), weight[v],
                                           sums[r][o]);
        });
      });
    }
    for (int r = 0; r < rows; ++r) add_sums(sums[r], out + r * out_stride);
  }

  static void dots_codes(const float* const* x, Index rows, const CodeRow* w, Index outs,
                         const float* values, Index k, float* out, Index out_stride) {
    const auto book = Level::book_of(values);
    with_rows<Level::kDotRows>(rows, [&](auto tile) {
      constexpr int kOutputs = tile == 1 ? 4 : 1;
      Index o = 0;
      for (; o + kOutputs <= outs; o += kOutputs) {
        dots_codes_tile<tile, kOutputs>(x, w + o, book, k, out + o, out_stride);
      }
      for (; o < outs; ++o) {
        dots_codes_tile<tile, 1>(x, w + o, book, k, out + o, out_stride);
      }
    });
  }

  static void widen_codes(const CodeRow& w, const float* values, Index units, float* to) {
    const auto book = Level::book_of(values);
    for (Index unit = 0; unit < units; ++unit) {
      unrolled<2>([&](auto half) __attribute__((always_inline)) {
        Lanes weight[kCodeUnit / 2 / lanes];
        Level::template look_up<half>(book, w.codes + unit * kCodeUnit / 2, w.scales[unit], weight);
        for (const Lanes& part : weight) {
          store(part, to);
          to += kLanes;
        }
      });
    }
  }

  // Products with packed weights. Outputs are in the lanes; a sum is one chain over all k.

  static constexpr Index row_tile_width() {
    return (Level::kPanelRows + kLanes - 1) / kLanes * kLanes;
  }

  // Element `odd` of each pair.
  static Lanes load_pairs(const std::uint16_t* p, int odd) {
    Lanes values;
    for (Index lane = 0; lane < kLanes; ++lane) values[lane] = widen(p[2 * lane + odd]);
    return values;
  }

  static void widen_panel(const std::uint16_t* from, Index depth, float* to) {
    for (Index k = 0; k < depth; k += 2, from += 2 * kPanelOutputs) {
      for (int odd = 0; odd < 2; ++odd) {
        for (Index i = 0; i < kPanelOutputs; i += kLanes, to += kLanes) {
          store(Level::load_pairs(from + 2 * i, odd), to);
        }
      }
    }
  }

  template <int rows>
  static void panel_tile(const PanelProduct& p, Index column) {
    constexpr int kVectors = Level::kPanelVectors;
    constexpr Index kRowTileWidth = row_tile_width();
    static_assert(Level::kPanelRows <= kMostPanelRows);
    static_assert(kPanelOutputs % (kVectors * kLanes) == 0);
    const float* x = p.x;
    const float* w = p.weight + column;
    const char* next = p.next;
    float* const out = p.sums + column;
    Lanes sums[rows][kVectors];
    unrolled<rows * kVectors>([&](auto i) __attribute__((always_inline)) {
      constexpr int r = i / kVectors, v = i % kVectors;
      sums[r][v] = p.first ? Lanes(Lanes::Zero()) : load(out + r * p.sums_stride + v * kLanes);
    });
    for (Index k = 0; k < p.depth; ++k) {
      __builtin_prefetch(x + kPrefetchDepth * kRowTileWidth);
      __builtin_prefetch(next, 0, 2);
      Lanes weight[kVectors];
      unrolled<kVectors>([&](auto v) { weight[v] = load(w + v * kLanes); });
      unrolled<rows * kTerms>([&](auto j) __attribute__((always_inline)) {
        constexpr int r = j / kTerms, term = j % kTerms;
        const Lanes value = Level::broadcast(x + term * kLanes * kRowTileWidth + r);
        unrolled<kVectors>([&](auto v) __attribute__((always_inline)) {
          sums[r][v] = Level::multiply_add(value, weight[v], sums[r][v]);
        });
      });
      x += kRowTileWidth;
      if (kTerms > 1 && (k + 1) % kLanes == 0) x += (kTerms - 1) * kLanes * kRowTileWidth;
      w += p.outs;
      next += p.next_step;
    }
    unrolled<rows * kVectors>([&](auto i) __attribute__((always_inline)) {
      constexpr int r = i / kVectors, v = i % kVectors;
      store(sums[r][v], out + r * p.sums_stride + v * kLanes);
    });
  }

  template <int rows>
  static void panel_rows(const PanelProduct& p) {
    if constexpr (rows > 1) {
      if (p.rows < rows) return panel_rows<rows - 1>(p);
    }
    for (Index column = 0; column < p.outs; column += Level::kPanelVectors * kLanes) {
      panel_tile<rows>(p, column);
    }
  }
  static void panels(const PanelProduct& p) { panel_rows<Level::kPanelRows>(p); }

  // Attention.

  template <int rows, int vectors>
  static void weighted_sum_tile(const float* p, Index p_stride, const float* const* v, Index keys,
                                Index d, float* out, Index out_stride) {
    Lanes sums[rows][vectors];
    for (int r = 0; r < rows; ++r) {
      for (int b = 0; b < vectors; ++b) sums[r][b] = load(out + r * out_stride + d + b * kLanes);
    }
    for (Index j = 0; j < keys; ++j) {
      Lanes value[vectors];
      for (int b = 0; b < vectors; ++b) value[b] = load(v[j] + d + b * kLanes);
      for (int r = 0; r < rows; ++r) {
        const Lanes weight = Level::broadcast(p + r * p_stride + j);
        for (int b = 0; b < vectors; ++b) {
          sums[r][b] = Level::multiply_add(weight, value[b], sums[r][b]);
        }
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int b = 0; b < vectors; ++b) store(sums[r][b], out + r * out_stride + d + b * kLanes);
    }
  }

  template <int rows>
  static void weighted_sum_rows(const float* p, Index p_stride, const float* const* v, Index keys,
                                Index width, float* out, Index out_stride) {
    constexpr int kVectors = rows == 1 ? 8 : 3;
    Index d = 0;
    for (; d + kVectors * kLanes <= width; d += kVectors * kLanes) {
      weighted_sum_tile<rows, kVectors>(p, p_stride, v, keys, d, out, out_stride);
    }
    for (; d + 2 * kLanes <= width; d += 2 * kLanes) {
      weighted_sum_tile<rows, 2>(p, p_stride, v, keys, d, out, out_stride);
    }
    for (; d + kLanes <= width; d += kLanes) {
      weighted_sum_tile<rows, 1>(p, p_stride, v, keys, d, out, out_stride);
    }
    for (; d < width; ++d) {
      for (int r = 0; r < rows; ++r) {
        float sum = out[r * out_stride + d];
        for (Index j = 0; j < keys; ++j) {
          sum = Level::multiply_add(p[r * p_stride + j], v[j][d], sum);
        }
        out[r * out_stride + d] = sum;
      }
    }
  }

  static void weighted_sum(const float* p, Index p_stride, Index rows, const float* const* v,
                           Index keys, Index d, float* out, Index out_stride) {
    with_rows<kTileRows>(rows, [&](auto tile) {
      weighted_sum_rows<tile>(p, p_stride, v, keys, d, out, out_stride);
    });
  }

  static constexpr VectorProducts products() {
    return {
        .terms = kTerms,
        .dot_rows = Level::kDotRows,
        .single_tile_rows = Level::kSingleTileRows,
        .few_rows_tiles = Level::kFewRowsTiles,
        .dot_outputs = Level::dot_outputs,
        .dots = dots<float>,
        .transposed_rows = Level::kTransposedRows,
        .pack_lanes = Packing::pack_lanes,
        .add_lanes = add_lanes,
        .panel_rows = Level::kPanelRows,
        .panel_outputs = Level::kPanelVectors * kLanes,
        .row_tile_width = row_tile_width(),
        .panels = panels,
    };
  }

  static constexpr KernelTable table(const char* name) {
    return {
        .name = name,
        .lanes = kLanes,
        .products = products(),
        .dots_bf16 = dots<std::uint16_t>,
        .widen_bf16 = widen_bf16,
        .dots_codes = dots_codes,
        .widen_codes = widen_codes,
        .rounding_error = Integers::rounding_error,
        .round = Integers::round,
        .integers = Level::integers(),
        .weighted_sum = weighted_sum,
        .softmax = Rows::softmax,
        .layer_norm = Rows::layer_norm,
        .rms_norm = Rows::rms_norm,
        .widen_panel = widen_panel,
        .pack = Packing::pack,
        .pack_lanes = Packing::pack_lanes,
        .finish = Rows::finish,
    };
  }
};

}  // namespace instructblip
