#include "instructblip/kernels/prepared_matrix.h"

#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"

namespace instructblip {
namespace {

TEST(PreparedMatrixTest, OnlyTypesThatCannotBeReadAsStoredAreConverted) {
  const SharedTensor f32 = random_weight(3, 4, DType::Float32, 1);
  const SharedTensor bf16 = random_weight(3, 4, DType::BFloat16, 1);
  const SharedTensor f16 = random_weight(3, 4, DType::Float16, 1);
  const PreparePolicy half{.dtype = DType::BFloat16};
  EXPECT_EQ(PreparedMatrix::prepare(f32).owned_bytes(), 0u);
  EXPECT_EQ(PreparedMatrix::prepare(bf16).owned_bytes(), 0u);
  EXPECT_EQ(PreparedMatrix::prepare(bf16, half).owned_bytes(), 0u);
  EXPECT_EQ(PreparedMatrix::prepare(f32, half).owned_bytes(), 24u);
  EXPECT_EQ(PreparedMatrix::prepare(f16).owned_bytes(), 48u);
  EXPECT_EQ(PreparedMatrix::prepare(f16).dtype(), DType::Float32);
  EXPECT_EQ(PreparedMatrix::prepare(f16, half).owned_bytes(), 24u);
  EXPECT_EQ(PreparedMatrix::prepare(f16, half).dtype(), DType::BFloat16);
}

TEST(PreparedMatrixTest, ConversionRoundsLikeTensorConversion) {
  // The second is large enough for several threads.
  for (const auto& [rows, cols] : {std::pair<Index, Index>{7, 19}, {701, 801}}) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(rows));
    std::iota(ids.begin(), ids.end(), 0);
    for (DType stored : {DType::Float32, DType::BFloat16, DType::Float16}) {
      for (DType compute : {DType::Float32, DType::BFloat16}) {
        const SharedTensor source = random_weight(rows, cols, stored, 1);
        const Tensor expected = Tensor::copy_of(source).to(compute).to(DType::Float32);
        Matrix found(rows, cols);
        embedding_rows(PreparedMatrix::prepare(source, {.dtype = compute}), ids, found);
        EXPECT_TRUE(same_bits(found, Matrix::from(expected)))
            << name_of(stored) << name_of(compute) << rows;
      }
    }
  }
}

TEST(PreparedMatrixTest, MisalignedTensorsAreCopied) {
  for (DType stored : {DType::Float32, DType::BFloat16, DType::Float16}) {
    const SharedTensor aligned = random_weight(3, 20, stored, 1);
    const auto bytes = static_cast<std::size_t>(60) * size_of(stored);
    const auto memory = std::make_shared<std::vector<char>>(bytes + 1);
    std::memcpy(memory->data() + 1, aligned.data, bytes);
    const PreparedMatrix odd =
        PreparedMatrix::prepare(SharedTensor{{memory->data() + 1, stored, {3, 20}}, memory});
    EXPECT_GT(odd.owned_bytes(), 0u);
    const Matrix x = random_matrix(2, 20, 2);
    Matrix a(2, 3), b(2, 3);
    matmul(x, odd, a);
    matmul(x, PreparedMatrix::prepare(aligned), b);
    EXPECT_TRUE(same_bits(a, b));
  }
}

TEST(PreparedMatrixTest, KeepsItsSourceAlive) {
  SharedTensor source = random_weight(3, 4, DType::Float32, 1);
  const std::weak_ptr<const void> owner = source.owner;
  PreparedMatrix matrix = PreparedMatrix::prepare(source);
  source = {};
  EXPECT_FALSE(owner.expired());
  matrix = {};
  EXPECT_TRUE(owner.expired());
}

TEST(PreparedMatrixTest, SourceWithoutDataGivesAnEmptyMatrix) {
  const std::vector<SharedTensor> sources{random_weight(3, 4, DType::Float32, 1), SharedTensor{}};
  EXPECT_TRUE(PreparedMatrix::prepare(sources).empty());
  EXPECT_TRUE(PreparedMatrix::prepare(std::span<const SharedTensor>{}).empty());
  EXPECT_EQ(PreparedMatrix().out_features(), 0);
}

void expect_error(const std::vector<SharedTensor>& sources, const std::string& text,
                  DType dtype = DType::Float32) {
  try {
    PreparedMatrix::prepare(sources, {.dtype = dtype});
    ADD_FAILURE() << "no error, expected: " << text;
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(PreparedMatrixTest, InvalidSourcesAreReportedWithShapeAndType) {
  const SharedTensor good = random_weight(3, 4, DType::Float32, 1);
  SharedTensor flat = good;
  flat.shape = {12};
  flat.strides = {1};
  expect_error({flat}, "source 0 has shape [12] and type float32, expected two dimensions");
  SharedTensor turned = good;
  turned.shape = {4, 3};
  turned.strides = {1, 4};
  expect_error({good, turned}, "source 1 has shape [4, 3] and type float32, expected a contiguous");
  expect_error({good, random_weight(3, 5, DType::Float32, 1)}, "expected 4 input features");
  expect_error({random_weight(3, 4, DType::Int64, 1)}, "expected float32, bfloat16 or float16");
  expect_error({good}, "not in float16", DType::Float16);
}

}  // namespace
}  // namespace instructblip
