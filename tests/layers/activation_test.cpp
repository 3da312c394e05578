#include "instructblip/layers/activation.h"

#include <algorithm>

#include "kernels/kernel_testing.h"
#include "support/compare.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

TEST(ActivationTest, EveryNameMatchesTransformers) {
  const testing::Fixture fixture("layers/activations");
  for (const std::string& name : fixture.names()) {
    if (name == "x") continue;
    SCOPED_TRACE(name);
    const Matrix x = Matrix::from(fixture["x"]);
    const Tensor expected = fixture[name];
    const Matrix y = activated(x, activation_from_name(name), 1);
    for (Index i = 0; i < x.cols(); ++i) {
      EXPECT_NEAR(y.row(0)[i], expected.at<float>({i}), 1e-6f) << x.row(0)[i];
    }
  }
}

TEST(ActivationTest, EveryNameAllowedInAConfigurationIsKnown) {
  const testing::Fixture fixture("layers/activations");
  const std::vector<std::string> compared = fixture.names();
  for (const std::string_view name : activation_names()) {
    EXPECT_NO_THROW(activation_from_name(name));
    EXPECT_NE(std::find(compared.begin(), compared.end(), name), compared.end()) << name;
  }
}

TEST(ActivationTest, AnUnknownNameIsAnErrorListingTheKnownNames) {
  try {
    activation_from_name("mish", "feed_forward_proj");
    FAIL();
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find("feed_forward_proj is \"mish\", expected one of gelu, "), 0u) << text;
    EXPECT_NE(text.find("silu"), std::string::npos);
  }
}

}  // namespace
}  // namespace instructblip
