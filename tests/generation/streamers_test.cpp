#include "instructblip/generation/streamers.h"

#include <random>

#include "generation/toy_tokenizer.h"
#include "instructblip/core/error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"

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
  // The face is a symbol, so it is held back until the next space or the end.
  EXPECT_EQ(stream({4}, {5, 0, 1, 2, 3}), (std::vector<std::string>{" dog", "🐶"}));
}

TEST_F(Streams, AnIncompleteCharacterEndsAsTheReplacementCharacter) {
  EXPECT_EQ(stream({4}, {4, 0, 1}), (std::vector<std::string>{"A", "\xEF\xBF\xBD"}));
}

TEST_F(Streams, PiecesEndWhereTheReferenceEndsThem) {
  EXPECT_EQ(stream({4}, {4, 6, 5, 12, 9, 9, 10, 8, 7, 4}),
            (std::vector<std::string>{"A", ". ", "dogé", "犬", "犬", "!\n", " ", "A"}));
}

TEST_F(Streams, CombiningMarksAndDigitsAreNotHeldBack) {
  tokenizer = ToyTokenizer({"e", "\u0301", "7"});
  EXPECT_EQ(stream({0}, {0, 1, 2, 0}), (std::vector<std::string>{"e", "\u0301", "7", "e"}));
}

TEST_F(Streams, PromptIsShownUnlessSkipped) {
  EXPECT_EQ(stream({4, 5}, {4}, false), (std::vector<std::string>{"A dog", "A"}));
  EXPECT_EQ(stream({4, 5}, {4}, true), (std::vector<std::string>{"A"}));
}

TEST_F(Streams, CanBeReusedAndReturnsWhetherToContinue) {
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

TEST_F(Streams, SeveralRowsAreRejected) {
  TextStreamer streamer(tokenizer, {});
  EXPECT_THROW(streamer.put(Tensor(std::vector<std::int64_t>{4, 5}, {2, 1})), InputError);
  TextStreamer another(tokenizer, {});
  another.put(Tensor(std::vector<std::int64_t>{4}, {1, 1}));
  EXPECT_THROW(another.put(Tensor(std::vector<std::int64_t>{4, 5}, {2})), InputError);
}

using Ids = std::vector<std::int64_t>;

/// The pieces of text if the ids arrive one by one.
std::vector<std::string> stream(const Tokenizer& tokenizer, const Ids& ids,
                                const DecodeOptions& options) {
  std::vector<std::string> pieces;
  TextStreamer streamer(
      tokenizer, [&](std::string_view piece) { return pieces.emplace_back(piece), true; }, false,
      options);
  for (const std::int64_t id : ids) streamer.put(Tensor(Ids{id}, {1}));
  streamer.end();
  return pieces;
}

std::string join(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

bool begins_inside_a_character(std::string_view piece) {
  return (static_cast<unsigned char>(piece.front()) & 0xC0) == 0x80;
}

/// One tokenizer of each kind, from the fixtures in tokenization/.
class TokenizerStreams : public ::testing::TestWithParam<const char*> {
 protected:
  /// Whether bytes or spaces can still change. They are held back here, but not in the reference.
  bool holds_back(const Ids& ids, const DecodeOptions& options) const {
    if (*options.clean_up_tokenization_spaces) return true;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string token = tokenizer->convert_ids_to_tokens(ids[i]).value_or("");
      const std::string text = tokenizer->decode(std::span(ids).first(i + 1), options);
      if (token.starts_with("<0x") || text.ends_with("\xEF\xBF\xBD")) return true;
    }
    return false;
  }

  const std::string name = GetParam();
  const LogCapture log;  // "clean_up_tokenization_spaces is ignored", once per program
  const std::unique_ptr<Tokenizer> tokenizer =
      AutoTokenizer::from_pretrained(fixtures_folder() / "tokenization" / name);
};

TEST_P(TokenizerStreams, PiecesEqualTheReferencesIfNothingIsHeldBack) {
  const Fixture fixture("generation/streamers");
  const auto sequences = fixture.lists(name + ".ids");
  const auto decoded = fixture.texts(name + ".decoded"), all = fixture.texts(name + ".pieces");
  const Tensor switches = fixture[name + ".switches"], counts = fixture[name + ".piece_counts"];
  auto next = all.begin();
  Index equal = 0;
  for (Index i = 0; i < static_cast<Index>(sequences.size()); ++i) {
    SCOPED_TRACE(name + ", case " + std::to_string(i));
    const Ids& ids = sequences[static_cast<std::size_t>(i)];
    const DecodeOptions options{switches.at<std::int32_t>({i, 0}) != 0,
                                switches.at<std::int32_t>({i, 1}) != 0};
    const std::vector<std::string> expected(next, next + counts.at<std::int32_t>({i}));
    next += counts.at<std::int32_t>({i});
    const auto found = stream(*tokenizer, ids, options);
    EXPECT_EQ(join(found), decoded[static_cast<std::size_t>(i)]);
    if (join(expected) != decoded[static_cast<std::size_t>(i)] || holds_back(ids, options))
      continue;
    EXPECT_EQ(found, expected);
    ++equal;
  }
  EXPECT_GE(equal, 3);
}

TEST_P(TokenizerStreams, PiecesFormTheTextForAllIdsAndOptions) {
  std::mt19937 random(31);
  const auto below = [&](Index n) {
    return static_cast<Index>(random() % static_cast<unsigned>(n));
  };
  const std::vector<std::string> snippets = {
      " .", " ?", " ' ", " n't", " 'm",         " 's",  " 've", " 're",  "'",
      " ",  "  ", "\n",  "🐶",    "👩‍🚀", "中文", "word", "a ' m", "\xEF\xBF\xBD"};
  const Ids special = tokenizer->all_special_ids();
  Ids bytes;
  for (std::int64_t id = 0; id < tokenizer->size(); ++id) {
    if (tokenizer->convert_ids_to_tokens(id).value_or("").starts_with("<0x")) bytes.push_back(id);
  }
  const auto add = [&](Ids& ids) {
    const Index kind = below(20);
    if (kind < 8) {
      const Ids more = tokenizer->encode(snippets[static_cast<std::size_t>(below(18))],
                                         {.add_special_tokens = false});
      ids.insert(ids.end(), more.begin(), more.end());
    } else if (kind < 11 && !bytes.empty()) {
      ids.push_back(bytes[static_cast<std::size_t>(below(static_cast<Index>(bytes.size())))]);
    } else if (kind < 13) {
      ids.push_back(special[static_cast<std::size_t>(below(static_cast<Index>(special.size())))]);
    } else {
      ids.push_back(below(tokenizer->size() + 2));  // or outside the vocabulary
    }
  };
  for (int i = 0; i < 400; ++i) {
    Ids ids;
    const Index length = i % 8 == 0 ? 200 : 1 + below(24);
    while (static_cast<Index>(ids.size()) < length) add(ids);
    const DecodeOptions options{i % 2 == 0, i / 2 % 2 == 0};
    const auto pieces = stream(*tokenizer, ids, options);
    ASSERT_EQ(join(pieces), tokenizer->decode(ids, options)) << ::testing::PrintToString(ids);
    for (const std::string& piece : pieces) {
      ASSERT_FALSE(piece.empty() || begins_inside_a_character(piece)) << join(pieces);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerStreams,
                         ::testing::Values("bert_hub", "opt_hub", "llama_hub", "llama_legacy_hub",
                                           "t5_hub"));

TEST(CleanedUpStreams, PossibleContractionsAreHeldBack) {
  const auto tokenizer = AutoTokenizer::from_pretrained(fixtures_folder() / "tokenization/t5_hub");
  const auto pieces = [&](const std::string& text) {
    return stream(*tokenizer, tokenizer->encode(text, {.add_special_tokens = false}),
                  {.clean_up_tokenization_spaces = true});
  };
  EXPECT_EQ(join(pieces("it is n't , is it ?")), "it isn't, is it?");
  EXPECT_EQ(join(pieces("a ' m ' b")), "a'm'b");
  EXPECT_EQ(join(pieces("you ' re .")), "you're.");
}

}  // namespace
}  // namespace instructblip::testing
