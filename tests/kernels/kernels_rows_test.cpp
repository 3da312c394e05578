#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"

namespace instructblip {
namespace {

class RowKernelsTest : public KernelTest {};
INSTRUCTBLIP_TEST_ALL_LEVELS(RowKernelsTest);

const std::vector<Activation> kActivations{Activation::None,     Activation::Gelu,
                                           Activation::GeluTanh, Activation::QuickGelu,
                                           Activation::Relu,     Activation::Silu};

double activated(double x, Activation activation) {
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

TEST_P(RowKernelsTest, ActivationsEqualTheirFormulasFromMinusFiftyToFifty) {
  constexpr Index kCount = 20001;
  for (Activation activation : kActivations) {
    Matrix x(1, kCount);
    for (Index i = 0; i < kCount; ++i) x.row(0)[i] = static_cast<float>(i - kCount / 2) * 0.005f;
    const Matrix y = Matrix::copy_of(x);
    activate(x, activation);
    for (Index i = 0; i < kCount; ++i) {
      const double value = y.row(0)[i];
      ASSERT_NEAR(x.row(0)[i], activated(value, activation), 2.5e-7 * std::abs(value))
          << "activation " << static_cast<int>(activation) << " of " << value;
    }
  }
}

TEST_P(RowKernelsTest, NormsEqualADoubleLoop) {
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

}  // namespace
}  // namespace instructblip
