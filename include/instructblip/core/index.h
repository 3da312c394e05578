// Signed sizes and indices, and their conversion to the unsigned ones of the standard library.
#pragma once

#include <cstddef>
#include <iterator>

namespace instructblip {

/// Sizes, counts and indices. std::ssize(container) has this type.
using Index = std::ptrdiff_t;

/// A count as the standard library takes it. The caller must ensure that it is not negative.
constexpr std::size_t to_size(Index count) { return static_cast<std::size_t>(count); }

/// container[i] of a vector, array or span, for a signed index. Not checked: the caller must ensure
/// 0 <= i < std::ssize(container).
template <class Container>
constexpr decltype(auto) at(Container&& container, Index i) {
  return container[static_cast<std::size_t>(i)];
}

}  // namespace instructblip
