#include "instructblip/generation/stopping_criteria.h"

#include <atomic>
#include <thread>

#include "generation/toy_tokenizer.h"
#include "instructblip/core/error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"

namespace instructblip::testing {
namespace {

using Ids = std::vector<std::int64_t>;

Ids ids_of(const Tokenizer& tokenizer, const std::vector<std::string>& tokens) {
  Ids ids;
  for (const std::string& token : tokens) ids.push_back(tokenizer.token_to_id(token).value());
  return ids;
}

TEST(StopStringCriteria, ATokenThatCompletesTheTextEndsTheRow) {
  const ToyTokenizer tokenizer({"abcdef", "stop", "st", "op", "opera", "sto", "pper", "las",
                                "topper", "s", "to", "pped", "at", "tion", "t", "x", ""});
  const StopStringCriteria criterion(tokenizer, {"stop"});
  const auto ends = [&](const std::vector<std::string>& tokens) {
    const Ids ids = ids_of(tokenizer, tokens);
    return criterion.is_done({ids, {}, 0});
  };
  // The examples in the reference's documentation.
  EXPECT_TRUE(ends({"st", "op"}));
  EXPECT_TRUE(ends({"stop"}));
  EXPECT_TRUE(ends({"st", "opera"}));
  EXPECT_TRUE(ends({"sto", "pper"}));
  EXPECT_TRUE(ends({"las", "topper"}));
  EXPECT_TRUE(ends({"s", "to", "pped"}));
  EXPECT_FALSE(ends({"stop", "at"}));
  EXPECT_FALSE(ends({"st", "op", "at"}));
  EXPECT_FALSE(ends({"st", "opera", "tion"}));

  EXPECT_TRUE(ends({"x", "x", "x", "x", "s", "t", "op"}));
  EXPECT_FALSE(ends({"s", "x", "t", "op"}));
  EXPECT_FALSE(ends({"op"}));
  EXPECT_FALSE(ends({"s", "to"}));
  EXPECT_FALSE(ends({}));
  EXPECT_TRUE(ends({"st", "", "op"}));  // a token without text does not interrupt the match
}

TEST(StopStringCriteria, AnyOfSeveralTextsEndsTheRow) {
  const ToyTokenizer tokenizer({"abcdef", "a", "b", "aa", "ba"});
  const StopStringCriteria criterion(tokenizer, {"bb", "aba"});
  const auto ends = [&](const Ids& ids) { return criterion.is_done({ids, {}, 0}); };
  EXPECT_TRUE(ends({1, 2, 2}));
  EXPECT_TRUE(ends({1, 4}));
  EXPECT_TRUE(ends({3, 4}));
  EXPECT_TRUE(ends({2, 4}));
  EXPECT_FALSE(ends({2, 1, 1}));
  EXPECT_TRUE(StopStringCriteria(tokenizer, {""}).is_done({Ids{1}, {}, 0}));
}

TEST(StopStringCriteria, ACharacterMayConsistOfByteTokens) {
  const ToyTokenizer tokenizer({"abcdef", "<0x0A>", "<0xE2>", "<0x82>", "<0xAC>", "a"}, true);
  const StopStringCriteria criterion(tokenizer, {"a€", "\n\n"});
  const auto ends = [&](const Ids& ids) { return criterion.is_done({ids, {}, 0}); };
  EXPECT_EQ(tokenizer.token_text(3), "\x82");
  EXPECT_TRUE(ends({5, 2, 3, 4}));
  EXPECT_FALSE(ends({5, 2, 3}));
  EXPECT_FALSE(ends({2, 3, 4}));
  EXPECT_TRUE(ends({1, 1}));
  EXPECT_FALSE(ends({1, 5}));
}

TEST(StopStringCriteria, IdsOutsideTheVocabularyMatchNothing) {
  const ToyTokenizer tokenizer({"abcdef", "a"});
  const StopStringCriteria criterion(tokenizer, {"aa"});
  EXPECT_FALSE(criterion.is_done({Ids{1, -1}, {}, 0}));
  EXPECT_FALSE(criterion.is_done({Ids{77, 1}, {}, 0}));
  EXPECT_TRUE(criterion.is_done({Ids{77, 1, 1}, {}, 0}));
}

TEST(StopStringCriteria, TextsThatNoTokenCanCompleteAreRejected) {
  const ToyTokenizer tokenizer({"abcdef", "a", "b", ""});
  EXPECT_THROW(StopStringCriteria(tokenizer, {"ax"}), InputError);
  EXPECT_THROW(StopStringCriteria(tokenizer, {"ax", "ac"}), InputError);
  EXPECT_NO_THROW(StopStringCriteria(tokenizer, {"ax", "ba"}));  // one of them can be completed
  EXPECT_NO_THROW(StopStringCriteria(tokenizer, {""}));
}

class CountingTokenizer : public ToyTokenizer {
 public:
  using ToyTokenizer::ToyTokenizer;
  mutable std::atomic<int> decoded = 0;

 protected:
  std::string decode_ids(std::span<const std::int64_t> ids, bool skip) const override {
    ++decoded;
    return ToyTokenizer::decode_ids(ids, skip);
  }
};

TEST(StopStringCriteria, TextsOfTokensAreComputedOncePerTokenizer) {
  const CountingTokenizer tokenizer({"abcdef", "a", "b", "c", "d", "e", "stop"});
  const auto make = [&] { return StopStringCriteria(tokenizer, {"p"}); };
  const auto ends = [&](const Ids& ids) { return make().is_done({ids, {}, 0}); };
  const auto ends_in_four_threads = [&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        EXPECT_TRUE(ends({1, 6}));
        EXPECT_FALSE(ends({6, 1}));
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  ends_in_four_threads();  // a thread that finds the texts locked computes them, too
  EXPECT_TRUE(ends({1, 6}));
  const int decoded = tokenizer.decoded;
  EXPECT_GE(decoded, tokenizer.size());
  for (int i = 0; i < 50; ++i) ends_in_four_threads();
  EXPECT_EQ(tokenizer.decoded, decoded);
}

class TokenizerStops : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerStops, RowsEndWhereTheReferenceEndsThem) {
  const std::string name = GetParam();
  const Fixture fixture("generation/stop_strings");
  const auto tokenizer = AutoTokenizer::from_pretrained(fixtures_folder() / "tokenization" / name);
  const auto rows = fixture.lists(name + ".ids"), ends = fixture.lists(name + ".ends");
  const std::vector<std::string> strings = fixture.texts(name + ".strings");
  const Tensor counts = fixture[name + ".string_counts"];
  auto next = strings.begin();
  Index stops = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto end = next + counts.at<std::int32_t>({static_cast<Index>(r)});
    const StopStringCriteria criterion(*tokenizer, {next, end});
    for (std::size_t length = 1; length <= rows[r].size(); ++length) {
      const bool found = criterion.is_done({std::span(rows[r]).first(length), {}, 0});
      EXPECT_EQ(found, ends[r][length - 1] != 0)
          << name << ", row " << r << ", " << length << " ids, stop strings "
          << ::testing::PrintToString(std::vector<std::string>(next, end));
      stops += found ? 1 : 0;
    }
    next = end;
  }
  EXPECT_GE(stops, 50);
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerStops,
                         ::testing::Values("bert_hub", "opt_hub", "llama_hub", "llama_legacy_hub",
                                           "t5_hub"));

TEST(MaxLengthCriteria, WarnsOnceAboutRowsLongerThanTheModelsPositions) {
  const LogCapture log;
  const MaxLengthCriteria criterion(9, 6);
  const Ids ids(9, 1);
  const auto ends = [&](std::size_t length) {
    return criterion.is_done({std::span(ids).first(length), {}, 0});
  };
  EXPECT_FALSE(ends(6));
  EXPECT_EQ(log.messages().size(), 0u);
  EXPECT_FALSE(ends(7));
  EXPECT_FALSE(ends(8));
  EXPECT_TRUE(ends(9));
  EXPECT_EQ(log.messages().size(), 1u);
  EXPECT_TRUE(log.contains("maximum length (6,"));
  const MaxLengthCriteria last(7, 6);
  EXPECT_TRUE(last.is_done({std::span(ids).first(7), {}, 0}));
  EXPECT_EQ(log.messages().size(), 1u);  // the id that ends the row is not fed
}

}  // namespace
}  // namespace instructblip::testing
