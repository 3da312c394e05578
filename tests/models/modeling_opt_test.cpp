#include "instructblip/models/modeling_opt.h"

#include <gtest/gtest.h>

#include "instructblip/core/error.h"
#include "models/language_model_checks.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using testing::Fixture;

OPTForCausalLM load_opt(const std::string& name, DType dtype = DType::Float32) {
  return OPTForCausalLM::from_pretrained(testing::language_model_folder(name), {.dtype = dtype});
}

class OptVariants : public ::testing::TestWithParam<const char*> {};

TEST_P(OptVariants, ForwardEqualsTheReferenceAtEveryValidPosition) {
  testing::expect_causal_lm_equals_the_reference(load_opt(GetParam()), GetParam());
}

TEST_P(OptVariants, PositionsFromTheMaskEqualTheReferenceInGeneration) {
  const Fixture fixture("language_models/" + std::string(GetParam()));
  testing::expect_decode_equals(load_opt(GetParam()), fixture, fixture["logits"]);
}

TEST_P(OptVariants, AnySplitOfTheInputGivesTheSameBits) {
  testing::expect_same_bits_however_fed(load_opt(GetParam()));
}

TEST_P(OptVariants, ComputesInBFloat16) {
  testing::expect_bfloat16_equals_rounded_weights(load_opt(GetParam(), DType::BFloat16),
                                                  GetParam());
}

INSTANTIATE_TEST_SUITE_P(Models, OptVariants,
                         ::testing::Values("opt", "opt_post_norm", "opt_plain_norm"));

TEST(OPTForCausalLM, EmbeddingsHaveTheWidthOfTheTable) {
  const OPTForCausalLM model = load_opt("opt_post_norm");
  EXPECT_EQ(model.traits().embedding_size, 20);
  EXPECT_EQ(model.config().hidden_size, 32);
}

TEST(OPTForCausalLM, APositionBeyondTheTableIsAnErrorNamingIt) {
  const OPTForCausalLM model = load_opt("opt");
  const Tensor ids(std::vector<std::int64_t>(17, 5), {1, 17});
  testing::expect_error<InputError>([&] { model.forward({.input_ids = ids}); },
                                    {"position 16", "max_position_embeddings 16"});
  const Tensor fits(std::vector<std::int64_t>(16, 5), {1, 16});
  EXPECT_NO_THROW(model.forward({.input_ids = fits}));
}

TEST(OPTForCausalLM, PositionIdsReplaceThePositionsFromTheMask) {
  const OPTForCausalLM model = load_opt("opt");
  const Tensor ids(std::vector<std::int64_t>{5, 9, 7}, {1, 3});
  const Tensor counted(std::vector<std::int64_t>{0, 1, 2}, {1, 3});
  const Tensor other(std::vector<std::int64_t>{4, 5, 6}, {1, 3});
  const Tensor logits = model.forward({.input_ids = ids}).logits;
  testing::expect_equal(model.forward({.input_ids = ids, .position_ids = counted}).logits, logits);
  EXPECT_NE(model.forward({.input_ids = ids, .position_ids = other}).logits.at<float>({0, 0, 0}),
            logits.at<float>({0, 0, 0}));
}

TEST(OPTForCausalLM, InvalidArgumentsAreErrors) {
  testing::expect_bad_arguments_refused(load_opt("opt"));
}

}  // namespace
}  // namespace instructblip
