// Products for packed weights (panels.h) in vectors: divides the work into blocks and among
// threads. The arithmetic is a level's `panels` (kernel_table.h).
#include <algorithm>

#include "instructblip/core/threads.h"
#include "kernels/panels.h"
#include "kernels/product.h"

namespace instructblip {
namespace {

// All rows pass over this many inputs of two panels while these are in the first-level cache.
constexpr Index kBlockDepth = 192;
// The bytes of sums that stay in the second-level cache while the inputs pass by.
constexpr Index kSumsBytes = 1 << 19;
// A thread is not worth waking for fewer multiplications than this.
constexpr Index kPanelGrain = 1 << 17;

class PanelProducts {
 public:
  explicit PanelProducts(const Product& product)
      : product_(product),
        stride_(panel_stride(product.weight)),
        is_float_(product.weight.format->dtype == DType::Float32),
        multiply_(is_float_ ? product.table.panels : product.table.panels_bf16) {}

  void compute(Index begin, Index end) const {
    const Index pair_bytes = product_.x.rows * kPanelPair * static_cast<Index>(sizeof(float));
    const Index chunk = std::min(std::max<Index>(1, kSumsBytes / pair_bytes), end - begin);
    Matrix sums(product_.x.rows, chunk * kPanelPair);
    for (Index pair = begin; pair < end; pair += chunk) {
      compute_chunk(pair, std::min(pair + chunk, end), sums);
    }
  }

 private:
  void compute_chunk(Index begin, Index end, Matrix& sums) const {
    for (Index k = 0; k < product_.x.cols; k += kBlockDepth) {
      for (Index pair = begin; pair < end; ++pair) {
        multiply(pair, k, sums.view().middle_cols((pair - begin) * kPanelPair, kPanelPair));
      }
    }
    const Index o = begin * kPanelPair;
    const Index outs = std::min(end * kPanelPair, product_.y.cols) - o;
    for (Index r = 0; r < sums.rows(); ++r) product_.finish(r, o, outs, sums.row(r));
  }

  // Inputs [k, k + kBlockDepth) of two panels, for all rows.
  void multiply(Index pair, Index k, MutableMatrixView sums) const {
    const MatrixView& x = product_.x;
    const Index step = product_.table.panel_rows;
    for (Index r = 0; r < x.rows; r += step) {
      multiply_({.x = x.row(r) + k,
                 .x_stride = x.stride,
                 .rows = std::min(step, x.rows - r),
                 .depth = std::min(kBlockDepth, x.cols - k),
                 .weight = weights(2 * pair, k),
                 .panel_stride = stride_,
                 .sums = sums.row(r),
                 .sums_stride = sums.stride,
                 .first = k == 0});
    }
  }

  // Panel `panel` from input k on, which is even.
  const void* weights(Index panel, Index k) const {
    const auto* const bytes = static_cast<const char*>(product_.weight.panels->raw());
    return bytes + (panel * stride_ + k * kPanelOutputs) *
                       static_cast<Index>(size_of(product_.weight.format->dtype));
  }

  const Product& product_;
  Index stride_;
  bool is_float_;
  void (*multiply_)(const PanelProduct&);
};

}  // namespace

void multiply_panels(const Product& product) {
  const PanelProducts work(product);
  const Index grain =
      kPanelGrain / std::max<Index>(1, product.x.rows * product.x.cols * kPanelPair) + 1;
  parallel_for((product.y.cols + kPanelPair - 1) / kPanelPair, grain,
               [&](Index begin, Index end) { work.compute(begin, end); });
}

}  // namespace instructblip
