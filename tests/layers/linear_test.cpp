#include "instructblip/layers/linear.h"

#include <random>

#include "instructblip/core/error.h"
#include "instructblip/layers/embedding.h"

namespace instructblip {
namespace {

Tensor random_tensor(Shape shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor tensor(DType::Float32, std::move(shape));
  for (float& value : tensor.span<float>()) value = normal(generator);
  return tensor;
}

Weights two_layers(DType dtype = DType::Float32) {
  std::map<std::string, Tensor> tensors;
  tensors["q.weight"] = random_tensor({5, 8}, 1);
  tensors["q.bias"] = random_tensor({5}, 2);
  tensors["k.weight"] = random_tensor({3, 8}, 3);
  tensors["k.bias"] = random_tensor({3}, 4);
  return Weights::from_tensors(std::move(tensors), dtype);
}

void expect_same(MatrixView a, MatrixView b) {
  ASSERT_EQ(a.rows, b.rows);
  ASSERT_EQ(a.cols, b.cols);
  for (Index r = 0; r < a.rows; ++r) {
    for (Index c = 0; c < a.cols; ++c) EXPECT_EQ(a.row(r)[c], b.row(r)[c]) << r << " " << c;
  }
}

TEST(LinearTest, MultipliesAndAddsItsBias) {
  const Weights weights = two_layers();
  const Linear layer(weights["q"], 8, 5);
  const Tensor w = random_tensor({5, 8}, 1), b = random_tensor({5}, 2);
  const Matrix x = Matrix::from(random_tensor({2, 8}, 9));
  const Matrix y = layer(x);
  for (Index r = 0; r < 2; ++r) {
    for (Index o = 0; o < 5; ++o) {
      double sum = b.at<float>({o});
      for (Index k = 0; k < 8; ++k) sum += static_cast<double>(x.row(r)[k]) * w.at<float>({o, k});
      EXPECT_NEAR(y.row(r)[o], sum, 1e-5);
    }
  }
  weights["k"]["weight"].ignore();
  weights["k"]["bias"].ignore();
  EXPECT_NO_THROW(weights.finish());
}

TEST(LinearTest, StackedPartsGiveTheSameBitsAsSeparateLayers) {
  for (DType dtype : {DType::Float32, DType::BFloat16}) {
    const Weights weights = two_layers(dtype);
    const Linear both({{weights["q"], 5}, {weights["k"], 3}}, 8);
    const Matrix x = Matrix::from(random_tensor({3, 8}, 9));
    const Matrix y = both(x);
    expect_same(y.view().middle_cols(0, 5), Linear(weights["q"], 8, 5)(x));
    expect_same(y.view().middle_cols(5, 3), Linear(weights["k"], 8, 3)(x));
  }
}

TEST(LinearTest, FloatWeightsAreUsedInPlace) {
  const Linear layer({{two_layers()["q"], 5}, {two_layers()["k"], 3}}, 8);
  EXPECT_EQ(layer.weight().owned_bytes(), 0u);
  EXPECT_EQ(Linear(two_layers(DType::BFloat16)["q"], 8, 5).weight().owned_bytes(), 5u * 8u * 2u);
}

TEST(LinearTest, AllMissingTensorsAreNamedAndTheLayerReportsThatItIsEmpty) {
  const Weights weights = two_layers();
  const Linear missing(weights["v"], 8, 5), misshapen(weights["q"], 8, 6);
  EXPECT_TRUE(missing.empty());
  try {
    weights.finish();
    FAIL();
  } catch (const CheckpointError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("v.weight"), std::string::npos) << text;
    EXPECT_NE(text.find("v.bias"), std::string::npos) << text;
    EXPECT_NE(text.find("q.weight"), std::string::npos) << text;
  }
  EXPECT_THROW(missing(Matrix(1, 8)), InputError);
}

TEST(LinearTest, AWrongWidthIsAnErrorNamingTheLayer) {
  const Linear layer(two_layers()["q"], 8, 5);
  try {
    layer(Matrix(1, 7));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "linear layer q: the input has 7 columns, expected 8");
  }
}

TEST(LinearTest, AHeadTiedToAnEmbeddingSharesItsTable) {
  std::map<std::string, Tensor> tensors;
  tensors["embed_tokens.weight"] = random_tensor({6, 4}, 1);
  const Embedding embedding(Weights::from_tensors(std::move(tensors))["embed_tokens"], 6, 4);
  const Linear head(embedding.weight(), "lm_head");
  const std::vector<std::int64_t> ids{5, 0};
  const Matrix y = head(embedding(ids));
  EXPECT_EQ(y.rows(), 2);
  EXPECT_EQ(y.cols(), 6);
  double norm = 0;
  const Matrix embedded = embedding(ids);
  for (Index c = 0; c < 4; ++c) norm += std::pow(static_cast<double>(embedded.row(0)[c]), 2);
  EXPECT_NEAR(y.row(0)[5], norm, 1e-5);
  const std::vector<std::int64_t> outside{1, 6};
  EXPECT_THROW(embedding(outside), InputError);
}

}  // namespace
}  // namespace instructblip
