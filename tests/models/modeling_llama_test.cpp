#include "instructblip/models/modeling_llama.h"

#include <gtest/gtest.h>

#include "models/language_model_checks.h"
#include "support/compare.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using testing::expect_close;
using testing::Fixture;

class LlamaVariants : public ::testing::TestWithParam<const char*> {};

TEST_P(LlamaVariants, ForwardEqualsTheReferenceAtEveryValidPosition) {
  testing::expect_causal_lm_equals_the_reference(
      LlamaForCausalLM::from_pretrained(testing::language_model_folder(GetParam()),
                                        {.dtype = DType::Float32}),
      GetParam());
}

TEST_P(LlamaVariants, PositionsFromTheMaskEqualTheReferenceInGeneration) {
  const Fixture fixture("language_models/" + std::string(GetParam()));
  const auto model = LlamaForCausalLM::from_pretrained(testing::language_model_folder(GetParam()),
                                                       {.dtype = DType::Float32});
  testing::expect_decode_equals(model, fixture, fixture["generate.logits"]);
}

TEST_P(LlamaVariants, AnySplitOfTheInputGivesTheSameBits) {
  testing::expect_same_bits_however_fed(LlamaForCausalLM::from_pretrained(
      testing::language_model_folder(GetParam()), {.dtype = DType::Float32}));
}

TEST_P(LlamaVariants, ComputesInBFloat16) {
  testing::expect_bfloat16_equals_rounded_weights(
      LlamaForCausalLM::from_pretrained(testing::language_model_folder(GetParam()),
                                        {.dtype = DType::BFloat16}),
      GetParam());
}

TEST_P(LlamaVariants, InvalidArgumentsAreErrors) {
  testing::expect_bad_arguments_refused(
      LlamaForCausalLM::from_pretrained(testing::language_model_folder(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Models, LlamaVariants, ::testing::Values("llama_mha", "llama_gqa"));

class RopeVariants : public ::testing::TestWithParam<const char*> {};

TEST_P(RopeVariants, LogitsEqualTheReference) {
  const std::string name = "llama_rope_" + std::string(GetParam());
  const Fixture fixture("language_models/" + name);
  const auto model = LlamaForCausalLM::from_pretrained(testing::language_model_folder(name),
                                                       {.dtype = DType::Float32});
  const Tensor ids = fixture["input_ids"];
  expect_close(model.forward({.input_ids = ids}).logits, fixture["logits"]);
}

INSTANTIATE_TEST_SUITE_P(Kinds, RopeVariants,
                         ::testing::Values("linear", "dynamic", "yarn", "longrope", "llama3"));

}  // namespace
}  // namespace instructblip
