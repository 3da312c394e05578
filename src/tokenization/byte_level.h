// GPT-2's alphabet: each byte is written as a printable character.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace instructblip::tokenization {

std::string to_byte_characters(std::string_view bytes);
/// Nothing if a character represents no byte. The text must be valid UTF-8.
std::optional<std::string> from_byte_characters(std::string_view text);

/// The end of the match of GPT-2's pattern that starts at `begin`: 's|'t|'re|'ve|'m|'ll|'d|
/// ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t byte_level_piece_end(std::string_view text, std::size_t begin);

}  // namespace instructblip::tokenization
