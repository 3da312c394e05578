#include "instructblip/tasks/answers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using testing::expect_close;
using testing::expect_equal;
using testing::expect_error;
using testing::Fixture;

class Answers : public ::testing::TestWithParam<const char*> {
 protected:
  std::string kind = GetParam();
  Fixture answers{"answers/" + kind};
  InstructBlipForConditionalGeneration model =
      InstructBlipForConditionalGeneration::from_pretrained(
          testing::fixtures_folder() / "instructblip" / kind, {.dtype = DType::Float32});
  Fixture batch{"instructblip/" + kind + "/expected"};
  BatchFeature features{.qformer_input_ids = batch["forward.left.qformer_input_ids"],
                        .qformer_attention_mask = batch["forward.left.qformer_attention_mask"],
                        .input_ids = batch["forward.left.input_ids"],
                        .attention_mask = batch["forward.left.attention_mask"],
                        .pixel_values = batch["forward.left.pixel_values"]};
  InstructBlipInputs inputs = InstructBlipInputs::from(features);
  std::vector<std::vector<std::int64_t>> candidates = lists("candidates");

  std::vector<std::vector<std::int64_t>> lists(const std::string& name) const {
    const Tensor values = answers[name], offsets = answers[name + ".offsets"];
    const auto begins = offsets.span<std::int64_t>();
    std::vector<std::vector<std::int64_t>> found;
    for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
      found.emplace_back(values.data<std::int64_t>() + begins[i],
                         values.data<std::int64_t>() + begins[i + 1]);
    }
    return found;
  }
};

TEST_P(Answers, LogLikelihoodsEqualTheReferencesForEachSampleAlone) {
  expect_close(rank_candidates(model, inputs, candidates, {.score_eos = false}).log_likelihoods,
               answers["log_likelihoods"]);
  expect_close(rank_candidates(model, inputs, candidates, {.score_eos = true}).log_likelihoods,
               answers["log_likelihoods.eos"]);
}

TEST_P(Answers, TheEndIsScoredAsLavisDoesUnlessAskedFor) {
  expect_close(rank_candidates(model, inputs, candidates).log_likelihoods,
               answers[kind == "t5" ? "log_likelihoods.eos" : "log_likelihoods"]);
}

TEST_P(Answers, TheMeanIsPerToken) {
  const Tensor sums =
      rank_candidates(model, inputs, candidates, {.score_eos = true}).log_likelihoods;
  const Tensor means =
      rank_candidates(model, inputs, candidates, {.mean = true, .score_eos = true}).log_likelihoods;
  for (Index i = 0; i < sums.size(); ++i) {
    const auto length =
        static_cast<float>(candidates[static_cast<std::size_t>(i) % candidates.size()].size() + 1);
    EXPECT_FLOAT_EQ(means.data<float>()[i], sums.data<float>()[i] / length);
  }
}

TEST_P(Answers, RanksGoFromTheBestToTheWorst) {
  const CandidateRanks result = rank_candidates(model, inputs, candidates);
  for (Index b = 0; b < result.ranks.dim(0); ++b) {
    std::vector<std::int64_t> seen;
    for (Index i = 0; i < result.ranks.dim(1); ++i) {
      seen.push_back(result.ranks.at<std::int64_t>({b, i}));
      if (i == 0) continue;
      EXPECT_GE(result.log_likelihoods.at<float>({b, seen[static_cast<std::size_t>(i) - 1]}),
                result.log_likelihoods.at<float>({b, seen.back()}));
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  }
  // Equal candidates keep their order.
  const CandidateRanks equal = rank_candidates(model, inputs, {{40, 41}, {40, 41}, {40, 41}});
  EXPECT_EQ(equal.ranks.at<std::int64_t>({1, 0}), 0);
  EXPECT_EQ(equal.ranks.at<std::int64_t>({1, 2}), 2);
}

TEST_P(Answers, AnEmptyCandidateIsAsLikelyAsTheEnd) {
  const auto eos = model.language_model().traits().eos_token_id;
  const Tensor empty =
      rank_candidates(model, inputs, {{5}, {}}, {.score_eos = true}).log_likelihoods;
  const Tensor end = rank_candidates(model, inputs, {eos}, {.score_eos = false}).log_likelihoods;
  for (Index b = 0; b < 3; ++b) EXPECT_EQ(empty.at<float>({b, 1}), end.at<float>({b, 0}));
}

TEST_P(Answers, ScoresHaveTheSameBitsInAnyCompany) {
  const Tensor expected = rank_candidates(model, inputs, candidates).log_likelihoods;
  const int threads_before = num_threads();
  for (const Index batch_size : {1, 2, 4, 7, 100}) {
    set_num_threads(1 + static_cast<int>(batch_size % 3));
    expect_equal(
        rank_candidates(model, inputs, candidates, {.batch_size = batch_size}).log_likelihoods,
        expected);
  }
  set_num_threads(threads_before);
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    const Tensor alone = rank_candidates(model, inputs, {candidates[c]}).log_likelihoods;
    for (Index b = 0; b < 3; ++b) {
      EXPECT_EQ(alone.at<float>({b, 0}), expected.at<float>({b, static_cast<Index>(c)}));
    }
  }
}

TEST_P(Answers, ShortAnswersAreLavisBeamSearchOverEmbeddingsAlone) {
  const GenerateOutput output = predict_answers(model, inputs);
  expect_equal(output.sequences, answers["short_answers"]);
}

TEST_P(Answers, ShortAnswersTakeTheirSettings) {
  const GenerateOutput shorter = predict_answers(model, inputs, {.num_beams = 1, .max_len = 3});
  for (const auto& row : shorter.new_tokens()) EXPECT_LE(row.size(), 3u);
  // Whatever comes first ends the answer.
  const std::int64_t first = shorter.new_tokens()[0][0];
  EXPECT_EQ(predict_answers(model, inputs, {.num_beams = 1, .min_len = 0}, first).new_tokens()[0],
            std::vector<std::int64_t>{first});
}

TEST_P(Answers, BadArgumentsAreErrors) {
  expect_error<InputError>([&] { rank_candidates(model, inputs, {}); }, {"no candidates"});
  expect_error<InputError>(
      [&] {
        rank_candidates(model, inputs, {{5}, {}}, {.score_eos = false});
      },
      {"candidate 1 is empty"});
  expect_error<InputError>(
      [&] {
        rank_candidates(model, inputs, {{5, 100}});
      },
      {"candidate 0", "100", "0 to 99"});
  expect_error<InputError>([&] { rank_candidates(model, inputs, {{-1}}); }, {"-1"});
  expect_error<InputError>([&] { rank_candidates(model, inputs, {{5}}, {.batch_size = 0}); },
                           {"batch_size"});
  expect_error<InputError>([&] { rank_candidates(model, {}, {{5}}); });
}

INSTANTIATE_TEST_SUITE_P(Kinds, Answers, ::testing::Values("opt", "llama", "t5"));

TEST(RankCandidates, LongCandidatesBeyondThePositionTableAreAnError) {
  const auto folder = testing::fixtures_folder() / "instructblip/opt";
  const auto model = InstructBlipForConditionalGeneration::from_pretrained(folder);
  const Fixture batch("instructblip/opt/expected");
  const Tensor pixels = batch["forward.no_masks.pixel_values"];
  const Tensor qformer_ids = batch["forward.no_masks.qformer_input_ids"];
  const Tensor ids = batch["forward.no_masks.input_ids"];
  InstructBlipInputs inputs;
  inputs.pixel_values = pixels;
  inputs.qformer_input_ids = qformer_ids;
  inputs.input_ids = ids;
  expect_error<InputError>(
      [&] { rank_candidates(model, inputs, {std::vector<std::int64_t>(80, 5)}); },
      {"position 64", "max_position_embeddings 64"});
}

TEST(PredictAnswersOptions, ATaskBringsItsPromptAndDecoding) {
  const auto options = PredictAnswersOptions::from(task_preset("coco_caption"));
  EXPECT_EQ(options.prompt, "A short image caption.");
  EXPECT_EQ(options.num_beams, 5);
  EXPECT_EQ(options.max_len, 80);
  EXPECT_EQ(options.min_len, 10);
  EXPECT_EQ(options.length_penalty, 1.0);
  EXPECT_EQ(options.repetition_penalty, 1.15);
  EXPECT_FALSE(PredictAnswersOptions::from(task_preset("okvqa")).length_penalty);
}

}  // namespace
}  // namespace instructblip
