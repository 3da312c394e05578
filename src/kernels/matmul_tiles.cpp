// Products for bfloat16 weights on a CPU that multiplies bfloat16 in tiles (tile_kernels.h). Rows
// of a mapped weight are the rows of A, read where they lie, and rows of x the columns of B. Panels
// of a packed weight are tiles of B, and rows of x the rows of A. An element of x in float32 is the
// sum of two bfloat16 numbers to 2^-17 of itself.
#include <algorithm>

#include "instructblip/core/threads.h"
#include "kernels/panels.h"
#include "kernels/product.h"
#include "kernels/tile_kernels.h"

namespace instructblip {
namespace {

// Threads take whole units of outputs, the two tiles of A.
constexpr Index kUnit = 2 * kTileSize;
// The bytes of x that stay in the second-level cache while units of a mapped weight pass by. Few
// rows are read whole, so that the weight is read front to back.
constexpr Index kColumnBytes = 3 << 19;
// Up to this many tiles of x are multiplied with one tile of A in one product, which computes with
// all of them while it reads the weight. More tiles of x are multiplied with two tiles of A, two at
// a time.
constexpr Index kFewTiles = 4;
// A thread is not worth waking for fewer multiplications than this.
constexpr Index kTileGrain = 1 << 20;

std::uint16_t* elements(Matrix& m) { return static_cast<std::uint16_t*>(m.view().data); }
const std::uint16_t* elements(const Matrix& m) {
  return static_cast<const std::uint16_t*>(m.view().data);
}

// x as tiles of B.
class ColumnTiles {
 public:
  ColumnTiles(const TileKernels& tiles, MatrixView x, bool split)
      : rows_(x.rows),
        depth_(round_up(x.cols, kTileDepth)),
        high_(1, count() * stride(), DType::BFloat16),
        low_(split ? Matrix(1, count() * stride(), DType::BFloat16) : Matrix()) {
    const Index grain = kTileGrain / std::max<Index>(1, x.cols * kTileSize) / 16 + 1;
    parallel_for(count(), grain, [&](Index begin, Index end) {
      for (Index tile = begin; tile < end; ++tile) {
        const Index offset = tile * stride();
        const Index rows = std::min(kTileSize, rows_ - tile * kTileSize);
        std::uint16_t* const high = elements(high_) + offset;
        std::uint16_t* const low = split ? elements(low_) + offset : nullptr;
        tiles.pack(x.row(tile * kTileSize), x.stride, rows, columns(), x.cols, high, low);
      }
    });
  }

  Index count() const { return (rows_ + kTileSize - 1) / kTileSize; }
  Index columns() const { return std::min(kTileSize, rows_); }
  Index depth() const { return depth_; }
  // The bytes of one input of a tile.
  Index input_bytes() const { return columns() * (low_.empty() ? 2 : 4); }
  // The elements of a tile.
  Index stride() const { return depth_ * columns(); }
  // Tile `tile` from input k on.
  const std::uint16_t* high(Index tile, Index k) const { return elements(high_) + at(tile, k); }
  const std::uint16_t* low(Index tile, Index k) const {
    return low_.empty() ? nullptr : elements(low_) + at(tile, k);
  }

 private:
  Index at(Index tile, Index k) const { return tile * stride() + k * columns(); }

  Index rows_, depth_;
  Matrix high_, low_;
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
        outs_(product.y.cols),
        block_depth_(std::max(kTileDepth, kColumnBytes / (x_.count() * x_.input_bytes()) /
                                              kTileDepth * kTileDepth)) {}

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
    const bool few = x_.count() <= kFewTiles;
    const bool has_next = a.mapped && !few && (unit + 2) * kUnit <= outs_;
    const Index rows = few ? kTileSize : kUnit;
    const Index tiles_per_product = few ? kFewTiles : 2;
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
                         .b_passes = false,
                         .b = x_.high(tile, k),
                         .b_low = x_.low(tile, k),
                         .b_stride = 2 * x_.columns(),
                         .b_next = x_.stride(),
                         .b_tiles = tiles,
                         .columns = x_.columns(),
                         .sums = sums.row(row) + tile * kTileSize,
                         .sums_stride = sums.stride,
                         .first = k == 0,
                         .next_sums = nullptr,
                         .next = has_next ? a.data + (kUnit + next_begin) * a.stride : nullptr,
                         .next_stride = a.stride,
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
  Index outs_, block_depth_;
};

// x as tiles of A, each [depth / kTileDepth, kTileSize, kTileDepth]: products read it front to
// back.
class RowBlocks {
 public:
  RowBlocks(const TileKernels& tiles, MatrixView x, bool split)
      : depth_(round_up(x.cols, kTileDepth)),
        high_((x.rows + kTileSize - 1) / kTileSize, kTileSize * depth_, DType::BFloat16),
        low_(split ? Matrix(high_.rows(), high_.cols(), DType::BFloat16) : Matrix()) {
    parallel_for(x.rows, kTileGrain / std::max<Index>(1, x.cols) / 16 + 1,
                 [&](Index begin, Index end) {
                   for (Index r = begin; r < end; ++r) {
                     tiles.split(x.row(r), x.cols, kStep, elements(high_) + offset(r, 0),
                                 split ? elements(low_) + offset(r, 0) : nullptr);
                   }
                 });
  }

  // From kTileDepth elements of a row to the next ones.
  static constexpr Index kStep = kTileSize * kTileDepth;

  Index depth() const { return depth_; }
  // The bytes of one input of a row.
  Index input_bytes() const { return low_.empty() ? 2 : 4; }
  const std::uint16_t* high(Index row, Index k) const { return elements(high_) + offset(row, k); }
  const std::uint16_t* low(Index row, Index k) const {
    return low_.empty() ? nullptr : elements(low_) + offset(row, k);
  }
  // From a tile to the next one.
  Index next() const { return kTileSize * depth_; }

 private:
  Index offset(Index row, Index k) const {
    return row / kTileSize * next() + k * kTileSize + row % kTileSize * kTileDepth;
  }

  Index depth_;
  Matrix high_, low_;
};

// Two tiles of x stay in the first-level cache while a block of the inputs of many panels passes by
// them. The sums of these panels and the block of their inputs stay in the second-level cache.
class PanelTileProducts {
  // Of x in one product.
  static constexpr Index kRows = 2 * kTileSize;
  // The bytes of a block of two tiles of x, and of the sums and blocks of panels.
  static constexpr Index kBlockBytes = 32 << 10;
  static constexpr Index kChunkBytes = 1 << 20;

 public:
  explicit PanelTileProducts(const Product& product)
      : product_(product),
        tiles_(*product.table.tiles),
        x_(tiles_, product.x, product.weight.activations == DType::Float32),
        rows_(rows_per_block(product.x.rows, kRows)) {
    const Index most = kBlockBytes / (kRows * x_.input_bytes()) / kTileDepth;
    const Index steps = x_.depth() / kTileDepth, blocks = (steps + most - 1) / most;
    block_depth_ = (steps + blocks - 1) / blocks * kTileDepth;
  }

  // The outputs of the panels [begin, end).
  void compute(Index begin, Index end) const {
    const Index panel_bytes =
        kPanelOutputs * (rows_ * static_cast<Index>(sizeof(float)) + block_depth_ * 2);
    const Index chunk = std::clamp<Index>(kChunkBytes / panel_bytes, 1, end - begin);
    // Rows an even number of panels long would lie in few sets of the caches.
    Matrix sums(rows_, (chunk | 1) * kPanelOutputs);
    tiles_.begin();
    for (Index first = begin; first < end; first += chunk) {
      const Index last = std::min(first + chunk, end);
      for (Index r = 0; r < product_.x.rows; r += rows_) {
        const Index rows = std::min(rows_, product_.x.rows - r);
        for (Index k = 0; k < x_.depth(); k += block_depth_) {
          multiply_block({first, last, end}, r, rows, k, sums);
        }
        product_.finish_panels(r, rows, first, last, sums);
      }
    }
    tiles_.end();
  }

 private:
  // Panels [first, last) of those up to `end`.
  struct Chunk {
    Index first, last, end;
  };

  void multiply_block(Chunk chunk, Index r, Index rows, Index k, Matrix& sums) const {
    const auto [first, last, end] = chunk;
    const Index depth = std::min(block_depth_, x_.depth() - k);
    // The block that follows in a panel, or the first one of a panel of the next chunk.
    const bool is_last = k + depth == x_.depth();
    const Index next_panels = is_last ? last - first : 0, next_k = is_last ? 0 : k + depth;
    for (Index i = 0; i < rows; i += kRows) {
      // Every product fetches a part of the next block, seen as rows of `depth`.
      const Index next_begin = kPanelOutputs * i / round_up(rows, kRows);
      const Index next_end = kPanelOutputs * (i + kRows) / round_up(rows, kRows);
      for (Index panel = first; panel < last; ++panel) {
        float* const tile_sums = sums.row(i) + (panel - first) * kPanelOutputs;
        const bool has_next = panel + next_panels < end;
        tiles_.multiply(
            {.a = x_.high(r + i, k),
             .a_low = x_.low(r + i, k),
             .a_stride = kTileDepth,
             .a_step = x_.kStep,
             .a_next = x_.next(),
             .rows = std::min(kRows, rows - i),
             .depth = depth,
             .b_passes = true,
             .b = weights(panel, k),
             .b_low = nullptr,
             .b_stride = 2 * kPanelOutputs,
             .b_next = 2 * kTileSize,
             .b_tiles = kPanelOutputs / kTileSize,
             .columns = kTileSize,
             .sums = tile_sums,
             .sums_stride = sums.view().stride,
             .first = k == 0,
             .next_sums = panel + 1 < last ? tile_sums + kPanelOutputs : nullptr,
             .next = has_next ? weights(panel + next_panels, next_k) + next_begin * depth : nullptr,
             .next_stride = depth,
             .next_rows = has_next ? next_end - next_begin : 0});
      }
    }
  }

  const std::uint16_t* weights(Index panel, Index k) const {
    return static_cast<const std::uint16_t*>(panel_data(product_.weight, panel, k));
  }

  const Product& product_;
  const TileKernels& tiles_;
  RowBlocks x_;
  Index rows_, block_depth_ = 0;
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
