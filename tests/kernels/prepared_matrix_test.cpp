#include "instructblip/kernels/prepared_matrix.h"

#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "core/hash.h"
#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"
#include "support/expect_error.h"

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

const Quantization kSchemes[] = {{.bits = 8},
                                 {.bits = 8, .activation_bits = 8},
                                 {.bits = 4},
                                 {.bits = 4, .group_size = 32},
                                 {.bits = 4, .group_size = 32, .symmetric = false},
                                 {.bits = 4, .group_size = 128},
                                 {.bits = 4, .group_size = 256, .symmetric = false}};

TEST(PreparedMatrixTest, AMatrixFromTilesHasTheSameProducts) {
  for (const Quantization& scheme : kSchemes) {
    for (const auto& [outs, ins] : {std::pair<Index, Index>{48, 256}, {37, 160}, {5, 1056}}) {
      SCOPED_TRACE(to_string(scheme) + " " + std::to_string(outs));
      const PreparedMatrix whole = PreparedMatrix::prepare(
          random_weight(outs, ins, DType::BFloat16, 1), {.quantization = scheme});
      const PreparedTiles tiles = whole.tiles().value();
      EXPECT_EQ(tiles.zero_points.data == nullptr, scheme.symmetric);
      const PreparedMatrix copy =
          PreparedMatrix::from_tiles(tiles, outs, ins, {.quantization = scheme});
      EXPECT_EQ(copy.out_features(), outs);
      EXPECT_EQ(copy.in_features(), ins);
      EXPECT_EQ(copy.dtype(), whole.dtype());
      EXPECT_EQ(copy.bytes(), whole.bytes());
      EXPECT_EQ(copy.owned_bytes(), 0u);
      for (const Index rows : {1, 3, 9}) {
        const Matrix x = random_matrix(rows, ins, 2);
        Matrix a(rows, outs), b(rows, outs);
        matmul(x, whole, a);
        matmul(x, copy, b);
        EXPECT_TRUE(same_bits(a, b));
      }
    }
  }
  EXPECT_FALSE(PreparedMatrix::prepare(random_weight(3, 4, DType::Float32, 1)).tiles());
  EXPECT_FALSE(PreparedMatrix().tiles());
}

TEST(PreparedMatrixTest, TilesOfAnotherMatrixAreErrors) {
  const Quantization scheme{.bits = 4, .group_size = 32, .symmetric = false};
  const PreparedTiles good =
      PreparedMatrix::prepare(random_weight(40, 64, DType::Float32, 1), {.quantization = scheme})
          .tiles()
          .value();
  const auto expect_error = [&](const PreparedTiles& tiles, Index outs, Index ins,
                                const Quantization& other, const char* text) {
    testing::expect_error<InputError>(
        [&] { PreparedMatrix::from_tiles(tiles, outs, ins, {.quantization = other}); }, {text});
  };
  PreparedMatrix::from_tiles(good, 40, 64, {.quantization = scheme});
  expect_error(good, 49, 64, scheme, "codes of tiles have shape [3, 512] and type uint8, expected");
  expect_error(good, 40, 96, scheme, "expected [3, 768]");
  expect_error(good, 40, 64, {.bits = 8}, "expected [3, 1024]");
  expect_error(good, 40, 64, {.bits = 4}, "scales of tiles have shape [3, 2, 16]");
  PreparedTiles bad = good;
  bad.zero_points = {};
  expect_error(bad, 40, 64, scheme, "zero points of tiles");
  bad = good;
  bad.scales.dtype = DType::Int32;
  expect_error(bad, 40, 64, scheme, "type int32, expected [3, 2, 16] and float32");
  bad = good;
  bad.codes.data = nullptr;
  expect_error(bad, 40, 64, scheme, "codes of tiles have no data");
  bad = good;
  bad.codes.data = static_cast<const char*>(good.codes.data) + 4;
  expect_error(bad, 40, 64, scheme, "multiple of 16 bytes");
}

// Files of tiles outlive a version of the library.
TEST(PreparedMatrixTest, TilesStayTheSameAsLongAsTheirVersion) {
  constexpr Index kOuts = 37, kIns = 288;
  auto values = std::make_shared<Tensor>(DType::Float32, Shape{kOuts, kIns});
  unsigned state = 1;
  for (float& value : values->span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
    value *= value * value;
  }
  Hash hash;
  for (const Quantization& scheme : kSchemes) {
    if (scheme.activation_bits == 8) continue;  // has the tiles of the first
    const PreparedMatrix matrix =
        PreparedMatrix::prepare(SharedTensor(values->view(), values), {.quantization = scheme});
    const PreparedTiles tiles = matrix.tiles().value();
    for (const SharedTensor& tensor : {tiles.codes, tiles.scales, tiles.zero_points}) {
      if (tensor.data == nullptr) continue;
      hash.add(to_string(tensor.shape));
      const auto bytes = static_cast<std::size_t>(tensor.size()) * size_of(tensor.dtype);
      hash.add({static_cast<const char*>(tensor.data), bytes});
    }
  }
  EXPECT_EQ(PreparedTiles::kVersion, 1);
  EXPECT_EQ(hash.value(), 5789493592735969528u)
      << "quantising or the order of tiles has changed: "
         "increase PreparedTiles::kVersion and renew this hash";
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
