// Compares the demo model's ranked and short answers, from texts and PNG files, with the
// reference's log-likelihoods, order and texts, which examples/demo_model/make_answers.py writes.
#include "end_to_end/demo_files.h"
#include "support/compare.h"

namespace instructblip {
namespace {

using testing::demo;
using testing::demo_lines;
using testing::field;

constexpr double kNear = 1e-4;

struct Prediction {
  std::vector<std::string> images;
  std::string prompt_template, question, best, answer;
  std::vector<double> scores, scores_with_end;
  bool best_near_tie = false, answer_near_tie = false;

  std::string prompt() const { return build_prompt(prompt_template, {.question = question}); }
};

class DemoTasks : public ::testing::Test {
 protected:
  DemoTasks() {
    for (const std::string& line : demo_lines("predictions.json")) {
      if (line.find("\"candidates\"") != std::string::npos) {
        candidates = testing::strings_of(field(line, "candidates"));
        continue;
      }
      predictions.push_back({testing::strings_of(field(line, "images")), field(line, "template"),
                             field(line, "question"), field(line, "best"), field(line, "answer"),
                             testing::numbers_of(field(line, "scores")),
                             testing::numbers_of(field(line, "scores_with_end")),
                             field(line, "best_near_tie") == "true",
                             field(line, "answer_near_tie") == "true"});
    }
  }

  static std::vector<Image> images_of(const Prediction& prediction) {
    std::vector<Image> images;
    for (const std::string& name : prediction.images) {
      const auto folder = name == "scene.png" ? testing::kAssets : testing::kDemoAnswers;
      images.push_back(Image::open(folder / name));
    }
    return images;
  }

  /// The predictions about `count` images each.
  struct Batch {
    std::vector<Prediction> predictions;
    std::vector<Image> images;
    std::vector<std::string> prompts;
  };
  Batch batch(std::size_t count) const {
    Batch batch;
    for (const Prediction& prediction : predictions) {
      if (prediction.images.size() != count) continue;
      batch.predictions.push_back(prediction);
      batch.prompts.push_back(prediction.prompt());
      for (Image& image : images_of(prediction)) batch.images.push_back(std::move(image));
    }
    return batch;
  }

  static void expect_scores(const float* found, const std::vector<double>& expected,
                            const Prediction& prediction) {
    for (std::size_t c = 0; c < expected.size(); ++c) {
      EXPECT_NEAR(found[c], expected[c], kNear * std::fabs(expected[c]) + 1e-5)
          << prediction.images[0] << ": " << prediction.question << ", candidate " << c;
    }
  }

  /// Expects the reference's order, except among candidates with nearly equal scores.
  template <class Ranks>
  void expect_order(const Ranks& ranks, const Prediction& prediction) const {
    const std::vector<double>& scores = prediction.scores;
    ASSERT_EQ(ranks.size(), candidates.size());
    for (std::size_t i = 1; i < ranks.size(); ++i) {
      const double better = scores[static_cast<std::size_t>(ranks[i - 1])];
      const double worse = scores[static_cast<std::size_t>(ranks[i])];
      EXPECT_GE(better, worse - kNear * std::fabs(worse)) << prediction.question << ", rank " << i;
    }
    if (prediction.best_near_tie) return;
    EXPECT_EQ(candidates[static_cast<std::size_t>(ranks[0])], prediction.best)
        << prediction.images[0] << ": " << prediction.question;
  }

  std::vector<std::string> candidates;
  std::vector<Prediction> predictions;
};

TEST_F(DemoTasks, LogLikelihoodsAndOrderEqualTheReference) {
  ASSERT_GT(predictions.size(), 25u);
  for (const Prediction& prediction : predictions) {
    const std::vector<Image> images = images_of(prediction);
    const CandidateRanks result =
        rank_candidates(demo().model, demo().processor, images, {prediction.prompt()}, candidates);
    expect_scores(result.log_likelihoods.data<float>(), prediction.scores, prediction);
    expect_order(result.ranks.span<std::int64_t>(), prediction);
    const CandidateRanks with_end =
        rank_candidates(demo().model, demo().processor, images, {prediction.prompt()}, candidates,
                        {.score_eos = true});
    expect_scores(with_end.log_likelihoods.data<float>(), prediction.scores_with_end, prediction);
  }
}

TEST_F(DemoTasks, ABatchIsRankedLikeEachPromptAlone) {
  for (const std::size_t count : {1, 2}) {
    const Batch all = batch(count);
    const CandidateRanks together =
        rank_candidates(demo().model, demo().processor, all.images, all.prompts, candidates);
    const std::vector<std::vector<std::string>> lists(all.prompts.size(), candidates);
    const auto own = predict_class(demo().model, demo().processor, all.images, all.prompts, lists);
    const Tensor shared =
        predict_class(demo().model, demo().processor, all.images, all.prompts, candidates);
    testing::expect_equal(shared, together.ranks);
    const auto width = candidates.size();
    for (std::size_t b = 0; b < all.prompts.size(); ++b) {
      expect_scores(together.log_likelihoods.data<float>() + b * width, all.predictions[b].scores,
                    all.predictions[b]);
      const auto ranks = together.ranks.span<std::int64_t>().subspan(b * width, width);
      expect_order(ranks, all.predictions[b]);
      EXPECT_EQ(own[b], std::vector<std::int64_t>(ranks.begin(), ranks.end()));
    }
  }
}

TEST_F(DemoTasks, ShortAnswersEqualTheReference) {
  for (const Prediction& prediction : predictions) {
    if (prediction.answer_near_tie) continue;
    const auto answers = predict_answers(demo().model, demo().processor, images_of(prediction),
                                         {{.question = prediction.question}},
                                         {.prompt = prediction.prompt_template});
    EXPECT_EQ(answers, std::vector<std::string>{prediction.answer}) << prediction.question;
  }
}

TEST_F(DemoTasks, ABatchGetsTheSameShortAnswers) {
  for (const std::size_t count : {1, 2}) {
    const Batch all = batch(count);
    std::vector<PromptParts> questions;
    for (const std::string& prompt : all.prompts) questions.push_back({.question = prompt});
    const auto answers = predict_answers(demo().model, demo().processor, all.images, questions);
    for (std::size_t b = 0; b < answers.size(); ++b) {
      if (all.predictions[b].answer_near_tie) continue;
      EXPECT_EQ(answers[b], all.predictions[b].answer) << all.prompts[b];
    }
  }
}

}  // namespace
}  // namespace instructblip
