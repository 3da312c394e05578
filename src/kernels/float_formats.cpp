// The formats of floating-point weights, float32 and bfloat16: rows one after the other.
#include <algorithm>
#include <cstring>
#include <limits>

#include "instructblip/core/threads.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

constexpr Index kElementsPerThread = 1 << 18;

template <class From, class To>
void convert_elements(const void* from, To* to, Index count) {
  const auto* bytes = static_cast<const unsigned char*>(from);
  parallel_for(count, kElementsPerThread, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      From value;  // the source may be misaligned
      std::memcpy(&value, bytes + i * static_cast<Index>(sizeof(From)), sizeof(From));
      to[i] = To(static_cast<float>(value));
    }
  });
}

template <class To>
void convert_elements(const SharedTensor& source, Index begin, Index count, To* to) {
  const void* const from =
      static_cast<const char*>(source.data) + begin * static_cast<Index>(size_of(source.dtype));
  switch (source.dtype) {
    case DType::BFloat16: return convert_elements<bfloat16>(from, to, count);
    case DType::Float16: return convert_elements<float16>(from, to, count);
    default: return convert_elements<float>(from, to, count);
  }
}

template <class To>
std::shared_ptr<const Tensor> convert(const SharedTensor& source) {
  const std::shared_ptr<Tensor> copy =
      std::make_shared<Tensor>(Tensor::uninitialized(dtype_of<To>::value, source.shape));
  convert_elements(source, 0, copy->size(), copy->data<To>());
  return copy;
}

// Which of a level's functions read elements of type T.
void dots_of(const KernelTable& table, float, const DotProduct& product) {
  table.products.dots(product);
}
void dots_of(const KernelTable& table, std::uint16_t, const DotProduct& product) {
  table.dots_bf16(product);
}
void widen(const KernelTable&, const float* from, Index count, float* to) {
  std::copy_n(from, count, to);
}
void widen(const KernelTable& table, const std::uint16_t* from, Index count, float* to) {
  table.widen_bf16(from, count, to);
}

template <class T>
const char* address(const PreparedMatrix::Impl& weight, Index o, Index k) {
  return reinterpret_cast<const char*>(weight.row<T>(o) + k);
}

template <class T>
void dots(const KernelTable& table, const WeightBlock& block, const DotProduct& product) {
  const void* w[kMaxDirectOutputs];
  for (Index i = 0; i < block.outs; ++i) w[i] = address<T>(block.weight, block.o + i, block.k);
  DotProduct with_weights = product;
  with_weights.w = w;
  dots_of(table, T{}, with_weights);
}

template <class T>
void widen_row(const KernelTable& table, const PreparedMatrix::Impl& weight, Index o, Index k,
               Index count, float* to) {
  widen(table, weight.row<T>(o) + k, count, to);
}

}  // namespace

void widen_elements(const SharedTensor& source, Index begin, Index count, float* to) {
  convert_elements(source, begin, count, to);
}

const WeightFormat kFloat32Format{.dtype = DType::Float32,
                                  .bits = 32,
                                  .direct_rows = std::numeric_limits<Index>::max(),
                                  .address = address<float>,
                                  .dots = dots<float>,
                                  .widen_row = widen_row<float>,
                                  .convert = convert<float>};

const WeightFormat kBFloat16Format{.dtype = DType::BFloat16,
                                   .bits = 16,
                                   .direct_rows = 8,
                                   .address = address<std::uint16_t>,
                                   .dots = dots<std::uint16_t>,
                                   .widen_row = widen_row<std::uint16_t>,
                                   .convert = convert<bfloat16>};

}  // namespace instructblip
