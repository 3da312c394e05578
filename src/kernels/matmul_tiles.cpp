// Products for bfloat16 weights on a CPU that multiplies bfloat16 in tiles (tile_kernels.h). Rows
// of a mapped weight are the rows of A, read where they lie, and rows of x the columns of B. Panels
// of a packed weight are tiles of B, and rows of x the rows of A. An element of x in float32 is the
// sum of two bfloat16 numbers to 2^-17 of itself.
#include <algorithm>

#include "instructblip/core/threads.h"
#include "kernels/panels.h"
#include "kernels/product.h"
#include "kernels/row_blocks.h"

namespace instructblip {
namespace {

// Threads take whole units of outputs, the two tiles of A.
constexpr Index kUnit = 2 * kTileSize;
// The most tiles of x in one product with a tile of A, which computes with all of them while it
// reads the weight. More than few_tiles of x are multiplied with two tiles of A, two at a time.
constexpr Index kMostTiles = 4;
constexpr Index few_tiles(bool split) { return split ? 7 : kMostTiles; }
// The bytes of x that stay in the second-level cache while units of a mapped weight pass by. Few
// rows are read whole, so that the weight is read front to back.
constexpr Index column_bytes(bool split, bool few) { return split && few ? 3 << 19 : 1 << 20; }

// x as tiles of B.
class ColumnTiles {
 public:
  ColumnTiles(const TileKernels& tiles, MatrixView x, bool split)
      : rows_(x.rows), depth_(round_up(x.cols, kTileDepth)), numbers_(count() * stride(), split) {
    const Index grain = kTileGrain / std::max<Index>(1, x.cols * kTileSize) / 16 + 1;
    parallel_for(count(), grain, [&](Index begin, Index end) {
      for (Index tile = begin; tile < end; ++tile) {
        const Index rows = std::min(kTileSize, rows_ - tile * kTileSize);
        tiles.pack(x.row(tile * kTileSize), x.stride, rows, columns(), x.cols,
                   numbers_.high(at(tile, 0)), numbers_.low(at(tile, 0)));
      }
    });
  }

  Index count() const { return (rows_ + kTileSize - 1) / kTileSize; }
  Index columns() const { return std::min(kTileSize, rows_); }
  Index depth() const { return depth_; }
  bool is_split() const { return numbers_.are_split(); }
  // The bytes of one input of a tile.
  Index input_bytes() const { return columns() * numbers_.bytes(); }
  // The elements of a tile.
  Index stride() const { return depth_ * columns(); }
  // Tile `tile` from input k on.
  const std::uint16_t* high(Index tile, Index k) const { return numbers_.high(at(tile, k)); }
  const std::uint16_t* low(Index tile, Index k) const { return numbers_.low(at(tile, k)); }

 private:
  Index at(Index tile, Index k) const { return tile * stride() + k * columns(); }

  Index rows_, depth_;
  SplitNumbers numbers_;
};

// The rows of a unit where they can be read as tiles.
struct UnitRows {
  const std::uint16_t* data;
  Index stride;
  bool mapped;  // the rows of the next unit may follow
};

class TileProducts {
 public:
  explicit TileProducts(const Product& product)
      : product_(product),
        tiles_(*product.table.tiles),
        x_(tiles_, product.x, product.weight.activations == DType::Float32),
        outs_(product.y.cols) {
    few_ = x_.count() <= few_tiles(x_.is_split());
    const Index step_bytes = x_.count() * x_.input_bytes() * kTileDepth;
    block_depth_ =
        part_size(x_.depth() / kTileDepth, column_bytes(x_.is_split(), few_) / step_bytes) *
        kTileDepth;
  }

  Index units() const { return (outs_ + kUnit - 1) / kUnit; }

  void compute(Index begin, Index end) const {
    const Index sums_rows = x_.count() * kTileSize;
    const Index unit_bytes = sums_rows * kUnit * static_cast<Index>(sizeof(float));
    const Index chunk = std::min(std::max<Index>(1, kSumsBytes / unit_bytes), end - begin);
    Matrix sums(chunk * kUnit, sums_rows);
    tiles_.begin();
    for (Index unit = begin; unit < end; unit += chunk) {
      compute_chunk(unit, std::min(unit + chunk, end), sums);
    }
    tiles_.end();
  }

 private:
  void compute_chunk(Index begin, Index end, Matrix& sums) const {
    Matrix copy;
    for (Index k = 0; k < x_.depth(); k += block_depth_) {
      const Index depth = std::min(block_depth_, x_.depth() - k);
      for (Index unit = begin; unit < end; ++unit) {
        multiply(unit_rows(unit, k, depth, copy), unit, k, depth,
                 sums.view().middle_rows((unit - begin) * kUnit, kUnit));
      }
    }
    for (Index unit = begin; unit < end; ++unit) {
      finish(unit, sums.view().middle_rows((unit - begin) * kUnit, kUnit));
    }
  }

  void multiply(UnitRows a, Index unit, Index k, Index depth, MutableMatrixView sums) const {
    const bool has_next = a.mapped && !few_ && (unit + 2) * kUnit <= outs_;
    const Index rows = few_ ? kTileSize : kUnit;
    const Index tiles_per_product = few_ ? part_size(x_.count(), kMostTiles) : 2;
    for (Index row = 0; row < kUnit; row += rows) {
      for (Index tile = 0; tile < x_.count(); tile += tiles_per_product) {
        const Index tiles = std::min(tiles_per_product, x_.count() - tile);
        const Index next_begin = kUnit * tile / x_.count();
        const Index next_end = kUnit * (tile + tiles) / x_.count();
        tiles_.multiply({.a = a.data + row * a.stride,
                         .a_low = nullptr,
                         .a_stride = a.stride,
                         .a_step = kTileDepth,
                         .a_next = kTileSize * a.stride,
                         .rows = rows,
                         .depth = depth,
                         .a_passes = false,
                         .b = x_.high(tile, k),
                         .b_low = x_.low(tile, k),
                         .b_stride = 2 * x_.columns(),
                         .b_next = x_.stride(),
                         .b_third = 2 * x_.stride(),
                         .b_tiles = tiles,
                         .columns = x_.columns(),
                         .sums = sums.row(row) + tile * kTileSize,
                         .sums_stride = sums.stride,
                         .first = k == 0,
                         .next_sums = nullptr,
                         .next = has_next ? a.data + (kUnit + next_begin) * a.stride : nullptr,
                         .next_stride = a.stride,
                         .next_step = kTileDepth,
                         .next_rows = has_next ? next_end - next_begin : 0});
      }
    }
  }

  // Rows that end within the block of inputs, lie in several parts or are fewer than a unit are
  // copied, with zeros in place of what is missing.
  UnitRows unit_rows(Index unit, Index k, Index depth, Matrix& copy) const {
    const Index o = unit * kUnit, inputs = product_.x.cols;
    const auto* const first = product_.weight.row<std::uint16_t>(o);
    if (k + depth <= inputs && o + kUnit <= outs_ &&
        product_.weight.row<std::uint16_t>(o + kUnit - 1) == first + (kUnit - 1) * inputs) {
      return {first + k, inputs, true};
    }
    const Index rows = std::min(kUnit, outs_ - o), count = std::min(depth, inputs - k);
    if (copy.empty()) copy = Matrix(kUnit, depth, DType::BFloat16);
    const Index stride = copy.view().stride;
    std::fill_n(elements(copy), kUnit * stride, std::uint16_t{0});
    for (Index row = 0; row < rows; ++row) {
      std::copy_n(product_.weight.row<std::uint16_t>(o + row) + k, count,
                  elements(copy) + row * stride);
    }
    return {elements(copy), stride, false};
  }

  void finish(Index unit, MatrixView sums) const {
    alignas(64) float block[kTileSize * kUnit];
    const Index o = unit * kUnit, outs = std::min(kUnit, outs_ - o);
    for (Index r = 0; r < product_.x.rows; r += kTileSize) {
      for (Index i = 0; i < kUnit; i += kTileSize) {
        tiles_.transpose(sums.row(i) + r, sums.stride, block + i, kUnit);
      }
      const Index rows = std::min(kTileSize, product_.x.rows - r);
      for (Index row = 0; row < rows; ++row) {
        product_.finish(r + row, o, outs, block + row * kUnit);
      }
    }
  }

  const Product& product_;
  const TileKernels& tiles_;
  ColumnTiles x_;
  Index outs_, block_depth_ = 0;
  bool few_ = false;
};

// A block of the inputs of a panel, or of two, stays in the first-level cache while the rows of x
// pass by it. A chunk of the inputs of these rows, whole blocks, stays in the second-level cache
// while the panels pass by, which come from memory.
class PanelTileProducts {
  // 16 or 15 steps of a panel, kTileDepth inputs each, are 32 or 30 KB.
  static constexpr Index kBlockSteps = 16;
  static constexpr Index kChunkBytes = 25 << 15;
  // Panels whose sums lie beside each other and are finished together.
  static constexpr Index kGroup = 4;

 public:
  explicit PanelTileProducts(const Product& product)
      : product_(product),
        tiles_(*product.table.tiles),
        x_(tiles_, product.x, product.weight.activations == DType::Float32),
        rows_(rows_per_block(product.x.rows, 2 * kTileSize)) {
    const Index steps = x_.depth() / kTileDepth;
    block_depth_ = part_size(steps, kBlockSteps / panels_per_product()) * kTileDepth;
    const Index row_bytes = x_.input_bytes() * block_depth_;
    const Index blocks = (x_.depth() + block_depth_ - 1) / block_depth_;
    chunk_depth_ = part_size(blocks, kChunkBytes / (std::min(rows_, product.x.rows) * row_bytes)) *
                   block_depth_;
  }

  // The outputs of the panels [begin, end).
  void compute(Index begin, Index end) const {
    const Index groups = group(end - begin - 1) + 1;
    // Rows an even number of panels long would lie in few sets of the caches.
    Matrix sums(groups * rows_, (kGroup | 1) * kPanelOutputs);
    tiles_.begin();
    for (Index r = 0; r < product_.x.rows; r += rows_) {
      for (Index k = 0; k < x_.depth(); k += chunk_depth_) {
        multiply_chunk({.r = r, .k = k, .begin = begin, .end = end}, sums);
      }
    }
    tiles_.end();
  }

 private:
  // The rows from r on and the inputs from k on, for the panels [begin, end).
  struct Chunk {
    Index r, k, begin, end;
  };

  // Of four tiles of sums: where an element of x is two numbers, they are one tile of rows and two
  // panels, so that tiles of x are read half as often, and tiles of weights, which serve both
  // numbers, twice as often; else two tiles of rows and one panel.
  Index panels_per_product() const { return x_.is_split() ? 2 : 1; }
  Index product_rows() const { return x_.is_split() ? kTileSize : 2 * kTileSize; }

  // The group of sums of panel `panel` of a range: one serves all panels in turn, unless the sums
  // of all are kept until the last chunk of inputs has passed by.
  Index group(Index panel) const { return chunk_depth_ < x_.depth() ? panel / kGroup : 0; }

  void multiply_chunk(const Chunk& chunk, Matrix& sums) const {
    const Index rows = std::min(rows_, product_.x.rows - chunk.r);
    for (Index first = chunk.begin; first < chunk.end; first += kGroup) {
      const Index last = std::min(first + kGroup, chunk.end);
      const MutableMatrixView group_sums =
          sums.view().middle_rows(group(first - chunk.begin) * rows_, rows);
      for (Index panel = first; panel < last; panel += panels_per_product()) {
        const Index panels = std::min(panels_per_product(), last - panel);
        const auto panel_sums =
            group_sums.middle_cols((panel - first) * kPanelOutputs, panels * kPanelOutputs);
        for (Index k = chunk.k; k < chunk_end(chunk); k += block_depth_) {
          multiply_block(chunk, panel, panels, k, panel_sums);
        }
      }
      if (chunk_end(chunk) == x_.depth()) {
        product_.finish_panels(chunk.r, first, last, group_sums);
      }
    }
  }

  void multiply_block(const Chunk& chunk, Index panel, Index panels, Index k,
                      MutableMatrixView sums) const {
    const Index depth = std::min(block_depth_, chunk_end(chunk) - k);
    const std::uint16_t* const next = next_block(chunk, panel, panels, k + depth);
    const Index products = (sums.rows + product_rows() - 1) / product_rows();
    for (Index i = 0; i < products; ++i) {
      const Index row = i * product_rows();
      // Every product fetches a part of the next block front to back, of the panels one after the
      // other, which are seen as rows of `depth`.
      const Index next_panel = i * panels / products;
      const auto first_of = [&](Index p) { return (p * products + panels - 1) / panels; };
      const Index first = first_of(next_panel), parts = first_of(next_panel + 1) - first;
      const Index next_begin = kPanelOutputs * (i - first) / parts;
      const Index next_end = kPanelOutputs * (i - first + 1) / parts;
      tiles_.multiply({.a = x_.high(chunk.r + row, k),
                       .a_low = x_.low(chunk.r + row, k),
                       .a_stride = kTileDepth,
                       .a_step = x_.kStep,
                       .a_next = x_.next(),
                       // Whole tiles: another shape of tiles costs more than the sums of rows that
                       // x does not have, for which there is room.
                       .rows = std::min(product_rows(), round_up(sums.rows - row, kTileSize)),
                       .depth = depth,
                       .a_passes = true,
                       .b = weights(panel, k),
                       .b_low = nullptr,
                       .b_stride = 2 * kPanelOutputs,
                       .b_next = 2 * kTileSize,
                       .b_third = panel_stride(product_.weight),
                       .b_tiles = panels * kPanelOutputs / kTileSize,
                       .columns = kTileSize,
                       .sums = sums.row(row),
                       .sums_stride = sums.stride,
                       .first = k == 0,
                       .next_sums = i + 1 < products ? sums.row(row + product_rows()) : nullptr,
                       .next = next == nullptr ? nullptr
                                               : next + next_panel * panel_stride(product_.weight) +
                                                     next_begin * depth,
                       .next_stride = kTileDepth,
                       .next_step = kTileDepth * (next_end - next_begin),
                       .next_rows = next == nullptr ? 0 : next_end - next_begin});
    }
  }

  // The inputs that are multiplied after those of some panels before k, or nullptr.
  const std::uint16_t* next_block(const Chunk& chunk, Index panel, Index panels, Index k) const {
    if (k < chunk_end(chunk)) return weights(panel, k);
    if (panel + panels < chunk.end) return weights(panel + panels, chunk.k);
    if (k < x_.depth()) return weights(chunk.begin, k);
    return chunk.r + rows_ < product_.x.rows ? weights(chunk.begin, 0) : nullptr;
  }

  Index chunk_end(const Chunk& chunk) const { return std::min(chunk.k + chunk_depth_, x_.depth()); }

  const std::uint16_t* weights(Index panel, Index k) const {
    return static_cast<const std::uint16_t*>(panel_data(product_.weight, panel, k));
  }

  const Product& product_;
  const TileKernels& tiles_;
  RowBlocks x_;
  Index rows_, block_depth_ = 0, chunk_depth_ = 0;
};

Index grain_for(const Product& product) {
  return kTileGrain / std::max<Index>(1, product.x.rows * product.x.cols * kUnit) + 1;
}

static_assert(kPanelOutputs == kUnit);

}  // namespace

void multiply_tiles(const Product& product) {
  const TileProducts work(product);
  parallel_for(work.units(), grain_for(product),
               [&](Index begin, Index end) { work.compute(begin, end); });
}

void multiply_panels_in_tiles(const Product& product) {
  const PanelTileProducts work(product);
  parallel_for(panel_count(product.y.cols), grain_for(product),
               [&](Index begin, Index end) { work.compute(begin, end); });
}

}  // namespace instructblip
