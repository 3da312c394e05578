#include "instructblip/generation/sampling.h"

#include <cmath>
#include <set>

#include "instructblip/core/error.h"

namespace instructblip::testing {
namespace {

using Words = std::array<std::uint32_t, 4>;

TEST(Philox, EqualsThePublishedValues) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomNumbers, DifferForEverySeedStepRowAndIndex) {
  std::set<double> seen;
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 40}) {
    for (Index step = 0; step < 4; ++step) {
      for (Index row = 0; row < 4; ++row) {
        for (Index index = 0; index < 4; ++index) {
          const double u = RandomNumbers{seed}.uniform(step, row, index);
          EXPECT_GT(u, 0);
          EXPECT_LT(u, 1);
          seen.insert(u);
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 3u * 64u);
}

TEST(RandomNumbers, AreOddMultiplesOfHalfTheSmallestStep) {
  int checked = 0;
  for (Index step = 0; step < 16; ++step) {
    const double n = RandomNumbers{9}.uniform(step, 1) * 0x1p53;
    if (n >= 0x1p52) continue;  // the fraction is rounded away
    EXPECT_EQ(n - std::floor(n), 0.5);
    ++checked;
  }
  EXPECT_GT(checked, 0);
}

double chi_square(const std::vector<double>& counts, const std::vector<double>& expected) {
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    sum += std::pow(counts[i] - expected[i], 2) / expected[i];
  }
  return sum;
}

TEST(Draw, FollowsTheDistribution) {
  const std::vector<float> p = {0.5f, 0.0f, 0.25f, 0.05f, 0.2f};
  std::vector<double> counts(5, 0.0);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    ++counts[static_cast<std::size_t>(draw(p, RandomNumbers{42}.uniform(i, 0)))];
  }
  EXPECT_EQ(counts[1], 0);
  // 3 degrees of freedom: a value above 16.3 has probability 0.001.
  EXPECT_LT(chi_square({counts[0], counts[2], counts[3], counts[4]},
                       {kDraws * 0.5, kDraws * 0.25, kDraws * 0.05, kDraws * 0.2}),
            16.3);
}

TEST(Draw, TakesTheFirstIndexWhoseRunningSumExceedsTheNumber) {
  const std::vector<float> p = {0.0f, 1.0f, 2.0f, 1.0f, 0.0f};  // the sum is not 1
  EXPECT_EQ(draw(p, 1e-9), 1);
  EXPECT_EQ(draw(p, 0.2499), 1);
  EXPECT_EQ(draw(p, 0.25), 2);
  EXPECT_EQ(draw(p, 0.7499), 2);
  EXPECT_EQ(draw(p, 0.75), 3);
  EXPECT_EQ(draw(p, 1 - 1e-16), 3);
}

TEST(Draw, RejectsADistributionWithoutProbability) {
  EXPECT_THROW(draw(std::vector<float>{0, 0}, 0.5), InputError);
  EXPECT_THROW(draw(std::vector<float>{}, 0.5), InputError);
  EXPECT_THROW(draw(std::vector<float>{1, std::nanf("")}, 0.5), InputError);
}

TEST(DrawWithoutReplacement, FollowsTheDistributionWithoutRepetition) {
  const std::vector<float> p = {0.6f, 0.0f, 0.3f, 0.1f};
  constexpr int kDraws = 20000;
  std::map<std::pair<Index, Index>, double> counts;
  for (int i = 0; i < kDraws; ++i) {
    const auto drawn = draw_without_replacement(p, 2, RandomNumbers{7}, i, 3);
    ASSERT_EQ(drawn.size(), 2u);
    ++counts[{drawn[0], drawn[1]}];
  }
  std::vector<double> found, expected;
  double all = 0;
  for (const Index a : {0, 2, 3}) {
    for (const Index b : {0, 2, 3}) {
      if (a == b) continue;
      const double first = p[static_cast<std::size_t>(a)], second = p[static_cast<std::size_t>(b)];
      found.push_back(counts[{a, b}]);
      expected.push_back(kDraws * first * second / (1 - first));
      all += found.back();
    }
  }
  EXPECT_EQ(all, kDraws);
  EXPECT_LT(chi_square(found, expected), 20.5);  // 5 degrees of freedom
  EXPECT_EQ(draw_without_replacement(p, 4, RandomNumbers{7}, 0, 0).back(), 1);
  EXPECT_EQ(draw_without_replacement(p, 9, RandomNumbers{7}, 0, 0).size(), 4u);
}

TEST(Scores, SoftmaxAndItsLogarithm) {
  const float kNever = -std::numeric_limits<float>::infinity();
  const std::vector<float> scores = {1.0f, kNever, 2.0f, 1000.0f};
  EXPECT_EQ(softmax(scores), (std::vector<float>{0, 0, 0, 1}));
  std::vector<float> logs = {0.0f, std::log(3.0f), kNever};
  log_softmax(logs);
  EXPECT_NEAR(logs[0], std::log(0.25f), 1e-6);
  EXPECT_NEAR(logs[1], std::log(0.75f), 1e-6);
  EXPECT_EQ(logs[2], kNever);
}

TEST(Scores, EqualScoresAreOrderedByIndex) {
  const std::vector<float> scores = {1, 3, 3, 0, 3, 1};
  EXPECT_EQ(argmax(scores), 1);
  EXPECT_EQ(top_k_indices(scores, 4), (std::vector<Index>{1, 2, 4, 0}));
  EXPECT_EQ(top_k_indices(scores, 99), (std::vector<Index>{1, 2, 4, 0, 5, 3}));
  EXPECT_EQ(top_k_indices(scores, 0), std::vector<Index>{});
  EXPECT_EQ(sorted_indices(scores), (std::vector<Index>{3, 0, 5, 1, 2, 4}));
  EXPECT_EQ(sorted_indices(scores, true), (std::vector<Index>{1, 2, 4, 0, 5, 3}));
  const std::vector<float> broken = {1, std::nanf(""), 3, std::nanf(""), 2};  // as in the reference
  EXPECT_EQ(top_k_indices(broken, 3), (std::vector<Index>{1, 3, 2}));
  EXPECT_EQ(sorted_indices(broken), (std::vector<Index>{0, 4, 2, 1, 3}));
}

}  // namespace
}  // namespace instructblip::testing
