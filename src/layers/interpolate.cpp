#include "instructblip/layers/interpolate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "core/eigen_arrays.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"

namespace instructblip {
namespace {

// The four inputs of one output position along one dimension, and their weights.
struct CubicTaps {
  std::array<Index, 4> index;
  std::array<float, 4> weight;
};

std::vector<CubicTaps> cubic_taps(Index in, Index out) {
  constexpr float a = -0.75f;
  const auto near = [](float x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  const auto far = [](float x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  std::vector<CubicTaps> taps(to_size(out));
  for (Index i = 0; i < out; ++i) {
    const float source = (static_cast<float>(i) + 0.5f) * scale - 0.5f;
    const float floor = std::floor(source);
    const float t = source - floor;
    CubicTaps& tap = at(taps, i);
    tap.weight = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    for (Index k = 0; k < 4; ++k) {
      at(tap.index, k) = std::clamp<Index>(static_cast<Index>(floor) + k - 1, 0, in - 1);
    }
  }
  return taps;
}

void check_arguments(const TensorView& table, Index rows, Index cols) {
  if (table.dtype != DType::Float32 || table.rank() != 3 || table.dim(0) < 1 || table.dim(1) < 1 ||
      !table.is_contiguous()) {
    throw InputError("interpolate_bicubic: the table has type " +
                     std::string(name_of(table.dtype)) + " and shape " + to_string(table.shape) +
                     ", expected contiguous float32 [rows, cols, width]");
  }
  if (rows < 1 || cols < 1) {
    throw InputError("interpolate_bicubic: cannot resize to " + std::to_string(rows) + " x " +
                     std::to_string(cols) + ", expected at least 1 x 1");
  }
}

}  // namespace

Tensor interpolate_bicubic(const TensorView& table, Index rows, Index cols) {
  check_arguments(table, rows, cols);
  const Index table_cols = table.dim(1), width = table.dim(2);
  const auto from =
      as_rows(static_cast<const float*>(table.data), table.dim(0) * table_cols, width);
  Tensor result(DType::Float32, {rows, cols, width});
  auto to = as_rows(result.data<float>(), rows * cols, width);
  const std::vector<CubicTaps> vertical = cubic_taps(table.dim(0), rows);
  const std::vector<CubicTaps> horizontal = cubic_taps(table_cols, cols);
  Index row = 0;
  for (const CubicTaps& y : vertical) {
    for (const CubicTaps& x : horizontal) {
      for (std::size_t j = 0; j < 4; ++j) {
        for (std::size_t i = 0; i < 4; ++i) {
          to.row(row) += y.weight[j] * x.weight[i] * from.row(y.index[j] * table_cols + x.index[i]);
        }
      }
      ++row;
    }
  }
  return result;
}

}  // namespace instructblip
