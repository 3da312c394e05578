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

class PanelProducts {
 public:
  explicit PanelProducts(const Product& product)
      : product_(product),
        x_(product.table, product.x.rows, product.x.cols, kPanelDepth),
        multiply_(product.weight.format->dtype == DType::Float32 ? product.table.panels
                                                                 : product.table.panels_bf16) {
    const Index grain =
        kPanelGrain / std::max<Index>(1, product.x.cols * product.table.panel_rows) / 4 + 1;
    parallel_for(x_.count(), grain, [&](Index begin, Index end) {
      for (Index tile = begin; tile < end; ++tile) x_.pack(product.x, tile);
    });
  }

  Index depth() const { return product_.x.cols; }
  Index block_depth() const { return kPanelDepth; }
  Index tile_rows() const { return product_.table.panel_rows; }

  void multiply(const BlockProduct& p) const {
    const Index first = p.begin / tile_rows(), last = (p.end + tile_rows() - 1) / tile_rows();
    const Index bytes = kPanelOutputs * static_cast<Index>(size_of(product_.weight.format->dtype));
    // Every tile fetches a part of the next weights.
    const Index part = bytes / (last - first);
    const Index depth = std::min(kPanelDepth, this->depth() - p.block.k);
    for (Index i = first; i < last; ++i) {
      multiply_({.x = x_.tile(i, p.block.k),
                 .rows = x_.rows(i),
                 .depth = depth,
                 .weight = weights(p.block),
                 .sums = p.sums.row((i - first) * tile_rows()),
                 .sums_stride = p.sums.stride,
                 .first = p.block.k == 0,
                 .next = weights(p.next) + (i - first) * part * depth,
                 .next_step = part});
    }
  }

 private:
  const char* weights(PanelBlock block) const {
    return static_cast<const char*>(panel_data(product_.weight, block.panel, block.k));
  }

  const Product& product_;
  RowTiles x_;
  void (*multiply_)(const PanelProduct&);
};

}  // namespace

void multiply_panels(const Product& product) {
  const PanelProducts work(product);
  const Index grain =
      kPanelGrain / std::max<Index>(1, product.x.rows * product.x.cols * kPanelOutputs) + 1;
  parallel_for(panel_count(product.y.cols), grain,
               [&](Index begin, Index end) { for_panels(product, begin, end, work); });
}

}  // namespace instructblip
