// Huge pages for memory that products read panel by panel and row by row.
#pragma once

#include <cstddef>
#include <cstdint>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif
#include <utility>

#include "instructblip/core/tensor.h"

namespace instructblip {

/// Asks for huge pages where `bytes` of new memory, or of a mapped file, fill them. A page that the
/// CPU's tables do not hold costs a walk through them. All of the memory should be used: what is
/// touched of a page is resident as a whole. A system without huge pages ignores it.
inline void use_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t kSize = std::uintptr_t{2} << 20;
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t begin = (address + kSize - 1) & ~(kSize - 1);
  const std::uintptr_t end = (address + bytes) & ~(kSize - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

/// A tensor in such memory, its elements not initialised.
inline Tensor tensor_in_huge_pages(DType dtype, Shape shape) {
  Tensor tensor = Tensor::uninitialized(dtype, std::move(shape));
  use_huge_pages(tensor.raw(), to_size(tensor.size()) * size_of(dtype));
  return tensor;
}

}  // namespace instructblip
