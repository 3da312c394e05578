#include "instructblip/core/tensor.h"

#include <cmath>
#include <limits>

#include "instructblip/core/error.h"
#include "support/compare.h"

namespace instructblip {
namespace {

TEST(TensorTest, HoldsAlignedZerosOfItsShape) {
  const Tensor tensor(DType::Float32, {2, 3});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.raw()) % 64, 0u);
  EXPECT_EQ(tensor.size(), 6);
  for (float value : tensor.span<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(TensorTest, ReadingAnotherTypeNamesBothTypes) {
  const Tensor tensor(std::vector<std::int64_t>{1, 2}, {2});
  try {
    tensor.data<float>();
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("int64"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("float32"), std::string::npos);
  }
}

TEST(TensorTest, WrongCountsAndIndicesThrow) {
  EXPECT_THROW(Tensor(std::vector<float>{1, 2, 3}, {2, 2}), InputError);
  Tensor tensor(DType::Float32, {2, 3});
  EXPECT_THROW(tensor.at<float>({2, 0}), InputError);
  EXPECT_THROW(tensor.at<float>({0}), InputError);
  EXPECT_THROW(tensor.dim(2), InputError);
  EXPECT_THROW(tensor.reshaped({4}), InputError);
  EXPECT_THROW(Tensor(DType::Float32, {-1}), InputError);
  EXPECT_THROW(Tensor(DType::Float32, {Index{1} << 40, Index{1} << 40}), InputError);
}

TEST(TensorTest, RepeatsElementsOfTheFirstDimension) {
  const Tensor pairs(std::vector<std::int64_t>{1, 2, 3, 4}, {2, 2});
  testing::expect_equal(pairs.repeat_interleave(2),
                        Tensor(std::vector<std::int64_t>{1, 2, 1, 2, 3, 4, 3, 4}, {4, 2}));
  testing::expect_equal(pairs.repeat_interleave(1), pairs);
  EXPECT_EQ(Tensor(DType::Float32, {2, 0}).repeat_interleave(3).shape(), (Shape{6, 0}));
  EXPECT_EQ(pairs.repeat_interleave(0).shape(), (Shape{0, 2}));
  EXPECT_THROW(Tensor(DType::Float32, {}).repeat_interleave(2), InputError);
}

TEST(TensorTest, AViewHasAValueUnlessDefaultConstructed) {
  EXPECT_FALSE(TensorView().has_value());
  EXPECT_TRUE(Tensor(DType::Int64, {0, 3}).view().has_value());
  EXPECT_TRUE(Tensor(DType::Float32, {}).view().has_value());
}

TEST(TensorTest, CopiesViewsWithStrides) {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  TensorView transposed(values.data(), DType::Float32, {3, 2});
  transposed.strides = {1, 3};
  const Tensor copy = Tensor::copy_of(transposed);
  EXPECT_EQ(copy.at<float>({2, 1}), 5.0f);
  EXPECT_EQ(copy.at<float>({1, 0}), 1.0f);
}

TEST(MatrixTest, RowsStartAtCacheLinesAndMemoryIsReused) {
  const void* first = nullptr;
  {
    Matrix matrix(5, 17);
    first = matrix.row(0);
    for (Index r = 0; r < 5; ++r)
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(matrix.row(r)) % 64, 0u);
  }
  Matrix again(5, 17);
  EXPECT_EQ(again.row(0), first);
  const Tensor tensor(std::vector<float>{1, 2, 3, 4, 5, 6}, {1, 2, 3});
  const Matrix copied = Matrix::from(tensor);
  EXPECT_EQ(copied.rows(), 2);
  EXPECT_EQ(copied.row(1)[2], 6.0f);
  EXPECT_EQ(copied.to_tensor({3, 2}).at<float>({2, 1}), 6.0f);
  EXPECT_THROW(Matrix(2, 3, DType::BFloat16).to_tensor(), InputError);
  EXPECT_THROW(Tensor::copy_of(TensorView(nullptr, DType::Float32, {2})), InputError);
  EXPECT_TRUE(Tensor::copy_of(TensorView(nullptr, DType::Float32, {0, 2})).empty());
}

TEST(DTypeTest, HalfTypesRoundToNearestEven) {
  EXPECT_EQ(bfloat16(1.00390625f).bits, 0x3f80);  // a tie, to even
  EXPECT_EQ(bfloat16(1.01171875f).bits, 0x3f82);  // a tie, to even
  EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(float16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(float16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(static_cast<float>(float16(0x1p-24f)), 0x1p-24f);
  EXPECT_EQ(float16(0x1p-25f).bits, 0);
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    float16 half;
    half.bits = static_cast<std::uint16_t>(bits);
    if (std::isnan(static_cast<float>(half))) continue;
    ASSERT_EQ(float16(static_cast<float>(half)).bits, bits);
  }
}

}  // namespace
}  // namespace instructblip
