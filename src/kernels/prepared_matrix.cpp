#include "instructblip/kernels/prepared_matrix.h"

#include <cstdint>
#include <cstring>
#include <string>

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "kernels/prepared_matrix_impl.h"

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

// float32 asked for and bfloat16 stored is read as stored: widening is exact, so a copy in float32
// would give the same bits from twice the memory.
bool readable_as_stored(const SharedTensor& source, DType wanted) {
  const bool type =
      source.dtype == wanted || (source.dtype == DType::BFloat16 && wanted == DType::Float32);
  return type && reinterpret_cast<std::uintptr_t>(source.data) % size_of(source.dtype) == 0;
}

constexpr Index kElementsPerThread = 1 << 18;

template <class From, class To>
void convert(const void* from, To* to, Index count) {
  const auto* bytes = static_cast<const unsigned char*>(from);
  parallel_for(count, kElementsPerThread, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      From value;
      std::memcpy(&value, bytes + static_cast<std::size_t>(i) * sizeof(From), sizeof(From));
      to[i] = To(static_cast<float>(value));
    }
  });
}

template <class To>
void convert_from(const SharedTensor& source, To* to, Index count) {
  switch (source.dtype) {
    case DType::BFloat16: convert<bfloat16>(source.data, to, count); break;
    case DType::Float16: convert<float16>(source.data, to, count); break;
    default: convert<float>(source.data, to, count);
  }
}

std::shared_ptr<const Tensor> converted(const SharedTensor& source, DType dtype) {
  auto copy = std::make_shared<Tensor>(Tensor::uninitialized(dtype, source.shape));
  if (dtype == DType::BFloat16) {
    convert_from(source, copy->data<bfloat16>(), copy->size());
  } else {
    convert_from(source, copy->data<float>(), copy->size());
  }
  return copy;
}

}  // namespace

PreparedMatrix::PreparedMatrix() = default;

PreparedMatrix PreparedMatrix::prepare(const SharedTensor& source, const PreparePolicy& policy) {
  return prepare(std::span(&source, 1), policy);
}

PreparedMatrix PreparedMatrix::prepare(std::span<const SharedTensor> sources,
                                       const PreparePolicy& policy) {
  if (policy.dtype != DType::Float32 && policy.dtype != DType::BFloat16) {
    throw InputError("PreparedMatrix: weights are read in float32 or bfloat16, not in " +
                     std::string(name_of(policy.dtype)));
  }
  PreparedMatrix matrix;
  if (sources.empty()) return matrix;
  for (const SharedTensor& source : sources) {
    if (source.data == nullptr) return matrix;
  }
  auto impl = std::make_shared<Impl>();
  impl->in_features = sources[0].rank() == 2 ? sources[0].dim(1) : 0;
  bool as_stored = true;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    check_source(sources[i], i, impl->in_features);
    as_stored = as_stored && readable_as_stored(sources[i], policy.dtype) &&
                sources[i].dtype == sources[0].dtype;
  }
  impl->dtype = as_stored ? sources[0].dtype : policy.dtype;
  for (const SharedTensor& source : sources) {
    Impl::Part part;
    part.begin = impl->out_features;
    part.end = part.begin + source.dim(0);
    if (source.dtype == impl->dtype && readable_as_stored(source, impl->dtype)) {
      part.data = source.data;
      part.owner = source.owner;
    } else {
      const std::shared_ptr<const Tensor> copy = converted(source, impl->dtype);
      part.data = copy->raw();
      part.owner = copy;
      impl->owned_bytes += static_cast<std::size_t>(copy->size()) * size_of(impl->dtype);
    }
    impl->out_features = part.end;
    impl->parts.push_back(std::move(part));
  }
  matrix.impl_ = std::move(impl);
  return matrix;
}

Index PreparedMatrix::out_features() const { return impl_ ? impl_->out_features : 0; }
Index PreparedMatrix::in_features() const { return impl_ ? impl_->in_features : 0; }
DType PreparedMatrix::dtype() const { return impl_ ? impl_->dtype : DType::Float32; }
std::size_t PreparedMatrix::owned_bytes() const { return impl_ ? impl_->owned_bytes : 0; }

}  // namespace instructblip
