// The format of weights whose codes of 4 bits stand for 16 values, such as NF4's. The products have
// the bits of those with the float32 matrix of the same values.
#include <algorithm>
#include <numeric>

#include "core/huge_pages.h"
#include "instructblip/core/threads.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

constexpr Index kUnitBytes = kCodeUnit / 2;
constexpr Index kUnitsPerThread = 1 << 13;

Index units_of(Index in_features) { return (in_features + kCodeUnit - 1) / kCodeUnit; }

// Row `o` from the unit that begins at input k on.
CodeRow row_at(const PreparedMatrix::Impl& weight, Index o, Index k) {
  const CodebookWeight& w = *weight.codebook;
  return {w.codes.data<std::uint8_t>() + (o * w.codes.dim(1) + k / kCodeUnit) * kUnitBytes,
          w.scales.data<float>() + o * w.scales.dim(1) + k / w.step};
}

// The weights of a unit whose inputs have several scales.
void widen_unit(const CodebookWeight& w, const CodeRow& row, Index count, float* to) {
  for (Index i = 0; i < count; ++i) {
    const int code = row.codes[code_byte(i)] >> (i < kCodeUnit / 2 ? 0 : 4) & 15;
    to[i] = w.codebook.values[to_size(code)] * row.scales[i / w.step];
  }
}

void widen_row(const KernelTable& table, const PreparedMatrix::Impl& weight, Index o, Index k,
               Index count, float* to) {
  const CodebookWeight& w = *weight.codebook;
  const Index whole = w.step == kCodeUnit ? count / kCodeUnit : 0;
  table.widen_codes(row_at(weight, o, k), w.codebook.values.data(), whole, to);
  for (Index i = whole * kCodeUnit; i < count; i += kCodeUnit) {
    widen_unit(w, row_at(weight, o, k + i), std::min(kCodeUnit, count - i), to + i);
  }
}

const char* address(const PreparedMatrix::Impl& weight, Index o, Index k) {
  return reinterpret_cast<const char*>(row_at(weight, o, k).codes);
}

void dots_of_block(const KernelTable& table, const WeightBlock& block, const DotProduct& product) {
  const CodebookWeight& w = *block.weight.codebook;
  if (w.step == kCodeUnit && block.depth % kCodeUnit == 0) {
    CodeRow codes[kMaxDirectOutputs];
    for (Index i = 0; i < block.outs; ++i) codes[i] = row_at(block.weight, block.o + i, block.k);
    return table.dots_codes(product.x, product.rows, codes, block.outs, w.codebook.values.data(),
                            block.depth, product.out, product.out_stride);
  }
  Matrix values(block.outs, block.depth);
  const void* widened[kMaxDirectOutputs];
  for (Index i = 0; i < block.outs; ++i) {
    widen_row(table, block.weight, block.o + i, block.k, block.depth, values.row(i));
    widened[i] = values.row(i);
  }
  DotProduct with_weights = product;
  with_weights.w = widened;
  table.products.dots(with_weights);
}

void dots(const KernelTable& table, const WeightBlock& block, const DotProduct& product) {
  const float* x[kMostDotRows];
  DotProduct part = product;
  part.x = x;
  for (Index k = 0; k < block.depth; k += product.block) {
    for (Index r = 0; r < product.rows; ++r) x[r] = product.x[r] + k;
    part.depth = std::min(product.block, block.depth - k);
    dots_of_block(table, {block.weight, block.o, block.outs, block.k + k, part.depth}, part);
  }
}

void copy_row(const QuantizedMatrix& source, Index o, Index step, std::uint8_t* codes,
              float* scales) {
  constexpr Index kHalf = kUnitBytes / 2;  // bytes of half a unit's inputs in the source
  const Index inputs = source.in_features, row_bytes = (inputs + 1) / 2;
  const auto* const row = static_cast<const std::uint8_t*>(source.codes.data) + o * row_bytes;
  for (Index begin = 0; begin < row_bytes; begin += kUnitBytes, codes += kUnitBytes) {
    std::uint8_t unit[kUnitBytes] = {};
    std::copy_n(row + begin, std::min(kUnitBytes, row_bytes - begin), unit);
    for (Index i = 0; i < kHalf; ++i) {
      const unsigned low = unit[i], high = unit[kHalf + i];
      std::uint8_t* const to = codes + code_byte(2 * i);
      to[0] = static_cast<std::uint8_t>((low & 15) | high << 4);
      to[1] = static_cast<std::uint8_t>(low >> 4 | (high & 0xf0));
    }
  }
  const auto* const given = static_cast<const float*>(source.scales.data) + o * source.groups();
  const Index group = source.group_size == 0 ? inputs : source.group_size;
  for (Index i = 0; i < inputs; i += step) scales[i / step] = given[i / group];
}

}  // namespace

CodebookWeight codebook_weight(std::span<const QuantizedMatrix> sources, Index outs) {
  const QuantizedMatrix& first = sources[0];
  const Index inputs = first.in_features, units = units_of(inputs);
  CodebookWeight w;
  w.codebook = *first.codebook;
  if (first.group_size != 0) w.step = std::gcd(first.group_size, kCodeUnit);
  w.codes = tensor_in_huge_pages(DType::UInt8, {outs, units, kUnitBytes});
  const Index steps = (inputs + w.step - 1) / w.step;
  w.scales = tensor_in_huge_pages(DType::Float32, {outs, steps});
  Index row = 0;
  for (const QuantizedMatrix& source : sources) {
    parallel_for(source.out_features, kUnitsPerThread / std::max<Index>(1, units) + 1,
                 [&](Index begin, Index end) {
                   for (Index o = begin; o < end; ++o) {
                     copy_row(source, o, w.step,
                              w.codes.data<std::uint8_t>() + (row + o) * units * kUnitBytes,
                              w.scales.data<float>() + (row + o) * steps);
                   }
                 });
    row += source.out_features;
  }
  return w;
}

const WeightFormat kCodebookFormat{.dtype = DType::UInt8,
                                   .bits = 4,
                                   .direct_rows = 4,
                                   .address = address,
                                   .dots = dots,
                                   .widen_row = widen_row,
                                   .convert = nullptr};

}  // namespace instructblip
