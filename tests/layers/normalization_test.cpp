#include "instructblip/layers/normalization.h"

#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using instructblip::testing::expect_close;
using instructblip::testing::Fixture;

Weights weights_of(const Fixture& fixture, DType stored) {
  std::map<std::string, Tensor> tensors;
  for (const char* name : {"layer.weight", "layer.bias", "rms.weight"}) {
    tensors[name] = fixture[name].to(stored);
  }
  return Weights::from_tensors(std::move(tensors));
}

TEST(NormalizationTest, EqualsTheReference) {
  const Fixture fixture("layers/norms");
  const Weights weights = weights_of(fixture, DType::Float32);
  const Matrix x = Matrix::from(fixture["x"]);
  expect_close(LayerNorm(weights["layer"], 40, 1e-5)(x).to_tensor(), fixture["layer.y"], 1e-5);
  expect_close(RMSNorm(weights["rms"], 40, 1e-6)(x).to_tensor(), fixture["rms.y"], 1e-6);
}

TEST(NormalizationTest, ReadsHalfPrecisionWeightsAndWorksInPlace) {
  const Fixture fixture("layers/norms");
  const Weights weights = weights_of(fixture, DType::BFloat16);
  Matrix x = Matrix::from(fixture["x"]);
  const Matrix y = RMSNorm(weights["rms"], 40, 1e-6)(x);
  RMSNorm(weights["rms"], 40, 1e-6)(x, x);
  expect_close(x.to_tensor(), y.to_tensor(), 0);
  expect_close(x.to_tensor(), fixture["rms.y"], 1e-2);
}

TEST(NormalizationTest, AWrongWidthIsAnError) {
  const Weights weights = weights_of(Fixture("layers/norms"), DType::Float32);
  EXPECT_THROW(LayerNorm(weights["layer"], 40, 1e-5)(Matrix(2, 39)), InputError);
  EXPECT_THROW(RMSNorm()(Matrix(2, 39)), InputError);
}

}  // namespace
}  // namespace instructblip
