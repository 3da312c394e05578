#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"

namespace instructblip {
namespace {

class MatmulTest : public KernelTest {};
INSTRUCTBLIP_TEST_ALL_LEVELS(MatmulTest);

void expect_product(MatrixView x, const SharedTensor& weight, MatrixView y) {
  const std::vector<double> w = doubles(weight);
  for (Index r = 0; r < y.rows; ++r) {
    for (Index o = 0; o < y.cols; ++o) {
      double sum = 0, magnitude = 0;
      for (Index k = 0; k < x.cols; ++k) {
        const double term =
            static_cast<double>(x.row(r)[k]) * w[static_cast<std::size_t>(o * x.cols + k)];
        sum += term;
        magnitude += std::abs(term);
      }
      ASSERT_NEAR(y.row(r)[o], sum, 1e-6 * magnitude + 1e-30)
          << "row " << r << " output " << o << " of " << y.rows << " x " << y.cols << ", k "
          << x.cols;
    }
  }
}

TEST_P(MatmulTest, EqualsADoubleLoopOverOddShapesAndTypes) {
  for (DType dtype : {DType::Float32, DType::BFloat16, DType::Float16}) {
    for (Index rows : {1, 2, 3, 5, 17, 65}) {
      for (Index outs : {1, 3, 7, 17, 65}) {
        for (Index ins : {1, 2, 5, 17, 64, 257, 513, 1100}) {
          const SharedTensor weight = random_weight(outs, ins, dtype, 1);
          const Matrix x = random_matrix(rows, ins, 2);
          Matrix y(rows, outs);
          matmul(x, PreparedMatrix::prepare(weight), y);
          expect_product(x, weight, y);
        }
      }
    }
  }
}

}  // namespace
}  // namespace instructblip
