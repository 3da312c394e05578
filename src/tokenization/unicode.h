// Text as the reference sees it: UTF-8, character classes, decomposition, lower case, grapheme
// clusters.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace instructblip::unicode {

/// Offset of the first byte that is not part of valid UTF-8 (surrogates and overlong forms are
/// not).
std::optional<std::size_t> first_invalid_byte(std::string_view text);

/// Bytes of the character that begins with `lead`; text is valid.
inline std::size_t sequence_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}
/// The character at `offset`, which is moved behind it; text is valid.
char32_t next(std::string_view text, std::size_t& offset);
/// Offset of the character that ends at `offset` > 0; text is valid.
std::size_t previous(std::string_view text, std::size_t offset);
std::size_t length(std::string_view text);
void append(std::string& text, char32_t character);
/// The characters of any bytes; what is not UTF-8 becomes U+FFFD, as in `lossy`.
std::vector<char32_t> code_points(std::string_view bytes);
std::string from_code_points(const std::vector<char32_t>& characters);
/// Bytes as text: each maximal part of a broken sequence becomes U+FFFD, as Rust's from_utf8_lossy.
std::string lossy(std::string_view bytes);

bool is_whitespace(char32_t c);
bool is_bert_control(char32_t c);
bool is_bert_nonspacing_mark(char32_t c);
bool is_bert_punctuation(char32_t c);
/// The blocks of Chinese characters, as transformers' TextStreamer has them.
bool is_chinese(char32_t c);
/// As tokenizers' BertNormalizer has them.
bool is_bert_chinese(char32_t c);
bool is_letter(char32_t c);
bool is_number(char32_t c);
bool is_word(char32_t c);
/// Python's str.isspace, or a category that begins with L, M or N.
bool is_word_or_space(char32_t c);

/// Canonical decomposition (NFD) of valid text.
std::string decompose(std::string_view text);
/// Lower case, character by character.
std::string lower_case(std::string_view text);
/// Ends of the extended grapheme clusters of valid text.
std::vector<std::size_t> grapheme_ends(std::string_view text);

}  // namespace instructblip::unicode
