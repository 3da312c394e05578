#include "tokenization/byte_level.h"

#include <array>

#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

bool is_printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/// Printable bytes represent themselves; the others are mapped to U+0100 and up, in order.
struct Alphabet {
  std::array<std::string, 256> character;
  std::array<int, 0x144> byte;

  Alphabet() {
    byte.fill(-1);
    char32_t other = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const char32_t c = is_printable(b) ? b : other++;
      unicode::append(character[b], c);
      byte[c] = static_cast<int>(b);
    }
  }
};

const Alphabet& alphabet() {
  // Never destroyed: another thread may tokenize while the process ends.
  static const Alphabet& instance = *new Alphabet;
  return instance;
}

enum class Kind { Space, Letter, Number, Other };

Kind kind_of(char32_t c) {
  if (unicode::is_letter(c)) return Kind::Letter;
  if (unicode::is_number(c)) return Kind::Number;
  return unicode::is_whitespace(c) ? Kind::Space : Kind::Other;
}

/// The end of the run of characters of one kind that starts at `offset`.
std::size_t run_end(std::string_view text, std::size_t offset, Kind kind) {
  while (offset < text.size()) {
    std::size_t behind = offset;
    if (kind_of(unicode::next(text, behind)) != kind) break;
    offset = behind;
  }
  return offset;
}

}  // namespace

std::string to_byte_characters(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) text += alphabet().character[static_cast<unsigned char>(byte)];
  return text;
}

std::optional<std::string> from_byte_characters(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t offset = 0; offset < text.size();) {
    const char32_t c = unicode::next(text, offset);
    if (c >= alphabet().byte.size() || alphabet().byte[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet().byte[c]));
  }
  return bytes;
}

std::size_t byte_level_piece_end(std::string_view text, std::size_t begin) {
  if (text[begin] == '\'') {
    for (const std::string_view suffix : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (text.substr(begin, suffix.size()) == suffix) return begin + suffix.size();
    }
  }
  std::size_t behind = begin;
  Kind kind = kind_of(unicode::next(text, behind));
  if (kind != Kind::Space) return run_end(text, behind, kind);
  if (text[begin] == ' ' && behind < text.size()) {
    std::size_t behind_next = behind;
    kind = kind_of(unicode::next(text, behind_next));
    if (kind != Kind::Space) return run_end(text, behind_next, kind);
  }
  // The last of several white-space characters before a word belongs to the word.
  const std::size_t end = run_end(text, behind, Kind::Space);
  return end == text.size() || end == behind ? end : unicode::previous(text, end);
}

}  // namespace instructblip::tokenization
