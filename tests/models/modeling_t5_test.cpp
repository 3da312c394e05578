#include "instructblip/models/modeling_t5.h"

#include <gtest/gtest.h>

#include "instructblip/core/error.h"
#include "models/language_model_checks.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using testing::expect_close;
using testing::expect_close_where_kept;
using testing::expect_equal;
using testing::Fixture;

T5ForConditionalGeneration load_t5(const std::string& name) {
  return T5ForConditionalGeneration::from_pretrained(testing::language_model_folder(name),
                                                     {.dtype = DType::Float32});
}

class T5Variants : public ::testing::TestWithParam<const char*> {
 protected:
  Fixture fixture{"language_models/" + std::string(GetParam())};
  Tensor ids = fixture["input_ids"], mask = fixture["attention_mask"];
  Tensor decoder_ids = fixture["decoder_input_ids"];
  Tensor decoder_mask = fixture["decoder_attention_mask"];

  void expect_layers(const std::vector<Tensor>& found, const std::string& field, const Tensor& kept,
                     Index axis) const {
    ASSERT_FALSE(fixture.has(field + "." + std::to_string(found.size())));
    for (std::size_t i = 0; i < found.size(); ++i) {
      SCOPED_TRACE(field + "." + std::to_string(i));
      expect_close_where_kept(found[i], fixture[field + "." + std::to_string(i)], kept, axis);
    }
  }
};

TEST_P(T5Variants, ForwardEqualsTheReferenceAtEveryValidPosition) {
  const LanguageModelOutputs output = load_t5(GetParam())
                                          .forward({.input_ids = ids,
                                                    .attention_mask = mask,
                                                    .decoder_input_ids = decoder_ids,
                                                    .decoder_attention_mask = decoder_mask,
                                                    .output_hidden_states = true,
                                                    .output_attentions = true});
  expect_close_where_kept(output.encoder_last_hidden_state, fixture["encoder_last_hidden_state"],
                          mask);
  expect_layers(output.encoder_hidden_states, "encoder_hidden_states", mask, 1);
  expect_layers(output.encoder_attentions, "encoder_attentions", mask, 2);
  expect_layers(output.decoder_hidden_states, "decoder_hidden_states", decoder_mask, 1);
  expect_layers(output.decoder_attentions, "decoder_attentions", decoder_mask, 2);
  expect_layers(output.cross_attentions, "cross_attentions", decoder_mask, 2);
  expect_close_where_kept(output.logits, fixture["logits"], decoder_mask);
  EXPECT_FALSE(output.loss.has_value());
}

TEST_P(T5Variants, LabelsGiveTheDecoderIdsAndTheLoss) {
  const Tensor labels = fixture["labels"];
  const LanguageModelOutputs output =
      load_t5(GetParam()).forward({.input_ids = ids, .attention_mask = mask, .labels = labels});
  expect_close(output.logits, fixture["labels.logits"]);
  ASSERT_TRUE(output.loss.has_value());
  EXPECT_NEAR(*output.loss, fixture["labels.loss"].data<float>()[0], 1e-5 * *output.loss);
}

TEST_P(T5Variants, EmbeddingsInsteadOfIdsGiveTheSameLogits) {
  const Tensor embeds = fixture["inputs_embeds"];
  const Tensor first =
      Tensor::copy_of(TensorView(decoder_ids.raw(), DType::Int64, {1, decoder_ids.dim(1)}));
  const auto model = load_t5(GetParam());
  expect_close(model.forward({.decoder_input_ids = first, .inputs_embeds = embeds}).logits,
               fixture["embeds.logits"]);
  const Tensor decoder_embeds = model.embed_decoder_tokens(first.span<std::int64_t>())
                                    .to_tensor({1, first.dim(1), model.config().d_model});
  expect_close(
      model.forward({.inputs_embeds = embeds, .decoder_inputs_embeds = decoder_embeds}).logits,
      fixture["embeds.logits"]);
}

TEST_P(T5Variants, TheModelWithoutItsHeadGivesTheSameStates) {
  const auto folder = testing::language_model_folder(GetParam());
  const LoadOptions options{.dtype = DType::Float32};
  const LanguageModelOutputs whole = load_t5(GetParam())
                                         .forward({.input_ids = ids,
                                                   .attention_mask = mask,
                                                   .decoder_input_ids = decoder_ids,
                                                   .output_hidden_states = true});
  const LanguageModelOutputs model =
      T5Model::from_pretrained(folder, options)
          .forward({.input_ids = ids, .attention_mask = mask, .decoder_input_ids = decoder_ids});
  expect_equal(model.last_hidden_state, whole.decoder_hidden_states.back());
  expect_equal(model.encoder_last_hidden_state, whole.encoder_last_hidden_state);
}

TEST_P(T5Variants, AnySplitOfTheInputGivesTheSameBits) {
  testing::expect_same_bits_however_fed(load_t5(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Models, T5Variants, ::testing::Values("t5", "t5_gated", "t5_overflow"));

TEST(T5ForConditionalGeneration, BucketsEqualTheReferenceAtEveryDistance) {
  const Fixture fixture("language_models/t5_buckets");
  const Tensor distances = fixture["distances"];
  for (const auto& [buckets, longest] :
       std::vector<std::pair<Index, Index>>{{32, 128}, {8, 12}, {10, 20}, {64, 1000}}) {
    for (const bool both : {true, false}) {
      const Tensor expected = fixture[std::to_string(buckets) + "." + std::to_string(longest) +
                                      (both ? ".both" : ".causal")];
      for (Index i = 0; i < distances.size(); ++i) {
        const std::int64_t distance = distances.data<std::int64_t>()[i];
        ASSERT_EQ(t5_relative_position_bucket(distance, both, buckets, longest),
                  expected.data<std::uint8_t>()[i])
            << buckets << " buckets up to " << longest << ", distance " << distance;
      }
    }
  }
}

TEST(T5ForConditionalGeneration, HiddenStatesBeyondFloat16AreExact) {
  const Fixture fixture("language_models/t5_overflow");
  const auto wo = Checkpoint::open(testing::language_model_folder("t5_overflow"))
                      ->find("encoder.block.0.layer.1.DenseReluDense.wo.weight");
  ASSERT_TRUE(wo.has_value());
  EXPECT_EQ(wo->dtype, DType::Float16);
  const Tensor ids = fixture["input_ids"], mask = fixture["attention_mask"];
  const Tensor decoder_ids = fixture["decoder_input_ids"];
  const LanguageModelOutputs output =
      T5Model::from_pretrained(testing::language_model_folder("t5_overflow"))
          .forward({.input_ids = ids,
                    .attention_mask = mask,
                    .decoder_input_ids = decoder_ids,
                    .output_hidden_states = true});
  const Tensor& inside = output.encoder_hidden_states.at(1);
  expect_close_where_kept(inside, fixture["encoder_hidden_states.1"], mask);
  const auto values = inside.span<float>();
  EXPECT_GT(*std::max_element(values.begin(), values.end()), 65504.0f);
}

TEST(T5ForConditionalGeneration, ComputesInBFloat16) {
  const Fixture fixture("language_models/t5_gated");  // stored in bfloat16
  const Tensor ids = fixture["input_ids"], mask = fixture["attention_mask"];
  const Tensor decoder_ids = fixture["decoder_input_ids"];
  const Tensor decoder_mask = fixture["decoder_attention_mask"];
  const auto model =
      T5ForConditionalGeneration::from_pretrained(testing::language_model_folder("t5_gated"));
  ASSERT_EQ(model.model().get_input_embeddings().weight().dtype(), DType::BFloat16);
  expect_close_where_kept(model
                              .forward({.input_ids = ids,
                                        .attention_mask = mask,
                                        .decoder_input_ids = decoder_ids,
                                        .decoder_attention_mask = decoder_mask})
                              .logits,
                          fixture["logits"], decoder_mask, 1, testing::bfloat16_tolerance());
}

TEST(T5ForConditionalGeneration, InvalidArgumentsAreErrors) {
  const auto model = load_t5("t5");
  const Tensor ids(std::vector<std::int64_t>{5, 6, 7, 8}, {2, 2});
  const Tensor one(std::vector<std::int64_t>{0}, {1, 1});
  testing::expect_error<InputError>([&] { model.forward({.input_ids = ids}); },
                                    {"decoder_input_ids", "labels"});
  testing::expect_error<InputError>([&] { model.forward({.decoder_input_ids = one}); },
                                    {"input_ids"});
  const Tensor embeds(DType::Float32, {1, 1, model.config().d_model});
  testing::expect_error<InputError>(
      [&] {
        model.forward(
            {.input_ids = ids, .decoder_input_ids = one, .decoder_inputs_embeds = embeds});
      },
      {"decoder_input_ids and decoder_inputs_embeds", "both"});
  testing::expect_error<InputError>(
      [&] { model.forward({.input_ids = ids, .decoder_input_ids = one}); },
      {"2 rows", "1 for the decoder"});
  const Tensor beyond(std::vector<std::int64_t>{64, 1}, {2, 1});
  testing::expect_error<InputError>(
      [&] { model.forward({.input_ids = ids, .decoder_input_ids = beyond}); }, {"64"});
  testing::expect_error<InputError>([&] { model.forward({.input_ids = ids, .labels = beyond}); },
                                    {"labels", "64"});
}

}  // namespace
}  // namespace instructblip
