#include "instructblip/kernels/quantized_matrix.h"

#include <algorithm>
#include <limits>

#include "instructblip/core/error.h"
#include "instructblip/kernels/prepared_matrix.h"
#include "kernels/kernel_testing.h"
#include "support/expect_error.h"

namespace instructblip {
namespace {

using testing::expect_error;

const Quantization kInt8{.bits = 8};
const Quantization kInt4{.bits = 4, .group_size = 128};

std::vector<Quantization> all_quantizations() {
  std::vector<Quantization> all{kInt8, {.bits = 8, .activation_bits = 8}};
  for (const Index group : {0, 32, 64, 128, 1024}) {
    for (const bool symmetric : {true, false}) {
      all.push_back({.bits = 4, .group_size = group, .symmetric = symmetric});
    }
  }
  return all;
}

std::string named(const Quantization& q) {
  return std::to_string(q.bits) + " bits, groups of " + std::to_string(q.group_size) +
         (q.symmetric ? "" : ", zero points") +
         (q.activation_bits == 8 ? ", activations of 8 bits" : "");
}

SharedTensor shared(Tensor tensor) {
  const auto owner = std::make_shared<Tensor>(std::move(tensor));
  return {owner->view(), owner};
}

double squared_error(const Tensor& a, const TensorView& b) {
  const std::vector<double> x = doubles(a), y = doubles(b);
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return sum;
}

TEST(QuantizedMatrixTest, ValuesAreWithinHalfAScaleOfTheElementsInRange) {
  const SharedTensor source = random_weight(7, 192, DType::Float32, 1);
  for (const Quantization& q : all_quantizations()) {
    const QuantizedMatrix m = quantize(source, q);
    const Tensor values = dequantize(m);
    const Index group = q.group_size == 0 ? 192 : q.group_size;
    const double range = q.bits == 8 ? 127 : 7;
    Index outside = 0;
    for (Index o = 0; o < 7; ++o) {
      for (Index i = 0; i < 192; ++i) {
        const double scale = static_cast<const float*>(m.scales.data)[o * m.groups() + i / group];
        const double x = static_cast<const float*>(source.data)[o * 192 + i];
        const double error = std::abs(values.at<float>({o, i}) - x);
        if (error > 0.5001 * scale) {
          ++outside;
          if (q.symmetric) {
            EXPECT_GT(std::abs(x), range * scale) << named(q);
          }
        }
      }
    }
    EXPECT_LT(outside, 7 * 192 / 16) << named(q);
  }
}

TEST(QuantizedMatrixTest, TheSearchIsBetterThanScalingByTheMaximum) {
  const SharedTensor source = random_weight(8, 1024, DType::Float32, 3);
  for (const Quantization& q : {kInt8, kInt4}) {
    const double limit = q.bits == 8 ? 127 : 7;
    const Index group = q.group_size == 0 ? 1024 : q.group_size;
    const auto* const x = static_cast<const float*>(source.data);
    double plain = 0;
    for (Index begin = 0; begin < 8 * 1024; begin += group) {
      double largest = 0;
      for (Index i = begin; i < begin + group; ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(x[i])));
      }
      const double scale = largest / limit;
      for (Index i = begin; i < begin + group; ++i) {
        const double error = x[i] - std::nearbyint(x[i] / scale) * scale;
        plain += error * error;
      }
    }
    const double found = squared_error(dequantize(quantize(source, q)), source);
    EXPECT_LT(found, plain * (q.bits == 8 ? 1.0 : 0.95)) << named(q);
  }
}

TEST(QuantizedMatrixTest, ZeroPointsHelpWhereElementsAreNotAroundZero) {
  Tensor values = random_matrix(4, 128, 4).to_tensor();
  for (float& value : values.span<float>()) value += 3.0f;
  const SharedTensor source = shared(std::move(values));
  const auto error = [&](bool symmetric) {
    const Quantization q{.bits = 4, .group_size = 32, .symmetric = symmetric};
    return squared_error(dequantize(quantize(source, q)), source);
  };
  EXPECT_LT(error(false), 0.5 * error(true));
}

TEST(QuantizedMatrixTest, ValuesOfFourBitsAreBFloat16Numbers) {
  const SharedTensor source = random_weight(5, 256, DType::BFloat16, 5);
  for (const bool symmetric : {true, false}) {
    const QuantizedMatrix m =
        quantize(source, {.bits = 4, .group_size = 64, .symmetric = symmetric});
    for (Index o = 0; o < 5; ++o) {
      for (Index i = 0; i < 256; ++i) {
        const auto byte = static_cast<const std::uint8_t*>(m.codes.data)[(o * 256 + i) / 2];
        const int code = byte >> (i % 2 * 4) & 15;
        const auto group = o * 4 + i / 64;
        const float zero =
            symmetric ? 8.0f : static_cast<const std::uint8_t*>(m.zero_points.data)[group];
        const float exact =
            (static_cast<float>(code) - zero) * static_cast<const float*>(m.scales.data)[group];
        EXPECT_EQ(static_cast<float>(bfloat16(exact)), exact);
        EXPECT_EQ(dequantize(m).at<float>({o, i}), exact);
      }
    }
  }
}

TEST(QuantizedMatrixTest, AllElementTypesAndSpecialRows) {
  Tensor values(DType::Float32, {3, 64});
  for (Index i = 0; i < 64; ++i) {
    values.at<float>({1, i}) = 0.75f;
    values.at<float>({2, i}) = 1e-42f;  // below the normal numbers
  }
  for (const DType dtype : {DType::Float32, DType::BFloat16, DType::Float16}) {
    const SharedTensor source = shared(values.to(dtype));
    for (const Quantization& q : all_quantizations()) {
      const Tensor result = dequantize(quantize(source, q));
      for (Index i = 0; i < 64; ++i) {
        EXPECT_EQ(result.at<float>({0, i}), 0.0f) << named(q);
        EXPECT_NEAR(result.at<float>({1, i}), 0.75f, 0.02f) << named(q);
        EXPECT_NEAR(result.at<float>({2, i}), 0.0f, 1e-37f) << named(q);
      }
    }
  }
}

TEST(QuantizedMatrixTest, InvalidSettingsAndMatricesAreReported) {
  const SharedTensor source = random_weight(2, 48, DType::Float32, 1);
  EXPECT_FALSE(can_quantize(48, kInt4));
  EXPECT_TRUE(can_quantize(48, kInt8));
  expect_error<InputError>([&] { quantize(source, {.bits = 3}); }, {"8 or 4 bits, not 3"});
  expect_error<InputError>([&] { quantize(source, {.bits = 8, .group_size = 32}); },
                           {"one scale per output"});
  expect_error<InputError>([&] { quantize(source, {.bits = 4, .group_size = 96}); }, {"not 96"});
  expect_error<InputError>([&] { quantize(source, {.bits = 4, .activation_bits = 8}); },
                           {"16 bits, or 8 if the weights have 8"});
  expect_error<InputError>([&] { quantize(source, kInt4); }, {"a multiple of 32 inputs, not 48"});
  Tensor bad = Tensor::copy_of(source);
  bad.at<float>({1, 5}) = std::numeric_limits<float>::quiet_NaN();
  expect_error<InputError>([&] { quantize(shared(bad), kInt8); }, {"row 1"});
  const QuantizedMatrix m = quantize(source, kInt8);
  QuantizedMatrix other = m;
  other.scales = {};
  expect_error<InputError>(
      [&] {
        PreparedMatrix::prepare(std::vector{m, other});
      },
      {"quantised source 1 has scales of shape []"});
}

class QuantizedProductTest : public KernelTest {
 protected:
  static Matrix product(MatrixView x, const PreparedMatrix& weight, const Epilogue& epilogue = {}) {
    Matrix y(x.rows, weight.out_features());
    matmul(x, weight, y, epilogue);
    return y;
  }
};

TEST_P(QuantizedProductTest, QuantisingHasTheSameResultOnEveryLevel) {
  const SharedTensor source = random_weight(9, 1056, DType::Float32, 7);
  for (const Quantization& q : all_quantizations()) {
    force_kernel_level("eigen");
    set_num_threads(1);
    const QuantizedMatrix expected = quantize(source, q);
    force_kernel_level(GetParam());
    set_num_threads(3);
    const QuantizedMatrix found = quantize(source, q);
    const auto same = [](const SharedTensor& a, const SharedTensor& b) {
      return a.shape == b.shape &&
             std::memcmp(a.data, b.data, to_size(a.size()) * size_of(a.dtype)) == 0;
    };
    EXPECT_TRUE(same(found.codes, expected.codes)) << named(q);
    EXPECT_TRUE(same(found.scales, expected.scales)) << named(q);
  }
}

// The product as its definition says (matmul_integers.cpp), output by output.
Matrix expected_product(MatrixView x, const QuantizedMatrix& m) {
  Matrix y(x.rows, m.out_features);
  const Index group = m.group_size == 0 ? m.in_features : m.group_size;
  const Index most = m.activation_bits == 8 ? 32768 : 256;
  const float greatest = m.activation_bits == 8 ? 127.0f : 32512.0f;
  const Index block = m.group_size == 0 ? most : std::min(group, most);
  const auto code = [&](Index o, Index i) -> std::int64_t {
    const Index element = o * m.in_features + i;
    if (m.bits == 8) return static_cast<const std::int8_t*>(m.codes.data)[element];
    return static_cast<const std::uint8_t*>(m.codes.data)[element / 2] >> (element % 2 * 4) & 15;
  };
  for (Index r = 0; r < x.rows; ++r) {
    for (Index o = 0; o < m.out_features; ++o) {
      float total = 0;
      for (Index begin = 0; begin < m.in_features; begin += block) {
        const Index end = std::min(begin + block, m.in_features);
        float largest = 0;
        for (Index i = begin; i < end; ++i) largest = std::max(largest, std::abs(x.row(r)[i]));
        const float scale = largest / greatest, inverse = scale > 0 ? 1.0f / scale : 0.0f;
        const Index g = o * m.groups() + begin / group;
        std::int64_t zero = m.bits == 8 ? 0 : 8;
        if (m.zero_points.data != nullptr) {
          zero = static_cast<const std::uint8_t*>(m.zero_points.data)[g];
        }
        std::int64_t sum = 0;
        for (Index i = begin; i < end; ++i) {
          const float whole = std::nearbyint(x.row(r)[i] * inverse);
          sum += static_cast<std::int64_t>(std::clamp(whole, -greatest, greatest)) *
                 (code(o, i) - zero);
        }
        const float product_scale = scale * static_cast<const float*>(m.scales.data)[g];
        const float term = static_cast<float>(sum) * product_scale;
        total += term;
      }
      y.row(r)[o] = total;
    }
  }
  return y;
}

TEST_P(QuantizedProductTest, HasTheDocumentedBitsOnEveryLevel) {
  for (const Quantization& q : all_quantizations()) {
    for (const Index ins : {1, 17, 32, 100, 352, 384, 1056, 1280, 2080}) {
      if (!can_quantize(ins, q)) continue;
      for (const Index outs : {1, 5, 16, 71}) {
        const QuantizedMatrix m = quantize(random_weight(outs, ins, DType::Float32, 1), q);
        const PreparedMatrix weight = PreparedMatrix::prepare(std::span(&m, 1));
        for (const Index rows : {1, 2, 3, 4, 5, 8, 9, 19, 70, 115}) {
          const Matrix x = random_matrix(rows, ins, 2);
          ASSERT_TRUE(same_bits(product(x, weight), expected_product(x, m)))
              << named(q) << ", " << rows << " x " << outs << ", k " << ins;
        }
      }
    }
  }
}

TEST_P(QuantizedProductTest, LongRowsOfBytesHaveBlocks) {
  const Quantization q{.bits = 8, .activation_bits = 8};
  const QuantizedMatrix m = quantize(random_weight(3, 40'000, DType::Float32, 1), q);
  const Matrix x = random_matrix(5, 40'000, 2);
  EXPECT_TRUE(
      same_bits(product(x, PreparedMatrix::prepare(std::span(&m, 1))), expected_product(x, m)));
}

TEST_P(QuantizedProductTest, TheLargestNumbersDoNotOverflow) {
  for (const Quantization& q : all_quantizations()) {
    Tensor ones(DType::Float32, {3, 1024});
    for (Index i = 0; i < 3 * 1024; ++i) ones.data<float>()[i] = i / 1024 % 2 == 0 ? -1.0f : 1.0f;
    const QuantizedMatrix m = quantize(shared(std::move(ones)), q);
    Matrix x(19, 1024);
    for (Index r = 0; r < 19; ++r) std::fill_n(x.row(r), 1024, r % 2 == 0 ? 3.0e38f : -3.0e38f);
    EXPECT_TRUE(
        same_bits(product(x, PreparedMatrix::prepare(std::span(&m, 1))), expected_product(x, m)))
        << named(q);
  }
}

TEST_P(QuantizedProductTest, NumbersWithoutAFiniteInverseCountAsZero) {
  for (const Quantization& q : all_quantizations()) {
    const PreparedMatrix weight =
        PreparedMatrix::prepare(random_weight(20, 160, DType::Float32, 1), {.quantization = q});
    Matrix x(5, 160);
    for (Index r = 0; r < 5; ++r) std::fill_n(x.row(r), 160, r % 2 == 0 ? 1e-40f : 0.0f);
    const Matrix y = product(x, weight);
    for (Index r = 0; r < 5; ++r) {
      for (Index o = 0; o < 20; ++o) EXPECT_EQ(y.row(r)[o], 0.0f) << named(q);
    }
  }
}

TEST_P(QuantizedProductTest, NanAndInfinityStayInTheirRows) {
  for (const Quantization& q : all_quantizations()) {
    const PreparedMatrix weight =
        PreparedMatrix::prepare(random_weight(20, 160, DType::Float32, 1), {.quantization = q});
    Matrix x = random_matrix(5, 160, 2);
    const Matrix before = product(x, weight);
    x.row(1)[150] = std::numeric_limits<float>::quiet_NaN();
    x.row(3)[2] = std::numeric_limits<float>::infinity();
    const Matrix y = product(x, weight);
    for (Index r = 0; r < 5; ++r) {
      for (Index o = 0; o < 20; ++o) {
        if (r % 2 == 1) {
          EXPECT_TRUE(std::isnan(y.row(r)[o])) << named(q);
        } else {
          EXPECT_EQ(y.row(r)[o], before.row(r)[o]) << named(q);
        }
      }
    }
  }
}

TEST_P(QuantizedProductTest, AgreesWithTheProductOfTheDequantisedMatrix) {
  for (const Quantization& q : all_quantizations()) {
    const SharedTensor source = random_weight(37, 416, DType::Float32, 3);
    const PreparedMatrix weight = PreparedMatrix::prepare(source, {.quantization = q});
    EXPECT_EQ(weight.owned_bytes(), weight.bytes());
    const Tensor values = dequantize(quantize(source, q));
    const Matrix x = random_matrix(3, 416, 4);
    const Matrix y = product(x, weight);
    for (Index r = 0; r < 3; ++r) {
      for (Index o = 0; o < 37; ++o) {
        double sum = 0, magnitude = 0;
        for (Index k = 0; k < 416; ++k) {
          const double term = static_cast<double>(x.row(r)[k]) * values.at<float>({o, k});
          sum += term;
          magnitude += std::abs(term);
        }
        const double tolerance = q.activation_bits == 8 ? 4e-3 : 1e-5;
        ASSERT_NEAR(y.row(r)[o], sum, tolerance * magnitude) << named(q);
      }
    }
  }
}

TEST_P(QuantizedProductTest, RowsHaveTheSameBitsInAnyBatchAndWithAnyThreadCount) {
  for (const Quantization& q : all_quantizations()) {
    const PreparedMatrix weight =
        PreparedMatrix::prepare(random_weight(67, 1408, DType::BFloat16, 1), {.quantization = q});
    const Matrix x = random_matrix(90, 1408, 2);
    set_num_threads(1);
    const Matrix whole = product(x, weight);
    for (const int threads : {1, 2, 5}) {
      set_num_threads(threads);
      for (const Index count : {1, 2, 4, 5, 9, 17, 33, 90}) {
        for (Index r = 0; r + count <= 90; r += count + 13) {
          ASSERT_TRUE(same_bits(product(x.view().middle_rows(r, count), weight),
                                whole.view().middle_rows(r, count)))
              << named(q) << ", rows " << r << " + " << count;
        }
      }
    }
  }
}

TEST_P(QuantizedProductTest, StackedSourcesAndEpilogue) {
  for (const Quantization& q : all_quantizations()) {
    const std::vector<SharedTensor> sources{random_weight(40, 256, DType::Float32, 1),
                                            random_weight(25, 256, DType::BFloat16, 2)};
    const PreparedMatrix both = PreparedMatrix::prepare(sources, {.quantization = q});
    const Matrix x = random_matrix(6, 256, 3), residual = random_matrix(6, 65, 4);
    const Matrix bias = random_matrix(1, 65, 5);
    const Epilogue epilogue{
        .bias = bias.row(0), .activation = Activation::Relu, .residual = residual};
    const Matrix y = product(x, both, epilogue);
    for (Index i = 0, o = 0; i < 2; o += 40, ++i) {
      const Index outs = i == 0 ? 40 : 25;
      const Matrix part =
          product(x, PreparedMatrix::prepare(sources[to_size(i)], {.quantization = q}));
      for (Index r = 0; r < 6; ++r) {
        for (Index c = 0; c < outs; ++c) {
          EXPECT_EQ(y.row(r)[o + c],
                    std::max(part.row(r)[c] + bias.row(0)[o + c], 0.0f) + residual.row(r)[o + c])
              << named(q);
        }
      }
    }
  }
}

INSTRUCTBLIP_TEST_ALL_LEVELS(QuantizedProductTest);

}  // namespace
}  // namespace instructblip
