#include "instructblip/generation/logits_process.h"

#include <cmath>
#include <limits>

#include "instructblip/core/error.h"
#include "instructblip/generation/sampling.h"
#include "support/compare.h"
#include "support/fixtures.h"

namespace instructblip::testing {
namespace {

std::vector<std::int64_t> row_of_ids(const Tensor& ids, Index r) {
  const std::int64_t* begin = ids.data<std::int64_t>() + r * ids.dim(1);
  return {begin, begin + ids.dim(1)};
}

Tensor process(const LogitsProcessor& processor, const Tensor& ids, Tensor scores,
               Index beams = 1) {
  std::vector<std::vector<std::int64_t>> rows;
  for (Index r = 0; r < scores.dim(0); ++r) rows.push_back(row_of_ids(ids, r));
  std::vector<ScoreRow> score_rows;
  const auto width = static_cast<std::size_t>(scores.dim(1));
  for (Index r = 0; r < scores.dim(0); ++r) {
    score_rows.push_back({rows[static_cast<std::size_t>(r)],
                          scores.span<float>().subspan(static_cast<std::size_t>(r) * width, width),
                          r / beams, r % beams});
  }
  processor.process(score_rows);
  return scores;
}

class Processors : public ::testing::Test {
 protected:
  void expect(const std::string& name, const LogitsProcessor& processor, std::string_view source,
              Index beams = 1) {
    SCOPED_TRACE(name);
    const Tensor expected = fixture["out." + name];
    expect_close(process(processor, fixture["ids"], fixture[source], beams), expected, 2e-6);
    ++checked;
  }

  Fixture fixture{"generation/processors"};
  int checked = 0;
};

const std::vector<std::int64_t> kEos = {2, 5};

TEST_F(Processors, EqualTheReference) {
  expect("sequence_bias",
         SequenceBiasLogitsProcessor(
             {{{7}, -2.5}, {{5, 6, 9}, 3.0}, {{6, 9}, 1.5}, {{2, 8, 4}, -7.0}}),
         "scores");
  expect("sequence_bias_again",
         SequenceBiasLogitsProcessor({{{7}, -2.5}, {{7}, 1.0}, {{6, 4}, 2.0}}), "rough");
  expect("bad_words", NoBadWordsLogitsProcessor({{3}, {2}, {6, 9}, {1, 1, 1, 4}, {8, 5}}, kEos),
         "scores");
  expect("repetition_penalty", RepetitionPenaltyLogitsProcessor(1.7), "scores");
  expect("repetition_penalty_below_one", RepetitionPenaltyLogitsProcessor(0.6), "rough");
  expect("repetition_penalty_padded", RepetitionPenaltyLogitsProcessor(1.7, {0, 2, 6, 8}),
         "scores");
  for (const Index n : {1, 2, 3, 8, 9}) {
    expect("no_repeat_ngram_" + std::to_string(n), NoRepeatNGramLogitsProcessor(n), "scores");
  }
  expect("min_length", MinLengthLogitsProcessor(9, kEos), "scores");
  expect("min_length_reached", MinLengthLogitsProcessor(8, kEos), "scores");
  expect("min_new_tokens", MinNewTokensLengthLogitsProcessor(5, 4, kEos), "scores");
  expect("min_new_tokens_reached", MinNewTokensLengthLogitsProcessor(5, 3, kEos), "scores");
  expect("forced_bos_later", ForcedBOSTokenLogitsProcessor(4), "scores");
  expect("forced_eos", ForcedEOSTokenLogitsProcessor(9, kEos), "scores");
  expect("forced_eos_later", ForcedEOSTokenLogitsProcessor(10, kEos), "scores");
  expect("remove_invalid", InfNanRemoveLogitsProcessor(), "invalid");
  expect("exponential_decay", ExponentialDecayLengthPenalty({1, 1.3}, kEos, 4), "scores");
  expect("exponential_decay_rough", ExponentialDecayLengthPenalty({0, 1.1}, {3}, 3), "rough");
  expect("exponential_decay_early", ExponentialDecayLengthPenalty({4, 1.3}, kEos, 4), "scores");
  expect("suppress", SuppressTokensLogitsProcessor({1, 39, 1}), "scores");
  expect("begin_suppress", SuppressTokensAtBeginLogitsProcessor({0, 39}, 8), "scores");
  expect("begin_suppress_later", SuppressTokensAtBeginLogitsProcessor({0, 39}, 7), "scores");
  expect("prefix", PrefixConstrainedLogitsProcessor([](Index row, auto ids) {
           return std::vector<std::int64_t>{ids.back() % 40, 3 + row};
         }),
         "scores", 2);
  expect("prefix_unsatisfiable", PrefixConstrainedLogitsProcessor([](Index row, auto) {
           return row == 0 ? std::vector<std::int64_t>{0, 3} : std::vector<std::int64_t>{3, 6};
         }),
         "rough_blocked", 2);
  EXPECT_EQ(checked, 27);
}

TEST_F(Processors, TheFirstIdIsForcedInRowsOfOneId) {
  Tensor scores(DType::Float32, {2, 40});
  const Tensor found = process(ForcedBOSTokenLogitsProcessor(4),
                               Tensor(std::vector<std::int64_t>{4, 9}, {2, 1}), scores);
  expect_equal(found, fixture["out.forced_bos"]);
}

TEST_F(Processors, WarpersKeepWhatTheReferenceKeeps) {
  for (const std::string source : {"scores", "rough", "wide", "ties", "peaked"}) {
    const auto check = [&](const std::string& name, const LogitsProcessor& processor) {
      if (!fixture.has("out." + source + "." + name)) return;  // sorting equal scores
      expect(source + "." + name, processor, source);
    };
    check("temperature_low", TemperatureLogitsWarper(0.35));
    check("temperature_high", TemperatureLogitsWarper(2.5));
    check("top_h_20", TopHLogitsWarper(0.2));
    check("top_h_70", TopHLogitsWarper(0.7));
    check("top_h_95", TopHLogitsWarper(0.95));
    check("top_k_1", TopKLogitsWarper(1));
    check("top_k_5", TopKLogitsWarper(5));
    check("top_k_5_keep_9", TopKLogitsWarper(5, 9));
    check("top_k_500", TopKLogitsWarper(500));
    check("top_p_0", TopPLogitsWarper(0.0));
    check("top_p_30", TopPLogitsWarper(0.3));
    check("top_p_90", TopPLogitsWarper(0.9));
    check("top_p_90_keep_4", TopPLogitsWarper(0.9, 4));
    check("top_p_100", TopPLogitsWarper(1.0));
    check("min_p_0", MinPLogitsWarper(0.0));
    check("min_p_10", MinPLogitsWarper(0.1));
    check("min_p_100", MinPLogitsWarper(1.0));
    check("min_p_50_keep_3", MinPLogitsWarper(0.5, 3));
    check("typical_20", TypicalLogitsWarper(0.2));
    check("typical_90", TypicalLogitsWarper(0.9));
    check("typical_20_keep_5", TypicalLogitsWarper(0.2, 5));
    check("epsilon_02", EpsilonLogitsWarper(0.02));
    check("epsilon_90", EpsilonLogitsWarper(0.9));
    check("epsilon_90_keep_3", EpsilonLogitsWarper(0.9, 3));
    check("eta_02", EtaLogitsWarper(0.02));
    check("eta_90", EtaLogitsWarper(0.9));
    check("eta_30_keep_3", EtaLogitsWarper(0.3, 3));
    check("renormalize", LogitNormalization());
  }
  EXPECT_EQ(checked, 4 * 28 + 16);
}

TEST(LogitsProcessor, InvalidValuesAreRejectedByName) {
  const auto message = [](auto make) {
    try {
      make();
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  const auto expect_named = [&](const char* argument, auto make) {
    EXPECT_NE(message(make).find(std::string("`") + argument + "`"), std::string::npos)
        << argument << ": " << message(make);
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const double wrong : {0.0, -1.0, kNan}) {
    expect_named("temperature", [&] { TemperatureLogitsWarper{wrong}; });
    expect_named("repetition_penalty", [&] { RepetitionPenaltyLogitsProcessor{wrong}; });
    expect_named("top_h", [&] { TopHLogitsWarper{wrong}; });
    expect_named("typical_p", [&] { TypicalLogitsWarper{wrong}; });
    expect_named("epsilon_cutoff", [&] { EpsilonLogitsWarper{wrong}; });
    expect_named("eta_cutoff", [&] { EtaLogitsWarper{wrong}; });
  }
  for (const double wrong : {-0.1, 1.1, kNan}) {
    expect_named("top_p", [&] { TopPLogitsWarper{wrong}; });
    expect_named("min_p", [&] { MinPLogitsWarper{wrong}; });
  }
  expect_named("top_k", [] { TopKLogitsWarper(0); });
  expect_named("no_repeat_ngram_size", [] { NoRepeatNGramLogitsProcessor(0); });
  expect_named("sequence_bias", [] { SequenceBiasLogitsProcessor({}); });
  expect_named("sequence_bias", [] { SequenceBiasLogitsProcessor({{{}, 1.0}}); });
  expect_named("sequence_bias", [] { SequenceBiasLogitsProcessor({{{-1}, 1.0}}); });
  expect_named("bad_words_ids", [] { NoBadWordsLogitsProcessor({{2, -2}}, {2}); });
  EXPECT_NO_THROW(NoBadWordsLogitsProcessor({{2}}, {2}));
  expect_named("eos_token_id", [] { ExponentialDecayLengthPenalty({1, 1.2}, {}, 0); });
}

TEST(LogitsProcessor, IdsOutsideTheVocabularyNeverCauseInvalidAccess) {
  const Tensor ids(std::vector<std::int64_t>{-1, 4, 1000000}, {1, 3});
  const Tensor scores(DType::Float32, {1, 8});
  EXPECT_NO_THROW(process(RepetitionPenaltyLogitsProcessor(1.2), ids, scores));
  EXPECT_NO_THROW(process(NoRepeatNGramLogitsProcessor(1), ids, scores));
  EXPECT_NO_THROW(process(SuppressTokensLogitsProcessor({-5, 8, 900}), ids, scores));
  EXPECT_NO_THROW(process(MinLengthLogitsProcessor(9, {-2, 8}), ids, scores));
  EXPECT_THROW(process(SequenceBiasLogitsProcessor({{{8}, 1.0}}), ids, scores), InputError);
  EXPECT_THROW(process(ForcedEOSTokenLogitsProcessor(4, {8}), ids, scores), InputError);
  EXPECT_THROW(process(ExponentialDecayLengthPenalty({0, 1.2}, {8}, 0), ids, scores), InputError);
  const auto names = [](std::vector<std::int64_t> allowed) {
    return PrefixConstrainedLogitsProcessor([allowed](Index, auto) { return allowed; });
  };
  EXPECT_THROW(process(names({8}), ids, scores), InputError);
  EXPECT_THROW(process(names({}), ids, scores), InputError);
}

TEST(LogitsProcessor, AFunctionIsAProcessor) {
  const auto processor = logits_processor([](const ScoreRow& row) {
    row.scores[0] = static_cast<float>(row.input_ids.back() + row.batch_index);
  });
  const Tensor found = process(*processor, Tensor(std::vector<std::int64_t>{4, 9}, {2, 1}),
                               Tensor(DType::Float32, {2, 3}));
  expect_equal(found, Tensor(std::vector<float>{4, 0, 0, 10, 0, 0}, {2, 3}));
}

TEST(LogitsProcessor, NanScoresDoNotBreakSorting) {
  std::vector<float> values(64, 1.0f);
  for (std::size_t i = 0; i < values.size(); i += 3) values[i] = std::nanf("");
  const Tensor scores(values, {1, 64});
  const Tensor ids(std::vector<std::int64_t>{1}, {1, 1});
  EXPECT_NO_THROW(process(TopPLogitsWarper(0.5), ids, scores));
  EXPECT_NO_THROW(process(TypicalLogitsWarper(0.5), ids, scores));
  EXPECT_NO_THROW(process(TopKLogitsWarper(5), ids, scores));
}

TEST(Warpers, ProbabilitiesEqualToTheCutoffAreKept) {
  std::vector<float> scores = {2.0f, 1.0f, 0.0f};
  const double p = softmax(scores)[1];
  EpsilonLogitsWarper(p).process_row({{}, scores});
  EXPECT_EQ(scores[1], 1.0f);
  EXPECT_EQ(scores[2], -std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace instructblip::testing
