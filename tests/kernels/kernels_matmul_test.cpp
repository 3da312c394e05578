#include <algorithm>
#include <limits>
#include <optional>

#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"
#include "support/compare.h"

namespace instructblip {
namespace {

class MatmulTest : public KernelTest {};
INSTRUCTBLIP_TEST_ALL_LEVELS(MatmulTest);

// The largest error of a sum, as a fraction of the sum of its terms' magnitudes. Levels that
// multiply bfloat16 take an activation as two bfloat16 numbers, 2^-17 from it.
double tolerance(DType weight) {
  return testing::multiplies_bfloat16() && weight == DType::BFloat16 ? 0x1p-17 : 1e-6;
}

// Weights stored in bfloat16 are computed in it, others in float32.
PreparePolicy policy_for(DType stored, bool packed = false) {
  return {.dtype = stored == DType::BFloat16 ? DType::BFloat16 : DType::Float32, .packed = packed};
}

// Every way to prepare a weight of this type without converting it.
std::vector<PreparePolicy> policies_for(DType stored) {
  std::vector<PreparePolicy> policies{policy_for(stored, false), policy_for(stored, true)};
  if (stored == DType::BFloat16) {
    for (const bool packed : {false, true}) {
      policies.push_back(policy_for(stored, packed));
      policies.back().activations = DType::BFloat16;
    }
  }
  return policies;
}

void expect_product(MatrixView x, const SharedTensor& weight, MatrixView y,
                    std::optional<double> relative = std::nullopt) {
  const std::vector<double> w = doubles(weight);
  for (Index r = 0; r < y.rows; ++r) {
    for (Index o = 0; o < y.cols; ++o) {
      double sum = 0, magnitude = 0;
      for (Index k = 0; k < x.cols; ++k) {
        const double term = static_cast<double>(x.row(r)[k]) * w.data()[o * x.cols + k];
        sum += term;
        magnitude += std::abs(term);
      }
      ASSERT_NEAR(y.row(r)[o], sum, relative.value_or(tolerance(weight.dtype)) * magnitude + 1e-30)
          << "row " << r << " output " << o << " of " << y.rows << " x " << y.cols << ", k "
          << x.cols;
    }
  }
}

TEST_P(MatmulTest, MatchesADoublePrecisionLoopForOddShapesAndAllTypes) {
  for (DType dtype : {DType::Float32, DType::BFloat16, DType::Float16}) {
    for (Index rows : {1, 2, 3, 5, 7, 8, 17, 65}) {
      for (Index outs : {1, 3, 7, 17, 65}) {
        for (Index ins : {1, 2, 5, 17, 64, 257, 513, 1100}) {
          const SharedTensor weight = random_weight(outs, ins, dtype, 1);
          const Matrix x = random_matrix(rows, ins, 2);
          Matrix y(rows, outs);
          for (const bool packed : {false, true}) {
            matmul(x, PreparedMatrix::prepare(weight, policy_for(dtype, packed)), y);
            expect_product(x, weight, y);
          }
        }
      }
    }
  }
}

Matrix product(MatrixView x, const PreparedMatrix& weight, const Epilogue& epilogue = {}) {
  Matrix y(x.rows, weight.out_features());
  matmul(x, weight, y, epilogue);
  return y;
}

void expect_rows_do_not_depend_on_others(const PreparedMatrix& weight) {
  const Matrix x = random_matrix(37, weight.in_features(), 2);
  set_num_threads(1);
  const Matrix whole = product(x, weight);
  for (int threads : {1, 2, 3, 5}) {
    set_num_threads(threads);
    ASSERT_TRUE(same_bits(product(x, weight), whole)) << threads << " threads";
    for (Index count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
      for (Index r = 0; r + count <= 37; r += count + 4) {
        ASSERT_TRUE(same_bits(product(x.view().middle_rows(r, count), weight),
                              whole.view().middle_rows(r, count)))
            << name_of(weight.dtype()) << " rows " << r << " + " << count << ", k "
            << weight.in_features();
      }
    }
  }
}

TEST_P(MatmulTest, RowHasTheSameBitsInAnyBatchAndWithAnyThreadCount) {
  for (DType dtype : {DType::Float32, DType::BFloat16, DType::Float16}) {
    for (Index ins : {5, 64, 257, 1536}) {
      for (Index outs : {7, 67, 200}) {
        for (const PreparePolicy& policy : policies_for(dtype)) {
          expect_rows_do_not_depend_on_others(
              PreparedMatrix::prepare(random_weight(outs, ins, dtype, 1), policy));
        }
      }
    }
  }
}

TEST_P(MatmulTest, OutputHasTheSameBitsAloneAndWithOtherOutputs) {
  for (DType dtype : {DType::Float32, DType::BFloat16, DType::Float16}) {
    const SharedTensor all = random_weight(75, 130, dtype, 1);
    for (const PreparePolicy& policy : policies_for(dtype)) {
      for (Index rows : {1, 6, 20}) {
        const Matrix x = random_matrix(rows, 130, 2);
        const Matrix whole = product(x, PreparedMatrix::prepare(all, policy));
        for (Index o = 0; o < 75; ++o) {
          const auto offset = static_cast<std::size_t>(o * 130) * size_of(dtype);
          const SharedTensor one{{static_cast<const char*>(all.data) + offset, dtype, {1, 130}},
                                 all.owner};
          ASSERT_TRUE(same_bits(product(x, PreparedMatrix::prepare(one, policy)),
                                whole.view().middle_cols(o, 1)));
        }
      }
    }
  }
}

// Blocks of rows, of inputs and of outputs, and what remains of each: many rows or few, inputs that
// fill vectors or not.
TEST_P(MatmulTest, ManyBlocksGiveTheSameBitsAsOneRow) {
  for (DType dtype : {DType::Float32, DType::BFloat16}) {
    for (const auto& [rows, ins] : {std::pair<Index, Index>{1100, 450}, {1028, 448}}) {
      const SharedTensor tensor = random_weight(300, ins, dtype, 1);
      const Matrix x = random_matrix(rows, ins, 2);
      for (const PreparePolicy& policy : policies_for(dtype)) {
        const PreparedMatrix weight = PreparedMatrix::prepare(tensor, policy);
        const Matrix y = product(x, weight);
        for (Index r : {Index{0}, Index{367}, Index{368}, Index{371}, Index{383}, Index{384},
                        Index{511}, Index{512}, Index{735}, Index{767}, Index{768}, rows - 1}) {
          EXPECT_TRUE(
              same_bits(product(x.view().middle_rows(r, 1), weight), y.view().middle_rows(r, 1)))
              << "row " << r << " of " << rows << (policy.packed ? ", packed" : "");
        }
      }
    }
  }
}

TEST_P(MatmulTest, EpilogueAppliesItsStepsInOrderToStridedViews) {
  for (Index rows : {1, 5, 33}) {
    constexpr Index kOuts = 70, kIns = 33;
    const SharedTensor tensor = random_weight(kOuts, kIns, DType::Float32, 1);
    const PreparedMatrix weight = PreparedMatrix::prepare(tensor);
    const Matrix wide = random_matrix(rows, kIns + 9, 2);
    const MatrixView x = wide.view().middle_cols(3, kIns);
    const Matrix gates = random_matrix(rows, kOuts + 5, 3), bias = random_matrix(1, kOuts, 4);
    const Matrix residuals = random_matrix(rows, kOuts + 2, 5);
    Epilogue epilogue{.bias = bias.row(0), .activation = Activation::Silu, .scale = 0.7f};
    epilogue.gate = gates.view().middle_cols(5, kOuts);
    epilogue.residual = residuals.view().middle_cols(1, kOuts);
    const Matrix sums = product(x, weight);
    Matrix out = random_matrix(rows, kOuts + 20, 6);
    const MutableMatrixView y = out.view().middle_cols(7, kOuts);
    matmul(x, weight, y, epilogue);
    Matrix in_place = random_matrix(rows, kOuts, 7);
    for (Index r = 0; r < rows; ++r) {
      for (Index o = 0; o < kOuts; ++o) {
        const double v = static_cast<double>(sums.row(r)[o]) + bias.row(0)[o];
        EXPECT_NEAR(
            y.row(r)[o],
            v / (1 + std::exp(-v)) * 0.7 * epilogue.gate.row(r)[o] + epilogue.residual.row(r)[o],
            1e-5);
        in_place.row(r)[o] = epilogue.residual.row(r)[o];
      }
    }
    epilogue.residual = in_place;
    matmul(x, weight, in_place, epilogue);
    EXPECT_TRUE(same_bits(in_place, y)) << "residual and y are one matrix";
    const Matrix untouched = random_matrix(rows, kOuts + 20, 6);
    EXPECT_TRUE(same_bits(out.view().middle_cols(0, 7), untouched.view().middle_cols(0, 7)));
    EXPECT_TRUE(same_bits(out.view().middle_cols(77, 13), untouched.view().middle_cols(77, 13)));
  }
}

SharedTensor widened(const SharedTensor& tensor) {
  const auto copy = std::make_shared<Tensor>(DType::Float32, tensor.shape);
  const std::vector<double> values = doubles(tensor);
  std::transform(values.begin(), values.end(), copy->data<float>(),
                 [](double value) { return static_cast<float>(value); });
  return {copy->view(), copy};
}

TEST_P(MatmulTest, StackedSourcesGiveTheConcatenatedProducts) {
  for (DType compute : {DType::Float32, DType::BFloat16}) {
    const std::vector<SharedTensor> sources{random_weight(20, 40, DType::Float32, 1),
                                            random_weight(1, 40, DType::BFloat16, 2),
                                            random_weight(64, 40, DType::Float16, 3)};
    const PreparedMatrix all = PreparedMatrix::prepare(sources, {.dtype = compute});
    EXPECT_EQ(all.out_features(), 85);
    EXPECT_EQ(all.in_features(), 40);
    EXPECT_EQ(all.dtype(), compute);
    for (Index rows : {1, 3, 20}) {
      const Matrix x = random_matrix(rows, 40, 4);
      const Matrix y = product(x, all);
      Index begin = 0;
      for (const SharedTensor& source : sources) {
        // Alone, a bfloat16 weight would not be converted, and added in an order of its own.
        const SharedTensor one = compute == DType::Float32 ? widened(source) : source;
        const Matrix part = product(x, PreparedMatrix::prepare(one, {.dtype = compute}));
        EXPECT_TRUE(same_bits(part, y.view().middle_cols(begin, source.dim(0))));
        begin += source.dim(0);
      }
    }
  }
}

// Lanes hold outputs, so their number does not matter.
TEST_P(MatmulTest, PackedWeightsHaveTheBitsOfOneFusedChain) {
  if (kernel_level() == "eigen") GTEST_SKIP() << "a level without fused instructions";
  for (DType dtype : {DType::Float32, DType::BFloat16}) {
    const SharedTensor weight = random_weight(45, 401, dtype, 1);
    const std::vector<double> w = doubles(weight);
    const Matrix x = random_matrix(29, 401, 2);
    const Matrix y = product(x, PreparedMatrix::prepare(weight, {.packed = true}));
    for (Index r = 0; r < 29; ++r) {
      for (Index o = 0; o < 45; ++o) {
        float sum = 0.0f;
        for (Index k = 0; k < 401; ++k) {
          sum = std::fma(x.row(r)[k], static_cast<float>(w.data()[o * 401 + k]), sum);
        }
        ASSERT_EQ(y.row(r)[o], sum) << "row " << r << " output " << o;
      }
    }
  }
}

// In this order, a level with tiles multiplies bfloat16 weights (tile_kernels.h).
float tile_sum(const float* x, const float* w, Index count, bool split) {
  const auto rounded = [](float v) { return static_cast<float>(bfloat16(v)); };
  float sum = 0.0f;
  for (Index block = 0; block < count; block += 32) {
    for (const bool low : {false, true}) {
      if (low && !split) continue;
      float parts[2] = {};
      for (Index k = block; k < std::min(block + 32, count); ++k) {
        const float value = low ? rounded(x[k] - rounded(x[k])) : rounded(x[k]);
        parts[k % 2] = std::fma(value, w[k], parts[k % 2]);
      }
      sum += parts[0] + parts[1];
    }
  }
  return sum;
}

TEST_P(MatmulTest, TilesAddInTheDocumentedOrder) {
  if (kernel_level() != "amx") GTEST_SKIP() << "a level without tiles";
  for (Index ins : {1, 31, 32, 701, 1400, 1409}) {
    const SharedTensor weight = random_weight(40, ins, DType::BFloat16, 1);
    const Tensor w = Tensor::copy_of(weight).to(DType::Float32);
    for (DType activations : {DType::Float32, DType::BFloat16}) {
      const PreparedMatrix matrix = PreparedMatrix::prepare(
          weight, {.dtype = DType::BFloat16, .activations = activations, .packed = ins % 2 != 0});
      for (Index rows : {1, 7, 40, 60, 70}) {
        const Matrix x = random_matrix(rows, ins, 2);
        const Matrix y = product(x, matrix);
        for (Index r = 0; r < rows; ++r) {
          for (Index o = 0; o < 40; ++o) {
            ASSERT_EQ(y.row(r)[o], tile_sum(x.row(r), w.data<float>() + o * ins, ins,
                                            activations == DType::Float32))
                << "row " << r << " output " << o << " k " << ins;
          }
        }
      }
    }
  }
}

// More rows, inputs and outputs than the caches hold: they are divided.
TEST_P(MatmulTest, TilesOfLargeMatricesAddInTheSameOrder) {
  if (kernel_level() != "amx") GTEST_SKIP() << "a level without tiles";
  constexpr Index kRows = 530, kOuts = 293, kIns = 2100;
  const SharedTensor weight = random_weight(kOuts, kIns, DType::BFloat16, 1);
  const Tensor w = Tensor::copy_of(weight).to(DType::Float32);
  const Matrix x = random_matrix(kRows, kIns, 2);
  for (const bool packed : {false, true}) {
    const Matrix y =
        product(x, PreparedMatrix::prepare(weight, policy_for(DType::BFloat16, packed)));
    for (Index r = 0; r < kRows; r += 23) {
      for (Index o = 0; o < kOuts; o += 13) {
        ASSERT_EQ(y.row(r)[o], tile_sum(x.row(r), w.data<float>() + o * kIns, kIns, true))
            << "row " << r << " output " << o << (packed ? ", packed" : "");
      }
    }
  }
}

TEST_P(MatmulTest, BFloat16ActivationsAreRoundedWhereTheCpuMultipliesThem) {
  const bool rounds = testing::multiplies_bfloat16();
  for (Index ins : {1, 2, 6, 31, 32, 700, 2100, 4100}) {
    const SharedTensor weight = random_weight(45, ins, DType::BFloat16, 1);
    for (Index rows : {1, 5, 33}) {
      const Matrix x = random_matrix(rows, ins, 2);
      const Matrix rounded = Matrix::from(x.to_tensor().to(DType::BFloat16).to(DType::Float32));
      for (const bool packed : {false, true}) {
        PreparePolicy policy = policy_for(DType::BFloat16, packed);
        const Matrix exact = product(x, PreparedMatrix::prepare(weight, policy));
        policy.activations = DType::BFloat16;
        const Matrix y = product(x, PreparedMatrix::prepare(weight, policy));
        const bool odd_rows = kernel_level() != "amx" && !packed && ins % 2 != 0;
        if (rounds && !odd_rows) {
          expect_product(rounded, weight, y, 1e-6);
        } else {
          EXPECT_TRUE(same_bits(y, exact)) << "k " << ins << (packed ? ", packed" : "");
        }
      }
    }
  }
}

// The mapped tensor of a file begins at any even address.
TEST_P(MatmulTest, MisalignedBFloat16WeightsGiveTheSameProducts) {
  const SharedTensor all = random_weight(9, 64, DType::BFloat16, 1);
  const SharedTensor shifted{{static_cast<const char*>(all.data) + 2, DType::BFloat16, {8, 64}},
                             all.owner};
  const Tensor copied = Tensor::copy_of(shifted);
  const SharedTensor aligned{copied.view(), nullptr};
  const Matrix x = random_matrix(3, 64, 2);
  for (const PreparePolicy& policy : policies_for(DType::BFloat16)) {
    EXPECT_TRUE(same_bits(product(x, PreparedMatrix::prepare(shifted, policy)),
                          product(x, PreparedMatrix::prepare(aligned, policy))));
  }
}

TEST_P(MatmulTest, NanStaysInItsRowAndInfinityPropagates) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto& [dtype, packed] : {std::pair(DType::Float32, false),
                                      {DType::Float32, true},
                                      {DType::BFloat16, false},
                                      {DType::BFloat16, true}}) {
    const PreparedMatrix weight =
        PreparedMatrix::prepare(random_weight(9, 21, dtype, 1), policy_for(dtype, packed));
    for (Index rows : {3, 20}) {
      Matrix x = random_matrix(rows, 21, 2);
      const Matrix finite = product(x, weight);
      x.row(1)[20] = nan;
      x.row(2)[0] = infinity;
      const Matrix y = product(x, weight);
      for (Index o = 0; o < 9; ++o) {
        EXPECT_EQ(y.row(0)[o], finite.row(0)[o]);
        EXPECT_TRUE(std::isnan(y.row(1)[o]));
        EXPECT_TRUE(std::isinf(y.row(2)[o]));
      }
    }
  }
}

TEST_P(MatmulTest, EachCallCountsTheBytesOfItsWeightOnce) {
  const std::int64_t before = multiplied_weight_bytes();
  for (const bool packed : {false, true}) {
    product(random_matrix(20, 40, 1),
            PreparedMatrix::prepare(random_weight(9, 40, DType::BFloat16, 1),
                                    policy_for(DType::BFloat16, packed)));
  }
  product(random_matrix(1, 40, 1),
          PreparedMatrix::prepare(random_weight(9, 40, DType::Float32, 1)));
  EXPECT_EQ(multiplied_weight_bytes() - before, 2 * 9 * 40 * 2 + 9 * 40 * 4);
}

TEST_P(MatmulTest, EmptyInputGivesEmptyOutput) {
  const PreparedMatrix weight = PreparedMatrix::prepare(random_weight(3, 4, DType::Float32, 1));
  EXPECT_EQ(product(Matrix(0, 4), weight).rows(), 0);
}

template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST_P(MatmulTest, WrongShapesAreReportedWithTheExpectedOnes) {
  const PreparedMatrix weight = PreparedMatrix::prepare(random_weight(3, 4, DType::Float32, 1));
  Matrix x(2, 4), y(2, 3);
  EXPECT_EQ(message_of([&] { matmul(Matrix(2, 5), weight, y); }),
            "matmul: x is [2, 5], expected [2, 4]");
  EXPECT_EQ(message_of([&] { matmul(x, weight, x); }), "matmul: y is [2, 4], expected [2, 3]");
  EXPECT_EQ(message_of([&] { matmul(x, weight, y, {.gate = Matrix(1, 3)}); }),
            "matmul: gate is [1, 3], expected [2, 3]");
  EXPECT_EQ(message_of([&] { matmul(x, weight, y, {.residual = Matrix(2, 2)}); }),
            "matmul: residual is [2, 2], expected [2, 3]");
  EXPECT_EQ(message_of([&] { matmul(x, PreparedMatrix(), y); }),
            "matmul: the weight is empty (its tensor was missing)");
  EXPECT_EQ(message_of([&] { matmul(Matrix(2, 4, DType::BFloat16), weight, y); }),
            "matmul: x is bfloat16, expected float32");
  EXPECT_EQ(message_of([&] { matmul(x, weight, Matrix(2, 3, DType::BFloat16).view()); }),
            "matmul: y is bfloat16, expected float32");
}

}  // namespace
}  // namespace instructblip
