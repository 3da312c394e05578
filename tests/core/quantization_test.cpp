#include "instructblip/core/quantization.h"

#include "instructblip/core/error.h"
#include "support/expect_error.h"

namespace instructblip {
namespace {

using testing::expect_error;

TEST(QuantizationRecipeTest, NamesStandForTheirRecipes) {
  const Quantization int8{.bits = 8}, int4{.bits = 4, .group_size = 128};
  EXPECT_EQ(quantization_recipe("none"), QuantizationRecipe{});
  EXPECT_EQ(quantization_recipe("int8"),
            (QuantizationRecipe{.vision_model = int8, .language_model = int8}));
  EXPECT_EQ(quantization_recipe("int4"),
            (QuantizationRecipe{.vision_model = int8, .language_model = int4, .lm_head = int8}));
  const Quantization w8a8{.bits = 8, .activation_bits = 8};
  EXPECT_EQ(quantization_recipe("w8a8"),
            (QuantizationRecipe{.vision_model = w8a8, .language_model = int8}));
  EXPECT_EQ(quantization_recipe("language=int4"), QuantizationRecipe{.language_model = int4});
  const Quantization zero{.bits = 4, .group_size = 32, .symmetric = false};
  EXPECT_EQ(quantization_recipe("vision=none,qformer=int8,language=int4-g32-zero"),
            (QuantizationRecipe{.qformer = int8, .language_model = zero}));
  EXPECT_EQ(quantization_recipe("language=int4,head=int8"),
            (QuantizationRecipe{.language_model = int4, .lm_head = int8}));
}

TEST(QuantizationRecipeTest, ANameSaysHowAWeightIsStored) {
  EXPECT_EQ(to_string(std::nullopt), "none");
  EXPECT_EQ(to_string(Quantization{.bits = 8}), "int8");
  EXPECT_EQ(to_string(Quantization{.bits = 4}), "int4");
  EXPECT_EQ(to_string(quantization_recipe("qformer=w8a8").qformer), "w8a8");
  for (const char* name : {"int4-g128", "int4-g32-zero"}) {
    EXPECT_EQ(to_string(quantization_recipe("language=" + std::string(name)).language_model), name);
  }
}

TEST(QuantizationRecipeTest, ARecipeHasANameOfItsParts) {
  EXPECT_EQ(to_string(QuantizationRecipe{}), "none");
  EXPECT_EQ(to_string(quantization_recipe("int4")), "vision=int8,language=int4-g128,head=int8");
  for (const char* name :
       {"qformer=int8", "vision=int8,qformer=int4-g64-zero,language=int4-g32,head=int8"}) {
    EXPECT_EQ(to_string(quantization_recipe(name)), name);
  }
}

TEST(QuantizationRecipeTest, OtherNamesAreReported) {
  for (const char* name :
       {"", "int3", "int8,int4", "language", "language=", "language=int4-", "language=int4-g",
        "language=int4-g96", "language=w4a8", "language=int4-g16", "language=int4-g32zero",
        "language=int8-g32", "text=int4", "language=int4,", ",language=int4",
        "language=int4-g99999999999999999999"}) {
    expect_error<InputError>([&] { quantization_recipe(name); },
                             {"\"" + std::string(name) + "\"", "expected none, int8, int4"});
  }
}

}  // namespace
}  // namespace instructblip
