// Products for packed weights (panels.h) in vectors: divides the work into blocks and among
// threads. The arithmetic is a level's `panels` (kernel_table.h).
#include <algorithm>

#include "instructblip/core/threads.h"
#include "kernels/panels.h"
#include "kernels/product.h"

namespace instructblip {
namespace {

// All rows pass over this many inputs of a panel while these are in the first-level cache.
constexpr Index kPanelDepth = 192;
// A thread is not worth waking for fewer multiplications than this.
constexpr Index kPanelGrain = 1 << 17;

// The inputs from k on of a panel of a packed weight.
struct PanelBlock {
  Index panel, k;
};

// What one product with a block of a panel covers: rows [begin, end) of x.
struct BlockProduct {
  Index begin, end;
  PanelBlock block;
  const float* weight;     // of the block
  PanelBlock next;         // the block that comes after this one
  MutableMatrixView sums;  // [end - begin, kPanelOutputs], set if block.k is 0, else added to
};

class PanelProducts {
 public:
  explicit PanelProducts(const Product& product)
      : product_(product),
        x_(product.table, product.x.rows, product.x.cols,
           kPanelDepth * product.table.products.terms) {
    const Index grain =
        kPanelGrain / std::max<Index>(1, product.x.cols * product.table.products.panel_rows) / 4 +
        1;
    parallel_for(x_.count(), grain, [&](Index begin, Index end) {
      for (Index tile = begin; tile < end; ++tile) x_.pack(product.x, tile);
    });
  }

  // The outputs of the panels [begin, end).
  void compute(Index begin, Index end) const {
    const Index rows = product_.x.rows, step = rows_per_block(rows, tile_rows());
    const Index sums_bytes = step * kPanelOutputs * static_cast<Index>(sizeof(float));
    const Index chunk = std::min(std::max<Index>(1, kSumsBytes / sums_bytes), end - begin);
    Matrix sums(step, chunk * kPanelOutputs), widened(1, kPanelDepth * kPanelOutputs);
    for (Index first = begin; first < end; first += chunk) {
      const Index last = std::min(first + chunk, end);
      for (Index r = 0; r < rows; r += step) {
        const Index r_end = std::min(r + step, rows);
        for (Index k = 0; k < depth(); k += kPanelDepth) {
          for (Index panel = first; panel < last; ++panel) {
            const bool is_last = panel + 1 == last;
            const PanelBlock next{is_last ? first : panel + 1, is_last ? k + kPanelDepth : k};
            multiply(
                {.begin = r,
                 .end = r_end,
                 .block = {panel, k},
                 .weight = wide({panel, k}, widened),
                 .next = next.k < depth() ? next : PanelBlock{panel, k},
                 .sums = sums.view().middle_cols((panel - first) * kPanelOutputs, kPanelOutputs)});
          }
        }
        product_.finish_panels(r, first, last, sums.view().middle_rows(0, r_end - r));
      }
    }
  }

 private:
  Index depth() const { return product_.x.cols / product_.table.products.terms; }
  Index tile_rows() const { return product_.table.products.panel_rows; }

  Index depth(PanelBlock block) const { return std::min(kPanelDepth, depth() - block.k); }

  const char* weights(PanelBlock block) const {
    return static_cast<const char*>(panel_data(product_.weight, block.panel, block.k));
  }
  // The weights in float32, widened once for all rows: in `panels`, shifts would compete with the
  // products for the CPU's units.
  const float* wide(PanelBlock block, Matrix& widened) const {
    const void* const data = weights(block);
    if (product_.weight.format->dtype == DType::Float32) return static_cast<const float*>(data);
    product_.table.widen_panel(static_cast<const std::uint16_t*>(data), round_up(depth(block), 2),
                               widened.row(0));
    return widened.row(0);
  }

  void multiply(const BlockProduct& p) const {
    const Index first = p.begin / tile_rows(), last = (p.end + tile_rows() - 1) / tile_rows();
    const Index bytes = kPanelOutputs * static_cast<Index>(size_of(product_.weight.format->dtype));
    // Every tile fetches a part of the next weights.
    const Index part = (bytes + last - first - 1) / (last - first);
    for (Index i = first; i < last; ++i) {
      product_.table.products.panels({.x = x_.tile(i, p.block.k * product_.table.products.terms),
                                      .rows = x_.rows(i),
                                      .depth = depth(p.block),
                                      .weight = p.weight,
                                      .outs = kPanelOutputs,
                                      .sums = p.sums.row((i - first) * tile_rows()),
                                      .sums_stride = p.sums.stride,
                                      .first = p.block.k == 0,
                                      .next = weights(p.next) + (i - first) * part * depth(p.block),
                                      .next_step = part});
    }
  }

  const Product& product_;
  RowTiles x_;
};

}  // namespace

void multiply_panels(const Product& product) {
  const PanelProducts work(product);
  const Index grain =
      kPanelGrain / std::max<Index>(1, product.x.rows * product.x.cols * kPanelOutputs) + 1;
  parallel_for(panel_count(product.y.cols), grain,
               [&](Index begin, Index end) { work.compute(begin, end); });
}

}  // namespace instructblip
