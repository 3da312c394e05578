// Shared by the kernels' tests: random data, values as double, comparison of bits, and a fixture
// that runs a test with every kernel level of this machine.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/core/threads.h"
#include "instructblip/kernels/dispatch.h"
#include "instructblip/kernels/kernels.h"

namespace instructblip {

inline Matrix random_matrix(Index rows, Index cols, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Matrix m(rows, cols);
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < cols; ++c) m.row(r)[c] = normal(generator);
  }
  return m;
}

inline SharedTensor random_weight(Index outs, Index ins, DType dtype, unsigned seed) {
  auto tensor = std::make_shared<Tensor>(random_matrix(outs, ins, seed).to_tensor().to(dtype));
  return {tensor->view(), tensor};
}

inline std::vector<double> doubles(const TensorView& tensor) {
  const Tensor values = Tensor::copy_of(tensor).to(DType::Float32);
  return {values.span<float>().begin(), values.span<float>().end()};
}

// activation(values[0, i]) in every one of `rows` rows, as matmul computes it: the values are the
// bias of a product that is zero. With many rows matmul applies the function to whole vectors, with
// one row to a few elements at a time.
inline Matrix activated(MatrixView values, Activation activation, Index rows) {
  const auto zeros = std::make_shared<Tensor>(DType::Float32, Shape{values.cols, 1});
  const SharedTensor weight{zeros->view(), zeros};
  Matrix y(rows, values.cols);
  matmul(Matrix::from(Tensor(DType::Float32, {rows, 1})), PreparedMatrix::prepare(weight), y,
         {.bias = values.row(0), .activation = activation});
  return y;
}

inline bool same_bits(MatrixView a, MatrixView b) {
  if (a.rows != b.rows || a.cols != b.cols) return false;
  for (Index r = 0; r < a.rows; ++r) {
    if (std::memcmp(a.row(r), b.row(r), static_cast<std::size_t>(a.cols) * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

class KernelTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_level(GetParam()); }
  void TearDown() override {
    force_kernel_level(available_kernel_levels().front());
    set_num_threads(threads_);
  }

 private:
  int threads_ = num_threads();
};

#define INSTRUCTBLIP_TEST_ALL_LEVELS(Fixture)                                             \
  INSTANTIATE_TEST_SUITE_P(Levels, Fixture, ::testing::ValuesIn(available_kernel_levels()), \
                           [](const auto& level) { return level.param; })

}  // namespace instructblip
