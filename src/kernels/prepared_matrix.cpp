#include "instructblip/kernels/prepared_matrix.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "instructblip/core/error.h"
#include "kernels/panels.h"
#include "kernels/weight_format.h"

namespace instructblip {
namespace {

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

// Rows of an odd number of bfloat16 inputs are not rows of pairs, unless panels fill them up.
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
  const WeightFormat& format = choose_format(sources, wanted);
  impl->format = &format;
  impl->tiles = policy.dtype == DType::BFloat16;
  impl->activations = policy.activations;
  const bool pairs = impl->tiles && policy.activations == DType::BFloat16;
  const std::size_t alignment = (pairs ? 2 : 1) * size_of(format.dtype);
  for (const SharedTensor& source : sources) {
    Impl::Part part;
    part.begin = impl->out_features;
    part.end = part.begin + source.dim(0);
    if (source.dtype == format.dtype && is_aligned(source, alignment)) {
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
  if (pairs) impl->pairs = as_pairs(*impl);
  matrix.impl_ = std::move(impl);
  return matrix;
}

Index PreparedMatrix::out_features() const { return impl_ ? impl_->out_features : 0; }
Index PreparedMatrix::in_features() const { return impl_ ? impl_->in_features : 0; }
DType PreparedMatrix::dtype() const { return impl_ ? impl_->format->dtype : DType::Float32; }
std::size_t PreparedMatrix::owned_bytes() const { return impl_ ? impl_->owned_bytes : 0; }

}  // namespace instructblip
