#include "instructblip/generation/transition_scores.h"

#include <cmath>

#include "generation/table_language_model.h"
#include "instructblip/core/error.h"
#include "instructblip/generation/generate.h"
#include "support/compare.h"
#include "support/expect_error.h"

// EqualsTheReferenceInHundredsOfRandomCases in generate_test.cpp compares with the reference.
namespace instructblip::testing {
namespace {

GenerateOutput run(bool is_encoder_decoder, GenerationConfig config) {
  const TableLanguageModel model(is_encoder_decoder ? encoder_decoder() : decoder_only(), 5, 8.0f,
                                 3.0f);
  const Tensor prompts = ids({{4, 5, 6}, {7, 8, 9}});
  config.max_new_tokens = 8;
  config.output_scores = config.output_logits = true;
  return generate(model, {.input_ids = prompts}, config);
}

TEST(TransitionScores, AddUpToTheScoresOfBeamSearch) {
  for (const bool is_encoder_decoder : {false, true}) {
    const GenerateOutput output =
        run(is_encoder_decoder, {.num_beams = 3, .length_penalty = 0.5, .num_return_sequences = 2});
    const Tensor scores =
        compute_transition_scores(output.sequences, output.scores, output.beam_indices);
    ASSERT_EQ(scores.shape(), output.beam_indices.shape());
    for (Index r = 0; r < scores.dim(0); ++r) {
      double sum = 0;
      for (Index s = 0; s < scores.dim(1); ++s) sum += double{scores.at<float>({r, s})};
      const auto length = static_cast<double>(at(output.new_token_counts, r));
      EXPECT_NEAR(sum / std::sqrt(length), double{output.sequences_scores.at<float>({r})}, 1e-5);
    }
  }
}

TEST(TransitionScores, AnAnswersProbabilityIsTheProductOfItsTokens) {
  for (const GenerationConfig& config :
       {GenerationConfig{}, GenerationConfig{.do_sample = true, .temperature = 0.5, .seed = 3},
        GenerationConfig{.num_beams = 3}}) {
    const GenerateOutput output = run(false, config);
    const auto answers = answer_probabilities(output);
    const Tensor expected =
        compute_transition_scores(output.sequences, output.logits, output.beam_indices, true);
    ASSERT_EQ(answers.size(), 2u);
    for (std::size_t r = 0; r < answers.size(); ++r) {
      ASSERT_EQ(std::ssize(answers[r].token_log_probs), output.new_token_counts[r]);
      double sum = 0;
      for (std::size_t s = 0; s < answers[r].token_log_probs.size(); ++s) {
        const double found = answers[r].token_log_probs[s];
        EXPECT_NEAR(found,
                    double{expected.at<float>({static_cast<Index>(r), static_cast<Index>(s)})},
                    1e-5);
        sum += found;
      }
      EXPECT_DOUBLE_EQ(answers[r].probability, std::exp(sum));
      EXPECT_LT(answers[r].probability, 1);
    }
  }
}

TEST(TransitionScores, WhatDoesNotFitIsAnError) {
  const GenerateOutput output = run(false, {.num_beams = 3});
  const auto call = [&](const TensorView& sequences, const std::vector<Tensor>& scores,
                        const TensorView& beams) {
    return [=] { compute_transition_scores(sequences, scores, beams); };
  };
  expect_error<InputError>(call(output.sequences, {}, output.beam_indices), {"output_scores"});
  expect_error<InputError>(call(output.sequences, output.scores, {}), {"beams need beam_indices"});
  expect_error<InputError>(call(output.beam_indices, output.scores, {}), {"expected int64"});
  expect_error<InputError>(call(output.sequences, output.scores, output.sequences),
                           {"expected int32"});
  const Tensor beams(std::vector<std::int32_t>{99, 0}, {2, 1});
  expect_error<InputError>(call(output.sequences, output.scores, beams), {"row 99 of 6"});
  const Tensor outside(std::vector<std::int64_t>{-1, 0}, {2, 1});
  const Tensor first(std::vector<std::int32_t>{0, 0}, {2, 1});
  expect_error<InputError>(call(outside, output.scores, first), {"the id -1"});
  expect_error<InputError>([] { answer_probabilities(GenerateOutput{}); }, {"output_logits"});
}

}  // namespace
}  // namespace instructblip::testing
