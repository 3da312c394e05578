// Weights whose codes stand for 16 values (src/kernels/codebook_format.cpp).
#include <tuple>

#include "instructblip/core/error.h"
#include "instructblip/kernels/prepared_matrix.h"
#include "instructblip/kernels/quantized_matrix.h"
#include "kernels/kernel_testing.h"
#include "support/compare.h"
#include "support/expect_error.h"

namespace instructblip {
namespace {

using testing::expect_error;

SharedTensor owned(Tensor tensor) {
  const auto owner = std::make_shared<Tensor>(std::move(tensor));
  return {owner->view(), owner};
}

// A matrix of random codes, scales and values.
QuantizedMatrix random_codes(Index outs, Index ins, Index group, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  QuantizedMatrix m;
  m.out_features = outs;
  m.in_features = ins;
  m.bits = 4;
  m.group_size = group;
  m.codebook = Codebook{"nf4", {}};
  for (float& value : m.codebook->values) value = normal(generator);
  m.codebook->values[3] = -0.0f;
  Tensor codes(DType::UInt8, {outs, (ins + 1) / 2});
  for (std::uint8_t& byte : codes.span<std::uint8_t>()) {
    byte = static_cast<std::uint8_t>(generator());
  }
  m.codes = owned(std::move(codes));
  m.scales = owned(random_matrix(outs, m.groups(), seed + 1).to_tensor());
  return m;
}

TEST(CodebookTest, AnElementIsTheScaledValueOfItsCode) {
  const QuantizedMatrix m = random_codes(3, 13, 4, 1);
  const Tensor values = dequantize(m);
  for (Index o = 0; o < 3; ++o) {
    for (Index i = 0; i < 13; ++i) {
      const int byte = static_cast<const std::uint8_t*>(m.codes.data)[o * 7 + i / 2];
      const std::size_t code = i % 2 == 0 ? byte & 15 : byte >> 4;
      const float scale = static_cast<const float*>(m.scales.data)[o * 4 + i / 4];
      EXPECT_EQ(values.at<float>({o, i}), scale * m.codebook->values[code]);
    }
  }
}

class CodebookFormatTest : public KernelTest {};

// The definition of the format, and with it the one order of sums.
TEST_P(CodebookFormatTest, AProductHasTheBitsOfThatWithTheValues) {
  for (const auto& [outs, ins, group] :
       {std::tuple{Index{7}, Index{1408}, Index{64}}, std::tuple{Index{16}, Index{128}, Index{32}},
        std::tuple{Index{5}, Index{2112}, Index{704}}, std::tuple{Index{13}, Index{1024}, Index{0}},
        std::tuple{Index{3}, Index{2080}, Index{32}}, std::tuple{Index{9}, Index{100}, Index{4}},
        std::tuple{Index{60}, Index{1131}, Index{1}}, std::tuple{Index{1}, Index{7}, Index{7}}}) {
    const QuantizedMatrix m = random_codes(outs, ins, group, 5);
    const PreparedMatrix weight = PreparedMatrix::prepare(std::span(&m, 1));
    const PreparedMatrix values = PreparedMatrix::prepare(owned(dequantize(m)));
    for (const Index rows : {1, 2, 3, 4, 5, 16, 17, 70}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(ins) + " inputs");
      const Matrix x = random_matrix(rows, ins, 9);
      Matrix y(rows, outs), expected(rows, outs);
      matmul(x, weight, y);
      matmul(x, values, expected);
      EXPECT_TRUE(same_bits(y, expected));
    }
  }
}

TEST_P(CodebookFormatTest, ARowHasTheSameBitsInAnyBatchWithAnyThreads) {
  const QuantizedMatrix m = random_codes(50, 1472, 64, 3);
  const PreparedMatrix weight = PreparedMatrix::prepare(std::span(&m, 1));
  const Matrix x = random_matrix(1100, 1472, 4);
  Matrix all(1100, 50);
  set_num_threads(2);
  matmul(x, weight, all);
  set_num_threads(1);
  for (const Index r : {0, 3, 1023, 1099}) {
    Matrix one(1, 50);
    matmul(x.view().middle_rows(r, 1), weight, one);
    EXPECT_TRUE(same_bits(one, all.view().middle_rows(r, 1)));
  }
}

INSTRUCTBLIP_TEST_ALL_LEVELS(CodebookFormatTest);

TEST(CodebookTest, StackedMatricesHaveTheBitsOfTheirPartsAndStayIn4Bits) {
  QuantizedMatrix parts[] = {random_codes(6, 192, 64, 1), random_codes(11, 192, 64, 2)};
  parts[1].codebook = parts[0].codebook;
  const PreparedMatrix both = PreparedMatrix::prepare(parts);
  EXPECT_EQ(both.out_features(), 17);
  EXPECT_EQ(both.dtype(), DType::UInt8);
  EXPECT_EQ(both.bytes(), 17u * (192 / 2 + 192 / 64 * sizeof(float)));
  EXPECT_EQ(both.owned_bytes(), both.bytes());
  const Matrix x = random_matrix(2, 192, 8);
  Matrix y(2, 17), first(2, 6), second(2, 11);
  matmul(x, both, y);
  matmul(x, PreparedMatrix::prepare(std::span(parts, 1)), first);
  matmul(x, PreparedMatrix::prepare(std::span(parts + 1, 1)), second);
  EXPECT_TRUE(same_bits(y.view().middle_cols(0, 6), first));
  EXPECT_TRUE(same_bits(y.view().middle_cols(6, 11), second));
}

TEST(CodebookTest, SourcesThatDoNotFitAreReported) {
  QuantizedMatrix parts[] = {random_codes(6, 192, 64, 1), random_codes(11, 192, 64, 2)};
  expect_error<InputError>([&] { PreparedMatrix::prepare(parts); },
                           {"source 1", "other values than"});
  parts[0].zero_points = owned(Tensor(DType::UInt8, {6, 3}));
  expect_error<InputError>([&] { PreparedMatrix::prepare(std::span(parts, 1)); },
                           {"without zero points"});
  parts[1].codes = owned(Tensor(DType::UInt8, {11, 95}));
  expect_error<InputError>([&] { PreparedMatrix::prepare(std::span(parts + 1, 1)); },
                           {"codes of shape [11, 95]", "expected [11, 96]"});
  expect_error<InputError>(
      [&] { quantize(owned(random_matrix(2, 64, 1).to_tensor()), {.bits = 4, .codebook = "nf4"}); },
      {"not to the values of \"nf4\""});
}

}  // namespace
}  // namespace instructblip
