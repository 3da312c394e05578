// Products of quantised weights. A row of x is rounded to whole numbers of 16 bits, relative to the
// largest element of each block of inputs (Jacob et al., "Quantization and Training of Neural
// Networks for Efficient Integer-Arithmetic-Only Inference", section 2, with a scale per block).
// The sums of a block are exact, and the blocks are added in ascending order, so the result has the
// same bits on every level and with any number of rows.
#include <algorithm>
#include <cstring>

#include "instructblip/core/threads.h"
#include "kernels/product.h"
#include "kernels/tile_kernels.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

// A thread is not worth waking for fewer multiplications, or elements of x, than these.
constexpr Index kIntegerGrain = 1 << 18;
constexpr Index kIntegerTileGrain = 1 << 20;
constexpr Index kRoundedPerThread = 1 << 14;
// From this many rows of x on, tiles are faster.
constexpr Index kFewestTileRows = 4;
// Rows of x that pass over the outputs of a tile together: they stay in the second-level cache.
constexpr Index kRowsPerPass = 64;

// The rows of x as whole numbers.
class IntegerRows {
 public:
  IntegerRows(const Product& product, const IntegerWeight& weight)
      : depth_(round_up(product.x.cols, 32)),
        blocks_((product.x.cols + weight.block - 1) / weight.block),
        values_(product.x.rows, depth_, DType::BFloat16),
        scales_(product.x.rows, blocks_),
        sums_(product.x.rows, blocks_) {
    parallel_for(product.x.rows, kRoundedPerThread / std::max<Index>(1, depth_) + 1,
                 [&](Index begin, Index end) {
                   for (Index r = begin; r < end; ++r) {
                     product.table.integers.to_integers(product.x.row(r), product.x.cols,
                                                        weight.block, weight.bits, values(r),
                                                        scales_.row(r), sums(r));
                   }
                 });
  }

  Index depth() const { return depth_; }
  IntegerRow row(Index r) const { return {values(r), scales_.row(r), sums(r)}; }

 private:
  // Matrices of other elements of the same size.
  std::int16_t* values(Index r) const {
    const MatrixView view = values_;
    return const_cast<std::int16_t*>(static_cast<const std::int16_t*>(view.data)) + r * view.stride;
  }
  std::int32_t* sums(Index r) const {
    return reinterpret_cast<std::int32_t*>(const_cast<float*>(sums_.row(r)));
  }

  Index depth_, blocks_;
  Matrix values_, scales_, sums_;
};

class IntegerProducts {
 public:
  explicit IntegerProducts(const Product& product)
      : product_(product), weight_(*product.weight.integers), x_(product, weight_) {}

  // The outputs [begin, end).
  void compute(Index begin, Index end) const {
    const Index rows = product_.x.rows;
    const Index step = rows == 1 ? 16 : rows == 2 ? 8 : 4;
    Matrix sums(std::min(rows, kRowsPerPass), kIntegerSums);
    for (Index r = 0; r < rows; r += kRowsPerPass) {
      const Index r_end = std::min(r + kRowsPerPass, rows);
      for (Index o = begin; o < end; o += kIntegerSums) {
        const Index outs = std::min(kIntegerSums, end - o);
        for (Index first = 0; first < outs; first += step) {
          for (Index i = r; i < r_end; i += kIntegerSums / step) {
            tile(i, r_end, o + first, step,
                 sums.view()
                     .middle_rows(i - r, std::min(kIntegerSums / step, r_end - i))
                     .middle_cols(first, step));
          }
        }
        for (Index i = r; i < r_end; ++i) product_.finish(i, o, outs, sums.row(i - r));
      }
    }
  }

 private:
  // Rows [r, r_end) of x, at most kIntegerSums / step, and `step` outputs from o on. Missing rows
  // are computed twice, and missing outputs are zeros.
  void tile(Index r, Index r_end, Index o, Index step, MutableMatrixView to) const {
    float sums[kIntegerSums];
    const bool has_zeros = !weight_.zero_points.empty();
    const Index scale = weight_.first_scale(o);
    IntegerProduct p{
        .x = {},
        .rows = kIntegerSums / step,
        .w = weight_.tile(o),
        .first = o % kIntegerSums,
        .bits = weight_.bits,
        .depth = x_.depth(),
        .block = weight_.block,
        .scales = weight_.scales.data<float>() + scale,
        .zero_points = has_zeros ? weight_.zero_points.data<std::uint8_t>() + scale : nullptr,
        .blocks_per_group = weight_.blocks_per_group,
        .sums = sums};
    for (Index i = 0; i < p.rows; ++i) p.x[i] = x_.row(std::min(r + i, r_end - 1));
    product_.table.integers.product(p);
    for (Index i = 0; i < to.rows; ++i) std::copy_n(sums + i * step, step, to.row(i));
  }

  const Product& product_;
  const IntegerWeight& weight_;
  IntegerRows x_;
};

// The same products in tiles: two tiles of outputs times tiles of rows of x, block by block.
class IntegerTileProducts {
 public:
  explicit IntegerTileProducts(const Product& product)
      : product_(product),
        tiles_(*product.table.tiles),
        weight_(*product.weight.integers),
        blocks_(product.x.cols / kIntegerBlock),
        count_((product.x.rows + kTileSize - 1) / kTileSize),
        x_(1, count_ * blocks_ * kIntegerTileBytes / static_cast<Index>(sizeof(float))),
        scales_(count_ * blocks_, kTileSize),
        sums_(count_ * blocks_, kTileSize) {
    const IntegerRows rows(product, weight_);
    parallel_for(count_, 1, [&](Index begin, Index end) {
      for (Index tile = begin; tile < end; ++tile) pack(rows, tile);
    });
  }

  static constexpr Index kUnit = 2 * kTileSize;

  Index units() const { return (product_.y.cols + kUnit - 1) / kUnit; }

  void compute(Index begin, Index end) const {
    Matrix sums(count_ * kUnit, kTileSize);
    tiles_.begin();
    for (Index unit = begin; unit < end; ++unit) {
      for (Index i = 0; i < sums.rows(); ++i) std::fill_n(sums.row(i), kTileSize, 0.0f);
      for (Index block = 0; block < blocks_; ++block) multiply(unit, block, sums);
      finish(unit, sums);
    }
    tiles_.end();
  }

 private:
  void pack(const IntegerRows& rows, Index tile) {
    IntegerRow part[kTileSize];
    const Index first = tile * kTileSize, count = std::min(kTileSize, product_.x.rows - first);
    for (Index r = 0; r < count; ++r) part[r] = rows.row(first + r);
    for (Index block = 0; block < blocks_; ++block) {
      const Index at = tile * blocks_ + block;
      tiles_.pack_integers(part, count, block * kIntegerBlock,
                           const_cast<std::int8_t*>(digits(at)));
      auto* const sums = reinterpret_cast<std::int32_t*>(sums_.row(at));
      for (Index r = 0; r < kTileSize; ++r) {
        scales_.row(at)[r] = r < count ? part[r].scales[block] : 0.0f;
        sums[r] = r < count ? part[r].sums[block] : 0;
      }
    }
  }
  const std::int8_t* digits(Index at) const {
    return reinterpret_cast<const std::int8_t*>(x_.row(0)) + at * kIntegerTileBytes;
  }

  void multiply(Index unit, Index block, Matrix& sums) const {
    alignas(64) std::int8_t copy[kUnit * kIntegerBlock];
    const Index o = unit * kUnit, group = block / weight_.blocks_per_group;
    const bool has_zeros = !weight_.zero_points.empty();
    float scales[kUnit] = {};
    std::uint8_t zeros[kUnit] = {};
    for (Index i = 0; i < kUnit && o + i < product_.y.cols; i += kIntegerSums) {
      const Index first = weight_.first_scale(o + i) + group * kIntegerSums;
      std::copy_n(weight_.scales.data<float>() + first, kIntegerSums, scales + i);
      if (has_zeros) {
        std::copy_n(weight_.zero_points.data<std::uint8_t>() + first, kIntegerSums, zeros + i);
      }
    }
    const std::int8_t* const a = codes(o, block, copy);
    for (Index tile = 0; tile < count_; ++tile) {
      const Index at = tile * blocks_ + block;
      tiles_.multiply_integers({.a = a,
                                .b = digits(at),
                                .a_scales = scales,
                                .zero_points = has_zeros ? zeros : nullptr,
                                .b_scales = scales_.row(at),
                                .b_sums = reinterpret_cast<const std::int32_t*>(sums_.row(at)),
                                .sums = sums.row(tile * kUnit)});
    }
  }

  // A block of inputs of outputs [o, o + kUnit), or of half as many and zeros.
  const std::int8_t* codes(Index o, Index block, std::int8_t* copy) const {
    constexpr Index kTileBytes = kIntegerSums * kIntegerBlock;
    const int zero = weight_.zero_points.empty() ? 8 : 0;
    for (Index i = 0; i < kUnit; i += kIntegerSums) {
      std::int8_t* const to = copy + i * kIntegerBlock;
      if (o + i >= product_.y.cols) {
        std::fill_n(to, kTileBytes, std::int8_t{0});
        continue;
      }
      const std::uint8_t* const from = weight_.tile(o + i) + block * kTileBytes * weight_.bits / 8;
      if (weight_.bits == 8) {
        std::memcpy(to, from, kTileBytes);
        continue;
      }
      for (Index row = 0; row < kIntegerSums; ++row) {
        tiles_.unpack_codes(from + row * kIntegerBlock / 2, zero, to + row * kIntegerBlock);
      }
    }
    return copy;
  }

  void finish(Index unit, const Matrix& sums) const {
    alignas(64) float block[kTileSize * kUnit];
    const Index o = unit * kUnit, outs = std::min(kUnit, product_.y.cols - o);
    for (Index tile = 0; tile < count_; ++tile) {
      for (Index i = 0; i < kUnit; i += kTileSize) {
        tiles_.transpose(sums.row(tile * kUnit + i), sums.view().stride, block + i, kUnit);
      }
      const Index first = tile * kTileSize, rows = std::min(kTileSize, product_.x.rows - first);
      for (Index r = 0; r < rows; ++r) {
        product_.finish(first + r, o, outs, block + r * kUnit);
      }
    }
  }

  const Product& product_;
  const TileKernels& tiles_;
  const IntegerWeight& weight_;
  Index blocks_, count_;
  Matrix x_, scales_, sums_;
};

void multiply_integer_tiles(const Product& product) {
  const IntegerTileProducts work(product);
  const Index grain =
      kIntegerTileGrain / std::max<Index>(1, product.x.rows * product.x.cols * kTileSize) + 1;
  parallel_for(work.units(), grain, [&](Index begin, Index end) { work.compute(begin, end); });
}

}  // namespace

void multiply_integers(const Product& product) {
  const IntegerWeight& weight = *product.weight.integers;
  const bool whole_blocks = weight.block == kIntegerBlock && product.x.cols % kIntegerBlock == 0;
  if (product.table.tiles != nullptr && whole_blocks && product.x.rows >= kFewestTileRows) {
    return multiply_integer_tiles(product);
  }
  const IntegerProducts work(product);
  const Index outs = product.y.cols, tiles = (outs + kIntegerSums - 1) / kIntegerSums;
  const Index grain =
      kIntegerGrain / std::max<Index>(1, product.x.rows * product.x.cols * kIntegerSums) + 1;
  parallel_for(tiles, grain, [&](Index begin, Index end) {
    work.compute(begin * kIntegerSums, std::min(end * kIntegerSums, outs));
  });
}

}  // namespace instructblip
