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

extern const CodePointSet bert_control;          ///< removed by BertNormalizer's clean_text
extern const CodePointSet bert_nonspacing_mark;  ///< removed by strip_accents
extern const CodePointSet bert_punctuation;      ///< a word of its own for BertPreTokenizer
extern const CodePointSet letter, number;        ///< \p{L} and \p{N} of GPT-2's pattern
extern const CodePointSet word;                  ///< \w of AddedToken::single_word
/// Where the reference is not what utf8proc is: combining class 0, no decomposition, continues a
/// cluster.
extern const CodePointSet combining_class_zero, kept_whole, grapheme_extend;
extern const std::span<const LowerCase> lower_case_differences;

}  // namespace instructblip::unicode
