// Signed sizes and indices, and their conversion to the unsigned ones of the standard library.
#pragma once

#include <cstddef>
#include <iterator>
#include <limits>
#include <span>
#include <vector>

namespace instructblip {

/// Sizes, counts and indices. std::ssize(container) has this type.
using Index = std::ptrdiff_t;

/// A count as the standard library takes it. The caller must ensure that it is not negative.
constexpr std::size_t to_size(Index count) { return static_cast<std::size_t>(count); }

/// a + b; the largest or smallest Index where the sum is beyond it.
constexpr Index saturating_add(Index a, Index b) {
  constexpr Index kLeast = (std::numeric_limits<Index>::min)();
  constexpr Index kMost = (std::numeric_limits<Index>::max)();
  if (b > 0) return a > kMost - b ? kMost : a + b;
  return a < kLeast - b ? kLeast : a + b;
}

/// container[i] of a vector, array or span, for a signed index. Not checked: the caller must ensure
/// 0 <= i < std::ssize(container).
template <class Container>
constexpr decltype(auto) at(Container&& container, Index i) {
  return container[static_cast<std::size_t>(i)];
}

/// values[i] for each of the indices, which are not checked.
template <class T>
std::vector<T> selected(const std::vector<T>& values, std::span<const Index> indices) {
  std::vector<T> result;
  result.reserve(indices.size());
  for (const Index i : indices) result.push_back(at(values, i));
  return result;
}

}  // namespace instructblip
