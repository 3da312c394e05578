// Products of quantised weights. A row of x is rounded to whole numbers, relative to the largest
// element of each block of inputs (Jacob et al., "Quantization and Training of Neural Networks for
// Efficient Integer-Arithmetic-Only Inference", section 2, with a scale per block). The sums of a
// block are exact, and the blocks are added in ascending order, so the result has the same bits on
// every level and with any number of rows.
#include <algorithm>
#include <atomic>
#include <vector>

#include "instructblip/core/threads.h"
#include "kernels/product.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

// A thread is not worth waking for fewer multiplications, or elements of x, than these.
constexpr Index kIntegerGrain = 1 << 18;
constexpr Index kRoundedPerThread = 1 << 14;
// Bytes of the rows of x that pass over the weights together: they stay in the second-level cache.
constexpr Index kPassBytes = 1 << 19;
// The bytes of weights by which memory is asked for in advance in a product that reads them once,
// and those of a vector of weights.
constexpr Index kPrefetchedBytes = 4096, kStep = 4 * kIntegerOutputs;
// Products read whole tiles of this many rows.
constexpr Index kReadRows = 16;
// Outputs of a row that are finished together.
constexpr Index kFinishedOutputs = 8 * kIntegerOutputs;
// Outputs of one product, at most.
constexpr Index kProductOutputs = kMostIntegerTiles * kIntegerOutputs;

// A row of `count` numbers of 16 bits fills an odd number of cache lines: rows an even number of
// them apart would lie in few sets of the first-level cache.
Index odd_lines(Index count) {
  constexpr Index kLine = 32;
  return ((count + kLine - 1) / kLine | 1) * kLine;
}

// The rows of x as whole numbers.
class IntegerRows {
 public:
  IntegerRows(const Product& product, const IntegerWeight& weight)
      : blocks_((product.x.cols + weight.block - 1) / weight.block),
        values_(round_up(product.x.rows, kReadRows), odd_lines(weight.depth), DType::BFloat16),
        scales_(product.x.rows, blocks_),
        sums_(product.x.rows, blocks_) {
    const MutableMatrixView values = values_, sums = sums_;
    rows_.resize(to_size(product.x.rows));
    parallel_for(product.x.rows, kRoundedPerThread / std::max<Index>(1, weight.depth) + 1,
                 [&](Index begin, Index end) {
                   for (Index r = begin; r < end; ++r) {
                     auto* const row = static_cast<std::int16_t*>(values.data) + r * values.stride;
                     auto* const row_sums = static_cast<std::int32_t*>(sums.data) + r * sums.stride;
                     product.table.integers.to_integers(product.x.row(r), product.x.cols,
                                                        weight.block, weight.activation_bits, row,
                                                        scales_.row(r), row_sums);
                     rows_[to_size(r)] = {row, scales_.row(r), row_sums};
                   }
                 });
    // Products read whole tiles of rows.
    rows_.resize(rows_.size() + kMostIntegerRows, rows_.back());
  }

  const IntegerRow* row(Index r) const { return rows_.data() + r; }

 private:
  Index blocks_;
  Matrix values_, scales_, sums_;
  std::vector<IntegerRow> rows_;
};

class IntegerProducts {
 public:
  explicit IntegerProducts(const Product& product)
      : product_(product), weight_(*product.weight.integers), x_(product, weight_) {}

  // Up to kFinishedOutputs outputs from o on; `o` is a multiple of kIntegerOutputs.
  void compute(Index o, Index outs) const {
    const Index rows = product_.x.rows, step = rows_per_pass();
    Matrix sums(std::min(rows, step) + kMostIntegerRows, kFinishedOutputs);
    for (Index r = 0; r < rows; r += step) {
      const Index r_end = std::min(r + step, rows);
      const Index width = product_.table.integers.tiles * kIntegerOutputs;
      for (Index i = 0; i < outs; i += width) {
        multiply(r, r_end, o + i,
                 sums.view().middle_cols(i, std::min(width, kFinishedOutputs - i)));
      }
      for (Index i = r; i < r_end; ++i) product_.finish(i, o, outs, sums.row(i - r));
    }
  }

 private:
  Index tile_rows() const { return product_.table.integers.rows; }

  // Equal parts of all rows, in whole tiles.
  Index rows_per_pass() const {
    const Index row_bytes = std::max<Index>(1, weight_.depth * weight_.activation_bits / 8);
    const Index step = std::min(tile_rows(), kReadRows);
    const Index most = std::max(step, kPassBytes / row_bytes);
    return round_up(part_size(product_.x.rows, most), step);
  }

  // Tiles of outputs from o on, of rows [r, r_end).
  void multiply(Index r, Index r_end, Index o, MutableMatrixView sums) const {
    const Index tile = o / kIntegerOutputs;
    const Index tiles = std::min(product_.table.integers.tiles,
                                 (product_.y.cols - o + kIntegerOutputs - 1) / kIntegerOutputs);
    IntegerProduct p{.x = nullptr,
                     .rows = 0,
                     .w = weight_.codes(tile),
                     .bits = weight_.bits,
                     .x_bits = weight_.activation_bits,
                     .depth = weight_.depth,
                     .block = weight_.block,
                     .scales = weight_.scales(tile),
                     .zero_points = weight_.zero_points(tile),
                     .blocks_per_group = weight_.blocks_per_group,
                     .sums = nullptr,
                     .sums_stride = sums.stride,
                     .next = weight_.codes(tile) + kPrefetchedBytes,
                     .next_step = kStep,
                     .tiles = tiles,
                     .next_tile = weight_.codes(1) - weight_.codes(0),
                     .next_tile_groups = weight_.scales(1) - weight_.scales(0)};
    // Each of several products with the same weights fetches a part of the next ones.
    const Index products = (r_end - r + tile_rows() - 1) / tile_rows();
    const Index part = (weight_.codes(1) - weight_.codes(0)) / products;
    if (products > 1) {
      p.next = weight_.codes(tile + tiles);
      p.next_step = (kStep + products - 1) / products;
    }
    for (Index i = r; i < r_end; i += tile_rows(), p.next += part) {
      p.x = x_.row(i);
      p.rows = std::min(tile_rows(), r_end - i);
      p.sums = sums.row(i - r);
      product_.table.integers.product(p);
    }
  }

  const Product& product_;
  const IntegerWeight& weight_;
  IntegerRows x_;
};

}  // namespace

void multiply_integers(const Product& product) {
  const IntegerProducts work(product);
  const Index outs = product.y.cols, units = (outs + kProductOutputs - 1) / kProductOutputs;
  // As many parts for each thread, of nearly equal size.
  const Index threads = num_threads();
  const Index parts =
      std::min(units, round_up((outs + kFinishedOutputs - 1) / kFinishedOutputs, threads));
  const auto first = [&](Index part) { return part * units / parts * kProductOutputs; };
  const Index grain =
      kIntegerGrain / std::max<Index>(1, product.x.rows * product.x.cols * kFinishedOutputs) + 1;
  // Threads take one part after the other, so that none waits long for one that was interrupted.
  std::atomic<Index> next = 0;
  parallel_for(parts, grain, [&](Index, Index) {
    for (Index part; (part = next.fetch_add(1, std::memory_order_relaxed)) < parts;) {
      const Index o = first(part);
      work.compute(o, std::min(first(part + 1), outs) - o);
    }
  });
}

}  // namespace instructblip
