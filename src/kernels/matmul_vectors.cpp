// Products for weights of every format: divides the work into blocks and among threads, and packs
// weights. The arithmetic is a level's `dots` (kernel_table.h).
#include <algorithm>

#include "instructblip/core/threads.h"
#include "kernels/product.h"

namespace instructblip {
namespace {

// Outputs of a block: 48 x 1024 floats stay in the second-level cache while all rows pass over
// them. A multiple of the outputs of every level's tile, as kVectorUnit is.
constexpr Index kBlockOutputs = 48;
// With this many rows or fewer, but more than a tile has, a block is used only a few times: a level
// says how many tiles of outputs it takes at a time.
constexpr Index kFewRows = 16;
// Threads take whole units of outputs.
constexpr Index kVectorUnit = 12;
// A thread is not worth waking for fewer multiplications, or elements to copy, than these.
constexpr Index kMatmulGrain = 1 << 17;
constexpr Index kCopyGrain = 1 << 16;

// More rows than these, so many elements or a multiple of it apart, would share few sets of the
// first-level cache.
constexpr Index kSharingRows = 4, kSharingStride = 512;

static_assert(kBlockOutputs <= kMaxDirectOutputs);

class VectorProduct {
 public:
  explicit VectorProduct(const Product& product) : product_(product), x_(product.x) {
    if (x_.cols % table_.lanes != 0 ||
        (x_.rows > kSharingRows && x_.stride % kSharingStride == 0)) {
      copy_x();
    }
  }

  void outputs(Index begin, Index end) const {
    const Index step = !is_single_tile() && x_.rows <= kFewRows
                           ? table_.products.few_rows_tiles * tile_outputs()
                           : kBlockOutputs;
    Matrix sums(std::min(x_.rows, kBlockRows), step);
    Matrix packed;
    if (!is_direct(depth())) {
      packed = Matrix(step, std::min(block_k(), round_up(depth(), table_.lanes)));
    }
    for (Index r = 0; r < x_.rows; r += kBlockRows) {
      const Index rows = std::min(kBlockRows, x_.rows - r);
      for (Index o = begin; o < end; o += step) {
        block(r, rows, o, std::min(step, end - o), packed, sums);
      }
    }
  }

 private:
  Index depth() const { return weight_.in_features; }
  // Weights of a block in an output.
  Index block_k() const { return kBlockK / table_.products.terms; }
  // Of a tile of x, if there are so many rows.
  Index tile_rows(Index rows) const {
    const VectorProducts& products = table_.products;
    return rows <= products.single_tile_rows ? rows : part_size(rows, products.dot_rows);
  }
  Index tile_outputs() const { return table_.products.dot_outputs(tile_rows(x_.rows)); }
  // Whether the weights of a block are read where they lie.
  bool is_direct(Index block_depth) const {
    return block_depth % table_.lanes == 0 && x_.rows <= weight_.format->direct_rows;
  }
  // Whether the weights are read once.
  bool is_single_tile() const { return x_.rows <= table_.products.single_tile_rows; }

  // Fills up the rows of x with zeros to whole vectors, and moves them to other sets of the caches.
  void copy_x() {
    const Index cols = round_up(x_.cols, table_.lanes);
    copy_ = Matrix(x_.rows, cols + kRowGap);
    parallel_for(x_.rows, kCopyGrain / std::max<Index>(1, cols) + 1, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        std::copy_n(x_.row(r), x_.cols, copy_.row(r));
        std::fill(copy_.row(r) + x_.cols, copy_.row(r) + cols, 0.0f);
      }
    });
    x_ = copy_.view().middle_cols(0, cols);
  }

  void block(Index r, Index rows, Index o, Index outs, Matrix& packed, Matrix& sums) const {
    for (Index i = 0; i < rows; ++i) std::fill_n(sums.row(i), outs, 0.0f);
    // Rows of weights that are read once are read from end to end.
    const bool from_end_to_end = is_single_tile() && is_direct(depth());
    const Index step = from_end_to_end ? depth() : block_k();
    for (Index k = 0; k < depth(); k += step) {
      const WeightBlock part{weight_, o, outs, k, std::min(step, depth() - k)};
      if (is_direct(part.depth)) {
        add_direct(r, rows, part, sums);
      } else {
        add_packed(r, rows, part, packed, sums);
      }
    }
    for (Index i = 0; i < rows; ++i) product_.finish(r + i, o, outs, sums.row(i));
  }

  // The weights are read where they lie.
  void add_direct(Index r, Index rows, const WeightBlock& part, Matrix& sums) const {
    for_tiles(r, rows, part, sums,
              [&](const DotProduct& product) { weight_.format->dots(table_, part, product); });
  }

  // The weights are widened once for all rows.
  void add_packed(Index r, Index rows, const WeightBlock& part, Matrix& packed,
                  Matrix& sums) const {
    const void* w[kBlockOutputs];
    const Index padded = round_up(part.depth, table_.lanes);
    for (Index i = 0; i < part.outs; ++i) {
      weight_.format->widen_row(table_, weight_, part.o + i, part.k, part.depth, packed.row(i));
      std::fill(packed.row(i) + part.depth, packed.row(i) + padded, 0.0f);
      w[i] = packed.row(i);
    }
    for_tiles(r, rows, part, sums, [&](DotProduct product) {
      product.w = w;
      product.depth = padded;
      table_.products.dots(product);
    });
  }

  // Calls body with the products of the rows [r, r + rows) of x, without weights, which bring the
  // block that comes after this one into the cache.
  template <class Body>
  void for_tiles(Index r, Index rows, const WeightBlock& part, Matrix& sums,
                 const Body& body) const {
    const Index step = tile_rows(rows), tiles = (rows + step - 1) / step;
    const char* next[kBlockOutputs];
    for (Index i = 0; i < part.outs; ++i) next[i] = next_address(part, i);
    for (Index i = 0; i < rows; i += step) {
      const Index tile = std::min(step, rows - i);
      const float* x[kMostDotRows];
      for (Index t = 0; t < tile; ++t) x[t] = x_.row(r + i + t) + part.k * table_.products.terms;
      body(DotProduct{.x = x,
                      .rows = tile,
                      .w = nullptr,
                      .outs = part.outs,
                      .depth = part.depth,
                      .block = block_k(),
                      .out = sums.row(i),
                      .out_stride = sums.view().stride,
                      .next = next,
                      .next_step = table_.lanes * weight_.format->bits / 8,
                      .turn = i / step,
                      .turns = tiles});
    }
  }

  // What is to be read after output i of `part`: the next tile of outputs where a weight is read
  // once, else the next block.
  const char* next_address(const WeightBlock& part, Index i) const {
    const bool is_last = part.k + part.depth == depth();
    i += is_single_tile() ? tile_outputs() : part.outs;
    const bool is_next_block = i >= part.outs;
    if (is_next_block && !is_last) i -= part.outs;
    const Index k = !is_next_block ? part.k : is_last ? 0 : part.k + part.depth;
    return weight_.format->address(weight_, std::min(part.o + i, weight_.out_features - 1), k);
  }

  const Product& product_;
  const KernelTable& table_ = product_.table;
  const PreparedMatrix::Impl& weight_ = product_.weight;
  MatrixView x_;
  Matrix copy_;
};

}  // namespace

void multiply_vectors(const Product& product) {
  const VectorProduct work(product);
  const Index outs = product.y.cols;
  const Index grain =
      kMatmulGrain / std::max<Index>(1, product.x.rows * product.x.cols * kVectorUnit) + 1;
  parallel_for((outs + kVectorUnit - 1) / kVectorUnit, grain, [&](Index begin, Index end) {
    work.outputs(begin * kVectorUnit, std::min(end * kVectorUnit, outs));
  });
}

}  // namespace instructblip
