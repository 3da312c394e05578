// Compares interpolate_bicubic with values from exact arithmetic. The vision tower's tests compare
// it with the reference. In the comments of this folder, the reference is transformers 5.24.
#include "instructblip/layers/interpolate.h"

#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/expect_error.h"

namespace instructblip::testing {
namespace {

TEST(InterpolateBicubic, EnlargesALine) {
  const Tensor line(std::vector<float>{1, 2, 4, 8}, {1, 4, 1});
  const Tensor expected(std::vector<float>{0.89453125f, 1.15625f, 1.5625f, 2.41796875f, 3.16015625f,
                                           5.1171875f, 7.1640625f, 8.421875f},
                        {1, 8, 1});
  expect_close(interpolate_bicubic(line, 1, 8), expected, 1e-6);
}

TEST(InterpolateBicubic, ReducesWithoutAntialiasing) {
  const Tensor line(std::vector<float>{1, 2, 4, 8}, {4, 1, 1});
  const Tensor expected(std::vector<float>{1.3125f, 6.1875f}, {2, 1, 1});
  expect_close(interpolate_bicubic(line, 2, 1), expected, 1e-6);
}

TEST(InterpolateBicubic, InterpolatesEachColumnOfTheVectorsInBothDirections) {
  const Tensor table(std::vector<float>{0, 5, 1, 5, 2, 5, 6, 5}, {2, 2, 2});
  const Tensor found = interpolate_bicubic(table, 3, 3);
  const std::vector<float> first{-6575.0f / 27648, 113.0f / 576,  17423.0f / 27648,
                                 451.0f / 576,     2.25f,         2141.0f / 576,
                                 49871.0f / 27648, 2479.0f / 576, 188113.0f / 27648};
  Tensor expected(DType::Float32, {3, 3, 2});
  for (Index i = 0; i < 9; ++i) {
    expected.data<float>()[2 * i] = first[static_cast<std::size_t>(i)];
    expected.data<float>()[2 * i + 1] = 5;
  }
  expect_close(found, expected, 1e-6);
}

TEST(InterpolateBicubic, ReturnsTheTableItselfAtItsOwnSize) {
  const Tensor table(std::vector<float>{0.1f, -2.3f, 4.7f, 1e-8f, 3e8f, -0.9f}, {3, 2, 1});
  expect_equal(interpolate_bicubic(table, 3, 2), table);
}

TEST(InterpolateBicubic, RejectsInvalidArguments) {
  const auto resize = [](const TensorView& table, Index rows, Index cols) {
    return [=] { interpolate_bicubic(table, rows, cols); };
  };
  const Tensor table(DType::Float32, {2, 2, 3}), flat(DType::Float32, {4, 3});
  const Tensor empty(DType::Float32, {0, 2, 3}), half(DType::Float16, {2, 2, 3});
  expect_error<InputError>(resize(flat, 2, 2), {"shape [4, 3], expected contiguous float32"});
  expect_error<InputError>(resize(empty, 2, 2), {"shape [0, 2, 3]"});
  expect_error<InputError>(resize(half, 2, 2), {"type float16"});
  expect_error<InputError>(resize(table, 0, 2), {"cannot resize to 0 x 2"});
  TensorView transposed = table.view();
  transposed.strides = {3, 6, 1};
  expect_error<InputError>(resize(transposed, 2, 2), {"contiguous"});
}

}  // namespace
}  // namespace instructblip::testing
