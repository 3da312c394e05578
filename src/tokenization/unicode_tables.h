// Tables of unicode_tables.cpp, which tests/reference/unicode_tables.py writes.
#pragma once

#include <span>

namespace instructblip::unicode {

struct CodePointRange {
  char32_t first, last;
};
/// Ascending, disjoint.
using CodePointSet = std::span<const CodePointRange>;

struct LowerCase {
  char32_t from;
  char32_t to[2];  ///< the second is 0 where there is one
};

extern const CodePointSet kBertControl;         ///< removed by BertNormalizer's clean_text
extern const CodePointSet kBertNonspacingMark;  ///< removed by strip_accents
extern const CodePointSet kBertPunctuation;     ///< a word of its own for BertPreTokenizer
extern const CodePointSet kLetter, kNumber;     ///< \p{L} and \p{N} of GPT-2's pattern
extern const CodePointSet kWord;                ///< \w of AddedToken::single_word
/// Where the reference is not what utf8proc is: combining class 0, no decomposition, continues a
/// cluster.
extern const CodePointSet kCombiningClassZero, kKeptWhole, kGraphemeExtend;
extern const std::span<const LowerCase> kLowerCaseDifferences;

}  // namespace instructblip::unicode
