#include "instructblip/kernels/prepared_matrix.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/huge_pages.h"
#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "kernels/panels.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

constexpr Index kCopiedPerThread = 1 << 20;

void check_source(const SharedTensor& source, std::size_t i, Index in_features) {
  const auto fail = [&](const std::string& expected) {
    throw InputError("PreparedMatrix: source " + std::to_string(i) + " has shape " +
                     to_string(source.shape) + " and type " + std::string(name_of(source.dtype)) +
                     ", expected " + expected);
  };
  if (source.rank() != 2) fail("two dimensions [out_features, in_features]");
  if (!source.is_contiguous()) fail("a contiguous tensor");
  if (!is_floating_point(source.dtype)) fail("float32, bfloat16 or float16");
  if (source.dim(1) != in_features) {
    fail(std::to_string(in_features) + " input features, as the first source has");
  }
}

bool is_aligned(const SharedTensor& source, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(source.data) % bytes == 0;
}

std::size_t bytes_of(const TensorView& tensor) {
  return tensor.data == nullptr ? 0 : to_size(tensor.size()) * size_of(tensor.dtype);
}

std::size_t bytes_of(const PreparedTiles& tiles) {
  return bytes_of(tiles.codes) + bytes_of(tiles.scales) + bytes_of(tiles.zero_points);
}

void check_source(const QuantizedMatrix& source, std::size_t i, const QuantizedMatrix& first) {
  const auto fail = [&](const std::string& what) {
    throw InputError("PreparedMatrix: quantised source " + std::to_string(i) + " has " + what);
  };
  const auto check = [&](const char* name, const SharedTensor& tensor, DType dtype, Shape shape) {
    if (tensor.dtype == dtype && tensor.shape == shape && tensor.is_contiguous()) return;
    fail(std::string(name) + " of shape " + to_string(tensor.shape) + " and type " +
         std::string(name_of(tensor.dtype)) + ", expected " + to_string(shape) + " and " +
         std::string(name_of(dtype)));
  };
  if (source.bits != first.bits || source.group_size != first.group_size ||
      source.in_features != first.in_features || source.activation_bits != first.activation_bits ||
      source.zero_points.has_value() != first.zero_points.has_value() ||
      source.codebook != first.codebook) {
    fail(
        "another number of bits, inputs, inputs per group or bits of activations, or other values "
        "than the first one");
  }
  if (source.codebook && (source.bits != 4 || source.zero_points.has_value())) {
    fail("a codebook, which belongs to 4 bits without zero points");
  }
  const Index outs = source.out_features, inputs = source.in_features;
  if (source.bits == 8) {
    check("codes", source.codes, DType::Int8, {outs, inputs});
  } else {
    check("codes", source.codes, DType::UInt8, {outs, (inputs + 1) / 2});
  }
  check("scales", source.scales, DType::Float32, {outs, source.groups()});
  if (source.zero_points.has_value()) {
    check("zero points", source.zero_points, DType::UInt8, {outs, source.groups()});
  }
}

// Four inputs of an output as IntegerProduct::w has them.
std::uint32_t packed_codes(const std::uint8_t* from, int bits) {
  std::uint32_t codes;
  std::memcpy(&codes, from, sizeof(codes));
  if (bits == 8) return codes ^ 0x80808080u;  // plus 128
  // Every half byte of the lower or upper two bytes in a byte of its own.
  const auto spread = [](std::uint32_t halves) {
    halves = (halves | halves << 8) & 0x00ff00ffu;
    return (halves | halves << 4) & 0x0f0f0f0fu;
  };
  return spread(codes & 0xffffu) | spread(codes >> 16) << 4;
}

// Copies the codes of a tile of outputs; `rows` are those of the outputs, `bytes` long.
void copy_codes(std::span<const std::uint8_t* const> rows, Index bytes, int bits,
                std::uint8_t* to) {
  Index i = 0;
  const auto copy = [&](const std::uint8_t* from, Index lane) {
    const std::uint32_t codes = packed_codes(from, bits);
    std::memcpy(to + (i * kIntegerOutputs + 4 * lane), &codes, sizeof(codes));
  };
  for (; i + 4 <= bytes; i += 4) {
    for (Index lane = 0; lane < std::ssize(rows); ++lane) copy(rows[to_size(lane)] + i, lane);
  }
  for (Index lane = 0; i < bytes && lane < std::ssize(rows); ++lane) {
    std::uint8_t last[4] = {};
    std::copy_n(rows[to_size(lane)] + i, bytes - i, last);
    copy(last, lane);
  }
}

SharedTensor shared(Tensor tensor) {
  auto kept = std::make_shared<const Tensor>(std::move(tensor));
  const TensorView view = kept->view();
  return SharedTensor(view, std::move(kept));
}

// The [out, groups] tensors of the sources as PreparedTiles has them.
template <class T>
SharedTensor in_tiles(std::span<const QuantizedMatrix> sources, Index outs,
                      SharedTensor QuantizedMatrix::*member) {
  const Index groups = sources[0].groups();
  Tensor tiles(dtype_of<T>::value,
               {(outs + kIntegerOutputs - 1) / kIntegerOutputs, groups, kIntegerOutputs});
  Index column = 0;
  for (const QuantizedMatrix& source : sources) {
    const T* from = static_cast<const T*>((source.*member).data);
    for (Index o = 0; o < source.out_features; ++o, ++column) {
      T* to = tiles.data<T>() + column / kIntegerOutputs * groups * kIntegerOutputs;
      to += column % kIntegerOutputs;
      for (Index g = 0; g < groups; ++g) to[g * kIntegerOutputs] = *from++;
    }
  }
  return shared(std::move(tiles));
}

// A weight without tensors.
IntegerWeight integer_weight(const Quantization& q, Index in_features) {
  const Index group = q.group_size == 0 ? in_features : q.group_size;
  IntegerWeight w;
  w.bits = q.bits;
  w.depth = round_up(in_features, 32);
  w.activation_bits = q.activation_bits;
  const Index most = w.activation_bits == 8 ? kIntegerRowBlock : kIntegerBlock;
  w.block = q.group_size == 0 ? most : std::min(group, most);
  w.blocks_per_group = std::max<Index>(1, (group + w.block - 1) / w.block);
  return w;
}

// The shape of the codes of `outs` outputs.
Shape shape_of_codes(const IntegerWeight& w, Index outs) {
  return {(outs + kIntegerOutputs - 1) / kIntegerOutputs, kIntegerOutputs * w.depth * w.bits / 8};
}

IntegerWeight integer_weight(std::span<const QuantizedMatrix> sources, Index outs) {
  const QuantizedMatrix& first = sources[0];
  IntegerWeight w = integer_weight({.bits = first.bits,
                                    .group_size = first.group_size,
                                    .activation_bits = first.activation_bits},
                                   first.in_features);
  const Shape shape = shape_of_codes(w, outs);
  const Index tiles = shape[0], tile_bytes = shape[1];
  Tensor codes = tensor_in_huge_pages(DType::UInt8, shape);
  std::uint8_t* const bytes = codes.data<std::uint8_t>();
  const Index row_bytes = first.in_features * w.bits / 8;
  std::vector<const std::uint8_t*> rows;
  for (const QuantizedMatrix& source : sources) {
    const auto* row = static_cast<const std::uint8_t*>(source.codes.data);
    for (Index o = 0; o < source.out_features; ++o, row += row_bytes) rows.push_back(row);
  }
  parallel_for(
      tiles, kCopiedPerThread / std::max<Index>(1, tile_bytes) + 1, [&](Index begin, Index end) {
        for (Index tile = begin; tile < end; ++tile) {
          const Index o = tile * kIntegerOutputs;
          const Index count = std::min(kIntegerOutputs, outs - o);
          std::uint8_t* const to = bytes + tile * tile_bytes;
          if (count < kIntegerOutputs || w.depth != first.in_features) {
            std::fill_n(to, tile_bytes, std::uint8_t{0});
          }
          copy_codes(std::span(rows).subspan(to_size(o), to_size(count)), row_bytes, w.bits, to);
        }
      });
  w.tiles.codes = shared(std::move(codes));
  w.tiles.scales = in_tiles<float>(sources, outs, &QuantizedMatrix::scales);
  if (first.zero_points.data != nullptr) {
    w.tiles.zero_points = in_tiles<std::uint8_t>(sources, outs, &QuantizedMatrix::zero_points);
  }
  return w;
}

void check_tiles(const char* name, const SharedTensor& tensor, DType dtype, const Shape& shape) {
  const auto fail = [&](const std::string& what) {
    throw InputError(std::string("PreparedMatrix: the ") + name + " of tiles " + what);
  };
  if (tensor.dtype != dtype || tensor.shape != shape || !tensor.is_contiguous()) {
    fail("have shape " + to_string(tensor.shape) + " and type " +
         std::string(name_of(tensor.dtype)) + ", expected " + to_string(shape) + " and " +
         std::string(name_of(dtype)));
  }
  if (tensor.data == nullptr && tensor.size() > 0) fail("have no data");
  if (!is_aligned(tensor, PreparedTiles::kAlignment)) {
    fail("do not lie at a multiple of " + std::to_string(PreparedTiles::kAlignment) + " bytes");
  }
}

// Rows of an odd number of bfloat16 inputs are not rows of pairs, unless panels fill them up. Pairs
// need not be aligned: levels that multiply them load vectors from everywhere.
std::shared_ptr<const PreparedMatrix::Impl> as_pairs(const PreparedMatrix::Impl& weight) {
  if (weight.panels == nullptr && weight.in_features % 2 != 0) return nullptr;
  auto pairs = std::make_shared<PreparedMatrix::Impl>(weight);
  pairs->format = &kFloat32Format;
  pairs->in_features =
      (weight.panels == nullptr ? weight.in_features : panel_stride(weight) / kPanelOutputs) / 2;
  return pairs;
}

const WeightFormat& wanted_format(const PreparePolicy& policy) {
  for (const WeightFormat* format : {&kFloat32Format, &kBFloat16Format}) {
    if (format->dtype == policy.dtype) return *format;
  }
  throw InputError("PreparedMatrix: weights are read in float32 or bfloat16, not in " +
                   std::string(name_of(policy.dtype)));
}

// The one format of all sources. Stored bfloat16 is not converted to float32: widening it is exact,
// so twice the memory would hold the same values.
const WeightFormat& choose_format(std::span<const SharedTensor> sources,
                                  const WeightFormat& wanted) {
  const bool stored = std::all_of(sources.begin(), sources.end(), [](const SharedTensor& source) {
    return source.dtype == DType::BFloat16;
  });
  return stored && wanted.dtype == DType::Float32 ? kBFloat16Format : wanted;
}

}  // namespace

PreparedMatrix::PreparedMatrix() = default;

PreparedMatrix PreparedMatrix::prepare(const SharedTensor& source, const PreparePolicy& policy) {
  return prepare(std::span(&source, 1), policy);
}

PreparedMatrix PreparedMatrix::prepare(std::span<const SharedTensor> sources,
                                       const PreparePolicy& policy) {
  const WeightFormat& wanted = wanted_format(policy);
  if (policy.activations != DType::Float32 && policy.activations != DType::BFloat16) {
    throw InputError("PreparedMatrix: activations are float32 or bfloat16, not " +
                     std::string(name_of(policy.activations)));
  }
  PreparedMatrix matrix;
  if (sources.empty()) return matrix;
  for (const SharedTensor& source : sources) {
    if (source.data == nullptr) return matrix;
  }
  auto impl = std::make_shared<Impl>();
  impl->in_features = sources[0].rank() == 2 ? sources[0].dim(1) : 0;
  for (std::size_t i = 0; i < sources.size(); ++i) check_source(sources[i], i, impl->in_features);
  if (policy.quantization && can_quantize(impl->in_features, *policy.quantization)) {
    std::vector<QuantizedMatrix> quantized;
    for (const SharedTensor& source : sources) {
      quantized.push_back(quantize(source, *policy.quantization));
    }
    return prepare(quantized);
  }
  const WeightFormat& format = choose_format(sources, wanted);
  impl->format = &format;
  impl->tiles = policy.dtype == DType::BFloat16;
  impl->activations = policy.activations;
  for (const SharedTensor& source : sources) {
    Impl::Part part;
    part.begin = impl->out_features;
    part.end = part.begin + source.dim(0);
    if (source.dtype == format.dtype && is_aligned(source, size_of(format.dtype))) {
      part.data = source.data;
      part.owner = source.owner;
    } else {
      const std::shared_ptr<const Tensor> copy = format.convert(source);
      part.data = copy->raw();
      part.owner = copy;
      impl->owned_bytes += static_cast<std::size_t>(copy->size()) * size_of(copy->dtype());
    }
    impl->out_features = part.end;
    impl->parts.push_back(std::move(part));
  }
  if (policy.packed) {
    impl->panels = pack_panels(*impl);
    impl->parts.clear();
    impl->owned_bytes = to_size(impl->panels->size()) * size_of(format.dtype);
  }
  if (format.dtype == DType::BFloat16) impl->pairs = as_pairs(*impl);
  impl->bytes = to_size(impl->out_features * impl->in_features) * size_of(format.dtype);
  matrix.impl_ = std::move(impl);
  return matrix;
}

PreparedMatrix PreparedMatrix::prepare(std::span<const QuantizedMatrix> sources) {
  PreparedMatrix matrix;
  if (sources.empty()) return matrix;
  const QuantizedMatrix& first = sources[0];
  auto impl = std::make_shared<Impl>();
  impl->in_features = first.in_features;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    check_source(sources[i], i, first);
    impl->out_features += sources[i].out_features;
  }
  if (first.codebook) {
    impl->format = &kCodebookFormat;
    auto codebook = std::make_shared<CodebookWeight>(codebook_weight(sources, impl->out_features));
    impl->bytes = bytes_of(codebook->codes) + bytes_of(codebook->scales);
    impl->codebook = std::move(codebook);
  } else {
    auto integers = std::make_shared<IntegerWeight>(integer_weight(sources, impl->out_features));
    impl->bytes = bytes_of(integers->tiles);
    impl->integers = std::move(integers);
  }
  impl->owned_bytes = impl->bytes;
  matrix.impl_ = std::move(impl);
  return matrix;
}

PreparedMatrix PreparedMatrix::from_tiles(PreparedTiles tiles, Index out_features,
                                          Index in_features, const PreparePolicy& policy) {
  if (!policy.quantization) throw InputError("PreparedMatrix: tiles need a quantization");
  const Quantization& q = *policy.quantization;
  auto integers = std::make_shared<IntegerWeight>(integer_weight(q, in_features));
  const Shape codes = shape_of_codes(*integers, out_features);
  const Index groups = q.group_size == 0 ? 1 : (in_features + q.group_size - 1) / q.group_size;
  const Shape scales = {codes[0], groups, kIntegerOutputs};
  check_tiles("codes", tiles.codes, DType::UInt8, codes);
  check_tiles("scales", tiles.scales, DType::Float32, scales);
  if (q.symmetric) {
    tiles.zero_points = {};
  } else {
    check_tiles("zero points", tiles.zero_points, DType::UInt8, scales);
  }
  auto impl = std::make_shared<Impl>();
  impl->out_features = out_features;
  impl->in_features = in_features;
  impl->bytes = bytes_of(tiles);
  integers->tiles = std::move(tiles);
  impl->integers = std::move(integers);
  PreparedMatrix matrix;
  matrix.impl_ = std::move(impl);
  return matrix;
}

std::optional<PreparedTiles> PreparedMatrix::tiles() const {
  if (!impl_ || impl_->integers == nullptr) return std::nullopt;
  return impl_->integers->tiles;
}

Index PreparedMatrix::out_features() const { return impl_ ? impl_->out_features : 0; }
Index PreparedMatrix::in_features() const { return impl_ ? impl_->in_features : 0; }
std::size_t PreparedMatrix::bytes() const { return impl_ ? impl_->bytes : 0; }
DType PreparedMatrix::dtype() const {
  if (!impl_) return DType::Float32;
  if (impl_->integers == nullptr) return impl_->format->dtype;
  return impl_->integers->bits == 8 ? DType::Int8 : DType::UInt8;
}
std::size_t PreparedMatrix::owned_bytes() const { return impl_ ? impl_->owned_bytes : 0; }

}  // namespace instructblip
