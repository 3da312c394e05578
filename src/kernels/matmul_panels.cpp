// Products for packed weights (panels.h) in vectors: divides the work into blocks and among
// threads. The arithmetic is a level's `panels` (kernel_table.h).
#include <algorithm>

#include "instructblip/core/threads.h"
#include "kernels/panels.h"
#include "kernels/product.h"

namespace instructblip {
namespace {

// All rows pass over this many inputs of two panels while these are in the first-level cache.
constexpr Index kPanelDepth = 192;
// A thread is not worth waking for fewer multiplications than this.
constexpr Index kPanelGrain = 1 << 17;

class PanelProducts {
 public:
  explicit PanelProducts(const Product& product)
      : product_(product),
        stride_(panel_stride(product.weight)),
        multiply_(product.weight.format->dtype == DType::Float32 ? product.table.panels
                                                                 : product.table.panels_bf16) {}

  // Inputs [k, k + kPanelDepth) of two panels, for all rows.
  void operator()(Index pair, Index k, MutableMatrixView sums) const {
    const MatrixView& x = product_.x;
    const Index step = product_.table.panel_rows;
    for (Index r = 0; r < x.rows; r += step) {
      multiply_({.x = x.row(r) + k,
                 .x_stride = x.stride,
                 .rows = std::min(step, x.rows - r),
                 .depth = std::min(kPanelDepth, x.cols - k),
                 .weight = weights(2 * pair, k),
                 .panel_stride = stride_,
                 .sums = sums.row(r),
                 .sums_stride = sums.stride,
                 .first = k == 0});
    }
  }

 private:
  // Panel `panel` from input k on, which is even.
  const void* weights(Index panel, Index k) const {
    const auto* const bytes = static_cast<const char*>(product_.weight.panels->raw());
    return bytes + (panel * stride_ + k * kPanelOutputs) *
                       static_cast<Index>(size_of(product_.weight.format->dtype));
  }

  const Product& product_;
  Index stride_;
  void (*multiply_)(const PanelProduct&);
};

}  // namespace

void multiply_panels(const Product& product) {
  const PanelProducts work(product);
  const Index grain =
      kPanelGrain / std::max<Index>(1, product.x.rows * product.x.cols * kPanelPair) + 1;
  parallel_for((product.y.cols + kPanelPair - 1) / kPanelPair, grain, [&](Index begin, Index end) {
    for_panels(product, begin, end, product.x.cols, kPanelDepth, work);
  });
}

}  // namespace instructblip
