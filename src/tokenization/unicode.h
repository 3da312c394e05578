// Unicode as in the reference: UTF-8, character classes, decomposition, lower case, grapheme
// clusters.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace instructblip::unicode {

/// The offset of the first byte that is not part of valid UTF-8 (surrogates and overlong forms are
/// invalid).
std::optional<std::size_t> first_invalid_byte(std::string_view text);

/// The number of bytes of the character that starts with `lead`. The text must be valid.
inline std::size_t sequence_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}
/// The character at `offset`, which is advanced past it. The text must be valid.
char32_t next(std::string_view text, std::size_t& offset);
/// The offset of the character that ends at `offset` > 0. The text must be valid.
std::size_t previous(std::string_view text, std::size_t offset);
std::size_t length(std::string_view text);
void append(std::string& text, char32_t character);
/// The characters of arbitrary bytes; invalid sequences become U+FFFD, as in `lossy`.
std::vector<char32_t> code_points(std::string_view bytes);
std::string from_code_points(const std::vector<char32_t>& characters);
/// Arbitrary bytes as valid text; each maximal part of an invalid sequence becomes U+FFFD, as in
/// Rust's from_utf8_lossy.
std::string lossy(std::string_view bytes);

bool is_whitespace(char32_t c);
bool is_bert_control(char32_t c);
bool is_bert_nonspacing_mark(char32_t c);
bool is_bert_punctuation(char32_t c);
/// Whether a character is Chinese according to transformers' TextStreamer.
bool is_chinese(char32_t c);
/// Whether a character is Chinese according to the BertNormalizer of tokenizers.
bool is_bert_chinese(char32_t c);
bool is_letter(char32_t c);
bool is_number(char32_t c);
bool is_word(char32_t c);
/// Python's str.isspace, or a category that starts with L, M or N.
bool is_word_or_space(char32_t c);

/// Canonical decomposition (NFD) of valid text.
std::string decompose(std::string_view text);
/// Lower case, character by character.
std::string lower_case(std::string_view text);
/// The ends of the extended grapheme clusters of valid text.
std::vector<std::size_t> grapheme_ends(std::string_view text);

}  // namespace instructblip::unicode
