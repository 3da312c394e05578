// Products of many rows with weights of every format, in vectors: blocks of the weight are
// transposed, so that the lanes hold outputs. A tile of sums then needs a third of the data that it
// needs with inputs in the lanes (matmul_vectors.cpp). The bits are the same: every lane of
// VectorProducts::dots is a product of its own here, and the lanes are added in the same tree.
#include <algorithm>

#include "instructblip/core/threads.h"
#include "kernels/product.h"

namespace instructblip {
namespace {

// Strips of outputs whose sums lie beside each other: a block of x is read once for all of them.
constexpr Index kGroup = 8;
// The most tiles of rows whose lanes are in memory at the same time.
constexpr Index kLaneTiles = 24;
// A thread is not worth waking for fewer multiplications, or elements to copy, than these.
constexpr Index kTransposedGrain = 1 << 17, kPackGrain = 1 << 16;

// The weights that are multiplied next, row by row, of which every product fetches a part.
class NextRows {
 public:
  // For `products` products of `steps` steps each.
  NextRows(const WeightBlock& block, Index products, Index steps)
      : block_(block), shares_(std::max<Index>(1, products / block.outs)) {
    const Index bytes = block.depth * block.weight.format->bits / 8;
    step_ = (bytes + shares_ * steps - 1) / (shares_ * steps);
    share_bytes_ = step_ * steps;
  }

  Index step() const { return step_; }
  // Where the next product begins.
  const char* take() {
    const char* const row = block_.weight.format->address(block_.weight, block_.o + row_, block_.k);
    const char* const part = row + share_ * share_bytes_;
    if (++row_ == block_.outs) row_ = 0, share_ = (share_ + 1) % shares_;
    return part;
  }

 private:
  const WeightBlock& block_;
  Index shares_, step_ = 0, share_bytes_ = 0, row_ = 0, share_ = 0;
};

class TransposedProduct {
 public:
  explicit TransposedProduct(const Product& product)
      : product_(product),
        tile_rows_(part_size(product.x.rows, products().panel_rows)),
        x_((depth() + block_k() - 1) / block_k() * lanes(),
           row_tiles(product.x.rows) * lane_values(block_depth(0)) * tile_width() + kRowGap) {
    const Index tiles = row_tiles(product.x.rows);
    parallel_for(tiles, kPackGrain / std::max<Index>(1, product.x.cols * tile_rows()) + 1,
                 [&](Index begin, Index end) {
                   for (Index tile = begin; tile < end; ++tile) pack_x(tile);
                 });
  }

  Index strips() const { return (product_.y.cols + strip_outs() - 1) / strip_outs(); }

  // The outputs of the strips [begin, end).
  void compute(Index begin, Index end) const {
    const Index rows = product_.x.rows;
    const Index step = std::min(rows, round_up(part_size(rows, kBlockRows), tile_rows()));
    Matrix sums(step, kGroup * strip_outs());
    Scratch scratch(*this);
    for (Index first = begin; first < end; first += kGroup) {
      const Index last = std::min(first + kGroup, end), o = first * strip_outs();
      for (Index r = 0; r < rows; r += step) {
        const MutableMatrixView block = sums.view().middle_rows(0, std::min(step, rows - r));
        for (Index i = 0; i < block.rows; ++i) std::fill_n(block.row(i), block.cols, 0.0f);
        for (Index k = 0; k < depth(); k += block_k()) {
          for (Index strip = first; strip < last; ++strip) {
            multiply({.r = r,
                      .part = part(strip, k),
                      .next = strip + 1 < last ? part(strip + 1, k) : part(first, k + block_k()),
                      .sums = block.middle_cols(strip * strip_outs() - o, strip_outs())},
                     scratch);
          }
        }
        product_.finish_rows(r, o, std::min(last * strip_outs(), product_.y.cols) - o, block);
      }
    }
  }

 private:
  struct Scratch {
    explicit Scratch(const TransposedProduct& p)
        : weights(p.lanes(), p.lane_values(p.block_depth(0)) * p.strip_outs() + kRowGap),
          lane_sums(p.lanes(), kLaneTiles * p.tile_rows() * p.strip_outs() + kRowGap) {}

    Matrix weights;    // [lanes, values of a lane, strip_outs]
    Matrix lane_sums;  // [lanes, rows, strip_outs]
    Matrix widened;    // [strip_outs, inputs], if the weight is not float32
  };
  // The rows from r on with a block of the inputs of a strip.
  struct BlockProduct {
    Index r;
    WeightBlock part, next;  // `next` comes after `part`
    MutableMatrixView sums;
  };

  const VectorProducts& products() const { return product_.table.products; }
  // Of weights, each of which is multiplied with `terms` values of x.
  Index depth() const { return product_.weight.in_features; }
  Index block_k() const { return kBlockK / products().terms; }
  Index block_depth(Index k) const { return std::min(block_k(), depth() - k); }
  Index lanes() const { return product_.table.lanes; }
  // The values in a lane of a block.
  Index lane_values(Index block_depth) const {
    return (block_depth + lanes() - 1) / lanes() * products().terms;
  }
  Index tile_rows() const { return tile_rows_; }
  Index tile_width() const { return products().row_tile_width; }
  Index row_tiles(Index rows) const { return (rows + tile_rows() - 1) / tile_rows(); }
  Index strip_outs() const { return products().panel_outputs; }

  // The block of a strip from input k on; after the last input, the first block of the next group
  // of strips, if there is one.
  WeightBlock part(Index strip, Index k) const {
    if (k >= depth()) strip = std::min(strip + kGroup, strips() - 1), k = 0;
    const Index o = strip * strip_outs();
    return {product_.weight, o, std::min(strip_outs(), product_.y.cols - o), k, block_depth(k)};
  }

  // x in the order in which products read it: [blocks of inputs, lanes, tiles of rows, values,
  // tile_width].
  MutableMatrixView x_block(Index k) {
    return x_.view().middle_rows(k / block_k() * lanes(), lanes());
  }
  MatrixView x_block(Index k) const {
    return x_.view().middle_rows(k / block_k() * lanes(), lanes());
  }
  void pack_x(Index tile) {
    const Index begin = tile * tile_rows(), count = std::min(tile_rows(), product_.x.rows - begin);
    for (Index k = 0; k < depth(); k += block_k()) {
      const float* rows[kMostPanelRows];
      const Index value = k * products().terms;
      for (Index r = 0; r < count; ++r) rows[r] = product_.x.row(begin + r) + value;
      const MutableMatrixView block = x_block(k);
      product_.table.pack_lanes(rows, count, tile_width(),
                                std::min(kBlockK, product_.x.cols - value), block.stride,
                                block.row(0) + tile * lane_values(block_depth(k)) * tile_width());
    }
  }

  // The lanes of a block of the weight.
  void pack_weights(const WeightBlock& part, Scratch& scratch) const {
    const WeightFormat& format = *part.weight.format;
    const float* rows[kPanelOutputs];
    for (Index i = 0; i < part.outs; ++i) {
      if (format.dtype == DType::Float32) {
        rows[i] = reinterpret_cast<const float*>(format.address(part.weight, part.o + i, part.k));
        continue;
      }
      if (scratch.widened.empty()) scratch.widened = Matrix(strip_outs(), block_depth(0) + kRowGap);
      format.widen_row(product_.table, part.weight, part.o + i, part.k, part.depth,
                       scratch.widened.row(i));
      rows[i] = scratch.widened.row(i);
    }
    products().pack_lanes(rows, part.outs, strip_outs(), part.depth, scratch.weights.view().stride,
                          scratch.weights.row(0));
  }

  void multiply(const BlockProduct& p, Scratch& scratch) const {
    pack_weights(p.part, scratch);
    const Index rows = p.sums.rows, values = lane_values(p.part.depth);
    NextRows next(p.next, row_tiles(rows) * lanes(), values);
    for (Index r = 0; r < rows; r += kLaneTiles * tile_rows()) {
      const MutableMatrixView sums =
          p.sums.middle_rows(r, std::min(kLaneTiles * tile_rows(), rows - r));
      const Index x_begin = (p.r + r) / tile_rows() * values * tile_width();
      for (Index lane = 0; lane < lanes(); ++lane) {
        const float* x = x_block(p.part.k).row(lane) + x_begin;
        float* to = scratch.lane_sums.row(lane);
        for (Index i = 0; i < sums.rows; i += tile_rows()) {
          products().panels({.x = x,
                             .rows = std::min(tile_rows(), sums.rows - i),
                             .depth = values,
                             .weight = scratch.weights.row(lane),
                             .outs = strip_outs(),
                             .sums = to,
                             .sums_stride = strip_outs(),
                             .first = true,
                             .next = next.take(),
                             .next_step = next.step()});
          x += values * tile_width();
          to += tile_rows() * strip_outs();
        }
      }
      for (Index i = 0; i < sums.rows; ++i) {
        products().add_lanes(scratch.lane_sums.row(0) + i * strip_outs(),
                             scratch.lane_sums.view().stride, strip_outs(), sums.row(i));
      }
    }
  }

  const Product& product_;
  Index tile_rows_;
  Matrix x_;
};

}  // namespace

void multiply_transposed(const Product& product) {
  const TransposedProduct work(product);
  const Index grain =
      kTransposedGrain / std::max<Index>(1, product.x.rows * product.x.cols * kPanelOutputs) + 1;
  parallel_for(work.strips(), grain, [&](Index begin, Index end) { work.compute(begin, end); });
}

}  // namespace instructblip
