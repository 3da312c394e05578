#include "instructblip/generation/stopping_criteria.h"

#include "generation/toy_tokenizer.h"

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
  // The examples of the reference's documentation.
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
  EXPECT_TRUE(ends({"st", "", "op"}));  // a token without text lets the match pass
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

TEST(StopStringCriteria, BytesOfACharacterMayBeTokensOfTheirOwn) {
  const ToyTokenizer tokenizer({"abcdef", "<0x0A>", "<0xE2>", "<0x82>", "<0xAC>", "a"}, true);
  const StopStringCriteria criterion(tokenizer, {"a€", "\n\n"});
  const auto ends = [&](const Ids& ids) { return criterion.is_done({ids, {}, 0}); };
  EXPECT_EQ(criterion.token_text(3), "\x82");
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

TEST(StoppingCriteria, ByteLevelTokensStandForTheirBytes) {
  EXPECT_EQ(detail::byte_level_bytes("\xC4\xA0"
                                     "a"),
            " a");                                                // U+0120: space
  EXPECT_EQ(detail::byte_level_bytes("\xC4\x8A"), "\n");          // U+010A
  EXPECT_EQ(detail::byte_level_bytes("\xC3\xA9"), "\xE9");        // itself
  EXPECT_EQ(detail::byte_level_bytes("\xC5\x83"), "\xAD");        // U+0143: the last
  EXPECT_EQ(detail::byte_level_bytes("\xC5\x84"), std::nullopt);  // U+0144
  EXPECT_EQ(detail::byte_level_bytes("a b"), std::nullopt);       // an added token
  EXPECT_EQ(detail::byte_level_bytes("\xE2\x82\xAC"), std::nullopt);
  EXPECT_EQ(detail::byte_level_bytes("\xC4"), std::nullopt);
}

}  // namespace
}  // namespace instructblip::testing
