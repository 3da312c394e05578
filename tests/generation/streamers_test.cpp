#include "instructblip/generation/streamers.h"

#include "generation/toy_tokenizer.h"
#include "instructblip/core/error.h"

namespace instructblip::testing {
namespace {

class Streams : public ::testing::Test {
 protected:
  std::vector<std::string> stream(const std::vector<std::int64_t>& prompt,
                                  const std::vector<std::int64_t>& ids, bool skip_prompt = true) {
    std::vector<std::string> pieces;
    TextStreamer streamer(
        tokenizer,
        [&](std::string_view piece) {
          pieces.emplace_back(piece);
          return true;
        },
        skip_prompt);
    streamer.put(Tensor(prompt, {1, static_cast<Index>(prompt.size())}));
    for (const std::int64_t id : ids) streamer.put(Tensor(std::vector<std::int64_t>{id}, {1}));
    streamer.end();
    return pieces;
  }

  // 0 .. 3: the four bytes of a dog's face
  ToyTokenizer tokenizer{
      {"\xF0", "\x9F", "\x90", "\xB6", "A", " dog", ".", " ", "\n", "犬", "!", "(", "é"}};
};

TEST_F(Streams, NoPieceSplitsACharacter) {
  EXPECT_EQ(stream({4}, {4, 5, 0, 1, 2, 3, 7, 4}),
            (std::vector<std::string>{"A", " dog", "🐶 ", "A"}));
  // The face is a symbol and waits for the next space or the end.
  EXPECT_EQ(stream({4}, {5, 0, 1, 2, 3}), (std::vector<std::string>{" dog", "🐶"}));
}

TEST_F(Streams, AnUnfinishedCharacterComesAtTheEndAsTheReplacementCharacter) {
  EXPECT_EQ(stream({4}, {4, 0, 1}), (std::vector<std::string>{"A", "\xEF\xBF\xBD"}));
}

TEST_F(Streams, PiecesEndWhereTheReferenceEndsThem) {
  EXPECT_EQ(stream({4}, {4, 6, 5, 12, 9, 9, 10, 8, 7, 4}),
            (std::vector<std::string>{"A", ". ", "dogé", "犬", "犬", "!\n", " ", "A"}));
}

TEST_F(Streams, PromptIsShownUnlessSkipped) {
  EXPECT_EQ(stream({4, 5}, {4}, false), (std::vector<std::string>{"A dog", "A"}));
  EXPECT_EQ(stream({4, 5}, {4}, true), (std::vector<std::string>{"A"}));
}

TEST_F(Streams, MayBeUsedAgainAndSaysWhetherToGoOn) {
  std::string text;
  TextStreamer streamer(
      tokenizer,
      [&](std::string_view piece) {
        text += piece;
        return text.size() < 2;
      },
      true);
  for (int round = 0; round < 2; ++round) {
    text.clear();
    EXPECT_TRUE(streamer.put(Tensor(std::vector<std::int64_t>{9, 9}, {1, 2})));
    EXPECT_TRUE(streamer.put(Tensor(std::vector<std::int64_t>{4}, {1})));
    EXPECT_FALSE(streamer.put(Tensor(std::vector<std::int64_t>{4}, {1})));
    streamer.end();
    EXPECT_EQ(text, "AA");
  }
}

TEST_F(Streams, SeveralRowsAreRefused) {
  TextStreamer streamer(tokenizer, {});
  EXPECT_THROW(streamer.put(Tensor(std::vector<std::int64_t>{4, 5}, {2, 1})), InputError);
  TextStreamer another(tokenizer, {});
  another.put(Tensor(std::vector<std::int64_t>{4}, {1, 1}));
  EXPECT_THROW(another.put(Tensor(std::vector<std::int64_t>{4, 5}, {2})), InputError);
}

}  // namespace
}  // namespace instructblip::testing
