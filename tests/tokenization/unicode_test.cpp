#include "tokenization/unicode.h"

namespace instructblip {
namespace {

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
