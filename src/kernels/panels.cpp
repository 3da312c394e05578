#include "kernels/panels.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "instructblip/core/threads.h"
#include "kernels/tile_kernels.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

constexpr Index kPackedPerThread = 1 << 18;

struct Pair {
  std::uint16_t values[2];
};

// Panel `panel` in units of what a row of T holds: elements in float32, pairs in bfloat16.
template <class T>
void pack_panel(const PreparedMatrix::Impl& weight, Index panel, T* to) {
  using Element = std::conditional_t<std::is_same_v<T, float>, float, std::uint16_t>;
  constexpr Index kElements = sizeof(T) / sizeof(Element);
  const Index o = panel * kPanelOutputs;
  const Index outs = std::clamp<Index>(weight.out_features - o, 0, kPanelOutputs);
  const Element* rows[kPanelOutputs];
  for (Index i = 0; i < outs; ++i) rows[i] = weight.row<Element>(o + i);
  T* const end = to + panel_stride(weight) / kElements;
  const auto pack = [&](Index k, Index count) {
    std::fill_n(to, kPanelOutputs, T{});
    for (Index i = 0; i < outs; ++i) {
      std::memcpy(to + i, rows[i] + k, to_size(count) * sizeof(Element));
    }
    to += kPanelOutputs;
  };
  Index k = 0;
  for (; k + kElements <= weight.in_features; k += kElements) pack(k, kElements);
  if (k < weight.in_features) pack(k, weight.in_features - k);
  std::fill(to, end, T{});
}

}  // namespace

Index panel_stride(const PreparedMatrix::Impl& weight) {
  const bool pairs = weight.format->dtype == DType::BFloat16;
  return kPanelOutputs * (pairs ? round_up(weight.in_features, kTileDepth) : weight.in_features);
}

std::shared_ptr<const Tensor> pack_panels(const PreparedMatrix::Impl& weight) {
  const Index panels = round_up(weight.out_features, kPanelPair) / kPanelOutputs;
  const Index stride = panel_stride(weight);
  const auto packed =
      std::make_shared<Tensor>(Tensor::uninitialized(weight.format->dtype, {panels, stride}));
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
