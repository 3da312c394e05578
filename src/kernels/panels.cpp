#include "kernels/panels.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/huge_pages.h"
#include "instructblip/core/index.h"
#include "instructblip/core/threads.h"
#include "kernels/tile_kernels.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

constexpr Index kPackedPerThread = 1 << 18;

struct Pair {
  std::uint16_t values[2];
};

// The rows of a weight that are the outputs of a panel.
template <class T>
struct PanelRows {
  PanelRows(const PreparedMatrix::Impl& weight, Index panel)
      : count(std::min(kPanelOutputs, weight.out_features - panel * kPanelOutputs)) {
    for (Index i = 0; i < count; ++i) rows[i] = weight.row<T>(panel * kPanelOutputs + i);
  }

  Index count;
  const T* rows[kPanelOutputs];
};

void pack_panel(const PreparedMatrix::Impl& weight, Index panel, float* to) {
  const PanelRows<float> from(weight, panel);
  kernels().pack(from.rows, from.count, kPanelOutputs, weight.in_features, to);
}

void pack_panel(const PreparedMatrix::Impl& weight, Index panel, Pair* to) {
  const PanelRows<std::uint16_t> from(weight, panel);
  Pair* const end = to + panel_stride(weight) / 2;
  const auto pack = [&](Index k, auto count) {
    std::fill_n(to, kPanelOutputs, Pair{});
    for (Index i = 0; i < from.count; ++i) {
      std::memcpy(to + i, from.rows[i] + k, count * sizeof(std::uint16_t));
    }
    to += kPanelOutputs;
  };
  Index k = 0;
  for (; k + 2 <= weight.in_features; k += 2) pack(k, std::integral_constant<std::size_t, 2>{});
  if (k < weight.in_features) pack(k, std::integral_constant<std::size_t, 1>{});
  std::fill(to, end, Pair{});
}

}  // namespace

RowTiles::RowTiles(const KernelTable& table, Index rows, Index depth, Index block)
    : table_(table),
      rows_(rows),
      depth_(depth),
      block_(block),
      count_((rows + table.products.panel_rows - 1) / table.products.panel_rows),
      data_(1, count_ * depth * table.products.row_tile_width) {}

void RowTiles::pack(MatrixView x, Index i) {
  const float* first[kMostPanelRows];
  for (Index k = 0; k < depth_; k += block_) {
    for (Index r = 0; r < rows(i); ++r) first[r] = x.row(i * table_.products.panel_rows + r) + k;
    table_.pack(first, rows(i), table_.products.row_tile_width, std::min(block_, depth_ - k),
                data_.row(0) + offset(i, k));
  }
}

Index panel_stride(const PreparedMatrix::Impl& weight) {
  const bool pairs = weight.format->dtype == DType::BFloat16;
  return kPanelOutputs * (pairs ? round_up(weight.in_features, kTileDepth) : weight.in_features);
}

const void* panel_data(const PreparedMatrix::Impl& weight, Index panel, Index k) {
  const Index elements = panel * panel_stride(weight) + k * kPanelOutputs;
  return static_cast<const char*>(weight.panels->raw()) +
         elements * static_cast<Index>(size_of(weight.format->dtype));
}

std::shared_ptr<const Tensor> pack_panels(const PreparedMatrix::Impl& weight) {
  const Index panels = panel_count(weight.out_features);
  const Index stride = panel_stride(weight);
  const auto packed =
      std::make_shared<Tensor>(tensor_in_huge_pages(weight.format->dtype, {panels, stride}));
  parallel_for(
      panels, kPackedPerThread / std::max<Index>(1, stride) + 1, [&](Index begin, Index end) {
        for (Index panel = begin; panel < end; ++panel) {
          if (weight.format->dtype == DType::Float32) {
            pack_panel(weight, panel, static_cast<float*>(packed->raw()) + panel * stride);
          } else {
            pack_panel(weight, panel, static_cast<Pair*>(packed->raw()) + panel * stride / 2);
          }
        }
      });
  return packed;
}

}  // namespace instructblip
