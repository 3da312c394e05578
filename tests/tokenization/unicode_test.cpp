#include "tokenization/unicode.h"

#include "support/crc32.h"
#include "support/fixtures.h"
#include "tokenization/precompiled.h"
#include "tokenization/sentencepiece_model.h"

namespace instructblip {
namespace {

using testing::Fixture;

std::string utf8(char32_t c) {
  std::string text;
  unicode::append(text, c);
  return text;
}

/// Compares with the checksums of unicode_functions in tests/reference/tokenization.py.
void expect_for_all_code_points(const std::string& name,
                                const std::function<std::string(const std::string&)>& function) {
  const Tensor expected = Fixture("tokenization/unicode")[name];
  for (char32_t block = 0; block < 0x110; ++block) {
    std::string results;
    for (char32_t c = block << 12; c < (block + 1) << 12; ++c) {
      if (c < 0xd800 || c > 0xdfff) results += function(utf8(c));
    }
    EXPECT_EQ(testing::crc32(results), expected.data<std::int64_t>()[block])
        << name << " of code points from " << std::hex << std::uint32_t{block << 12};
  }
}

TEST(Unicode, EveryCodePointIsDecomposedAsInTheReference) {
  expect_for_all_code_points("nfd", unicode::decompose);
}

TEST(Unicode, EveryCodePointHasTheReferencesPlaceAmongMarks) {
  expect_for_all_code_points("order", [](const std::string& c) {
    std::string all;
    for (const std::string& text :
         {"\u0345" + c + "\u0334", "\u05b0" + c + "\u0e38", "\u302a" + c + "\u0300",
          c + c + "\u0323", "\u0327" + c + "\u0591"}) {
      all += unicode::decompose(text);
    }
    return all;
  });
}

TEST(Unicode, EveryCodePointHasTheReferencesLowerCase) {
  expect_for_all_code_points("lower", unicode::lower_case);
}

TEST(Unicode, EveryCodePointIsPrintedAtOnceOrHeldBackAsInTheReference) {
  expect_for_all_code_points("text", [](const std::string& c) {
    return unicode::is_word_or_space(unicode::code_points(c)[0]) ? "1" : "0";
  });
}

TEST(Unicode, GraphemeClustersAreMappedAsInTheReference) {
  const Fixture fixture("tokenization/unicode");
  const auto texts = fixture.texts("clusters"), mapped = fixture.texts("mapped");
  const auto model = tokenization::read_sentencepiece_model(testing::fixtures_folder() /
                                                            "tokenization/t5_hub/spiece.model");
  const tokenization::Precompiled charsmap(model.precompiled_charsmap, "test");
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(charsmap.normalize(texts[i]), mapped[i]) << i << ": " << texts[i];
  }
}

TEST(Unicode, GraphemeClustersEndWhereTheStandardSays) {
  const auto ends = [](std::u32string_view characters) {
    std::vector<std::size_t> found;
    std::string text;
    std::map<std::size_t, std::size_t> index;  // of bytes
    for (const char32_t c : characters) {
      text += utf8(c);
      index[text.size()] = index.size() + 1;
    }
    for (const std::size_t end : unicode::grapheme_ends(text)) found.push_back(index[end]);
    return found;
  };
  using Ends = std::vector<std::size_t>;
  EXPECT_EQ(ends(U"a\u0301\u0301b"), (Ends{3, 4}));
  EXPECT_EQ(ends(U"\r\n\n\r\u0301"), (Ends{2, 3, 4, 5}));
  EXPECT_EQ(ends(U"\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\U0001f1ec"), (Ends{2, 4, 5}));
  EXPECT_EQ(ends(U"\U0001f468\U0001f3fd\u200d\U0001f469\u200d\U0001f467!"), (Ends{6, 7}));
  EXPECT_EQ(ends(U"\U0001f468\u200d\u0301\U0001f469"), (Ends{3, 4}));
  EXPECT_EQ(ends(U"\u1100\u1161\u11a8\uac00\u11a8\uac01\u1161"), (Ends{3, 5, 6, 7}));
  EXPECT_EQ(ends(U"\u0915\u094d\u0915\u0915\u0903\u0915"), (Ends{3, 5, 6}));
  EXPECT_EQ(ends(U"\u0600a\u0600\n"), (Ends{2, 3, 4}));
}

TEST(Unicode, TheTwoTablesOfChineseCharactersDifferAsInTheReference) {
  for (const char32_t c : {0x4e00, 0x9fff, 0x2b81f, 0x2b920, 0x2ceaf}) {
    EXPECT_TRUE(unicode::is_chinese(c)) << std::hex << std::uint32_t{c};
    EXPECT_TRUE(unicode::is_bert_chinese(c)) << std::hex << std::uint32_t{c};
  }
  for (const char32_t c : {0x2b820, 0x2b91f}) {
    EXPECT_TRUE(unicode::is_chinese(c)) << std::hex << std::uint32_t{c};
    EXPECT_FALSE(unicode::is_bert_chinese(c)) << std::hex << std::uint32_t{c};
  }
  for (const char32_t c : {0x4dff, 0xa000, 0x2ceb0}) EXPECT_FALSE(unicode::is_chinese(c));
}

TEST(Unicode, CodePointsReplaceBrokenSequences) {
  const std::vector<char32_t> expected = {'a', 0xe9, 0xfffd, 'b', 0x1f600, 0xfffd};
  EXPECT_EQ(unicode::code_points("a\xc3\xa9\xff"
                                 "b\xf0\x9f\x98\x80\xe4\xb8"),
            expected);
}

}  // namespace
}  // namespace instructblip
