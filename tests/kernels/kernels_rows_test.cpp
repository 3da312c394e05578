#include <limits>

#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"

namespace instructblip {
namespace {

class RowKernelsTest : public KernelTest {};
INSTRUCTBLIP_TEST_ALL_LEVELS(RowKernelsTest);

const std::vector<Activation> kActivations{Activation::None,     Activation::Gelu,
                                           Activation::GeluTanh, Activation::QuickGelu,
                                           Activation::Relu,     Activation::Silu};

double expected_activation(double x, Activation activation) {
  switch (activation) {
    case Activation::None: return x;
    case Activation::Gelu: return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::GeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::QuickGelu: return x / (1 + std::exp(-1.702 * x));
    case Activation::Relu: return x < 0 ? 0 : x;
    case Activation::Silu: return x / (1 + std::exp(-x));
  }
  return x;
}

// One row, and enough rows for matmul to apply an activation to whole vectors.
const std::vector<Index> kActivationRows{1, 17};

TEST_P(RowKernelsTest, ActivationsMatchTheirFormulasFromMinusFiftyToFifty) {
  constexpr Index kCount = 20001;
  Matrix x(1, kCount);
  for (Index i = 0; i < kCount; ++i) x.row(0)[i] = static_cast<float>(i - kCount / 2) * 0.005f;
  for (Activation activation : kActivations) {
    for (Index rows : kActivationRows) {
      const Matrix y = activated(x, activation, rows);
      for (Index i = 0; i < kCount; ++i) {
        const double value = x.row(0)[i];
        ASSERT_NEAR(y.row(rows - 1)[i], expected_activation(value, activation),
                    2.5e-7 * std::abs(value))
            << "activation " << static_cast<int>(activation) << " of " << value;
      }
    }
  }
}

TEST_P(RowKernelsTest, NormsMatchADoublePrecisionLoop) {
  for (Index cols : {1, 2, 3, 5, 7, 17, 63, 64, 65, 257, 1408}) {
    Matrix x = random_matrix(3, cols, 1);
    for (Index c = 0; c < cols; ++c) x.row(1)[c] = x.row(1)[c] * 0.1f + 20.0f;
    const Matrix weight = random_matrix(2, cols, 2);
    const double eps = 1e-5;
    Matrix layer(3, cols), rms(3, cols);
    layer_norm(x, weight.row(0), weight.row(1), 1e-5f, layer);
    rms_norm(x, weight.row(0), 1e-5f, rms);
    for (Index r = 0; r < 3; ++r) {
      double mean = 0, variance = 0, square = 0;
      for (Index c = 0; c < cols; ++c) mean += x.row(r)[c] / static_cast<double>(cols);
      for (Index c = 0; c < cols; ++c) {
        variance += std::pow(x.row(r)[c] - mean, 2) / static_cast<double>(cols);
        square += std::pow(x.row(r)[c], 2) / static_cast<double>(cols);
      }
      for (Index c = 0; c < cols; ++c) {
        const double w = weight.row(0)[c], value = x.row(r)[c];
        EXPECT_NEAR(layer.row(r)[c],
                    (value - mean) / std::sqrt(variance + eps) * w + weight.row(1)[c],
                    r == 1 ? 5e-4 : 1e-5)
            << cols;
        EXPECT_NEAR(rms.row(r)[c], value / std::sqrt(square + eps) * w, 1e-6 + 1e-6 * std::abs(w));
      }
    }
  }
}

TEST_P(RowKernelsTest, NormOfARowHasTheSameBitsAloneInPlaceAndWithAnyThreadCount) {
  for (Index cols : {1, 5, 64, 257, 1408}) {
    const Matrix x = random_matrix(200, cols, 1), weight = random_matrix(2, cols, 2);
    set_num_threads(1);
    Matrix layer(200, cols), rms(200, cols);
    layer_norm(x, weight.row(0), weight.row(1), 1e-6f, layer);
    rms_norm(x, weight.row(0), 1e-6f, rms);
    for (int threads : {1, 2, 3, 5}) {
      set_num_threads(threads);
      Matrix again = Matrix::copy_of(x);
      layer_norm(again, weight.row(0), weight.row(1), 1e-6f, again);
      EXPECT_TRUE(same_bits(again, layer));
      Matrix alone(1, cols);
      rms_norm(x.view().middle_rows(7, 1), weight.row(0), 1e-6f, alone);
      EXPECT_TRUE(same_bits(alone, rms.view().middle_rows(7, 1)));
    }
  }
}

TEST_P(RowKernelsTest, ActivationOfAnElementDoesNotDependOnItsPosition) {
  const Matrix x = random_matrix(1, 37, 1);
  for (Activation activation : kActivations) {
    for (Index rows : kActivationRows) {
      const Matrix whole = activated(x, activation, rows);
      for (Index begin = 0; begin < 37; ++begin) {
        for (Index count = 1; begin + count <= 37; ++count) {
          const Matrix part = activated(x.view().middle_cols(begin, count), activation, rows);
          ASSERT_TRUE(same_bits(part, whole.view().middle_cols(begin, count)));
        }
      }
    }
  }
}

TEST_P(RowKernelsTest, ActivationsOfInfinityNanAndZero) {
  constexpr Index kCount = 37;
  const float infinity = std::numeric_limits<float>::infinity();
  const float values[] = {infinity, std::numeric_limits<float>::quiet_NaN(), 0.0f, 1e30f, -1e10f};
  Matrix x(1, kCount);
  for (Index i = 0; i < kCount; ++i) x.row(0)[i] = values[i % 5];
  for (Activation activation : kActivations) {
    for (Index rows : kActivationRows) {
      const Matrix results = activated(x, activation, rows);
      const float* y = results.row(rows - 1);
      for (Index i = 0; i + 5 <= kCount; i += 5) {
        EXPECT_EQ(y[i], infinity) << static_cast<int>(activation);
        EXPECT_TRUE(std::isnan(y[i + 1])) << static_cast<int>(activation);
        EXPECT_EQ(y[i + 2], 0.0f);
        EXPECT_EQ(y[i + 3], 1e30f) << static_cast<int>(activation);
        if (activation != Activation::None) {
          EXPECT_NEAR(y[i + 4], 0.0f, 1e-20f) << static_cast<int>(activation);
        }
      }
    }
  }
}

TEST_P(RowKernelsTest, NormsOfConstantHugeAndNanRows) {
  Matrix x(3, 10);
  for (Index c = 0; c < 10; ++c) {
    x.row(0)[c] = 3.0f;
    x.row(1)[c] = c % 2 == 0 ? 1e15f : -1e15f;
    x.row(2)[c] = c == 9 ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
  }
  const std::vector<float> ones(10, 1.0f), zeros(10, 0.0f);
  Matrix y(3, 10);
  layer_norm(x, ones.data(), zeros.data(), 1e-5f, y);
  EXPECT_EQ(y.row(0)[4], 0.0f);
  EXPECT_NEAR(y.row(1)[0], 1.0f, 1e-5f);
  EXPECT_TRUE(std::isnan(y.row(2)[0]));
  rms_norm(x, ones.data(), 1e-5f, y);
  EXPECT_NEAR(y.row(0)[4], 1.0f, 1e-5f);
  EXPECT_TRUE(std::isnan(y.row(2)[0]));
}

TEST_P(RowKernelsTest, InvalidArgumentsAreRejected) {
  Matrix x(2, 4), y(2, 5);
  const std::vector<float> ones(4, 1.0f);
  EXPECT_THROW(layer_norm(x, ones.data(), ones.data(), 1e-5f, y), InputError);
  EXPECT_THROW(layer_norm(x, ones.data(), nullptr, 1e-5f, x), InputError);
  EXPECT_THROW(rms_norm(x, nullptr, 1e-5f, x), InputError);
}

TEST_P(RowKernelsTest, EmbeddingErrorNamesTheRowAndTheId) {
  const PreparedMatrix table = PreparedMatrix::prepare(random_weight(5, 4, DType::Float32, 1));
  Matrix y(3, 4);
  for (const std::vector<std::int64_t>& ids :
       {std::vector<std::int64_t>{0, 4, 5}, std::vector<std::int64_t>{0, 4, -1}}) {
    try {
      embedding_rows(table, ids, y);
      ADD_FAILURE();
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()), "embedding_rows: row 2 asks for id " +
                                               std::to_string(ids[2]) +
                                               ", the table has 5 entries");
    }
  }
  const std::vector<std::int64_t> two{0, 1};
  EXPECT_THROW(embedding_rows(table, two, y), InputError);
  EXPECT_THROW(embedding_rows(PreparedMatrix(), two, y), InputError);
}

}  // namespace
}  // namespace instructblip
