#include "tokenization/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>

#include "tokenization/unicode_tables.h"

namespace instructblip::unicode {
namespace {

bool contains(CodePointSet set, char32_t c) {
  const auto after =
      std::upper_bound(set.begin(), set.end(), c,
                       [](char32_t value, CodePointRange range) { return value < range.first; });
  return after != set.begin() && c <= (after - 1)->last;
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0u) == 0x80u; }

/// `valid`: the number of bytes of the character at `offset`, or 0 if there is none. Then `broken`
/// is the number of bytes of the invalid sequence.
struct Sequence {
  std::size_t valid = 0, broken = 0;
};

Sequence sequence_at(std::string_view text, std::size_t offset) {
  const auto lead = static_cast<unsigned char>(text[offset]);
  if (lead < 0x80) return {1, 0};
  if (lead < 0xc2 || lead > 0xf4) return {0, 1};
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The range of the second byte excludes overlong forms, surrogates and code points above
  // U+10FFFF.
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (std::size_t i = 1; i < length; ++i) {
    if (offset + i >= text.size()) return {0, i};
    const auto byte = static_cast<unsigned char>(text[offset + i]);
    const bool fits = i == 1 ? byte >= low && byte <= high : is_continuation(text[offset + i]);
    if (!fits) return {0, i};
  }
  return {length, 0};
}

int combining_class(char32_t c) {
  const int value = utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
  return value != 0 && contains(kCombiningClassZero, c) ? 0 : value;
}

void order_marks(std::vector<char32_t>& characters) {
  for (std::size_t begin = 0; begin < characters.size();) {
    if (characters[begin] < 0x300 || combining_class(characters[begin]) == 0) {
      ++begin;
      continue;
    }
    std::size_t end = begin + 1;
    while (end < characters.size() && combining_class(characters[end]) != 0) ++end;
    std::stable_sort(
        characters.begin() + static_cast<std::ptrdiff_t>(begin),
        characters.begin() + static_cast<std::ptrdiff_t>(end),
        [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

/// A character that utf8proc treats as the reference treats `c`.
char32_t grapheme_stand_in(char32_t c) {
  if (c < 0x300) return c;
  if (c == 0x113d1) return 0x600;  // joins the next character
  if (c == 0x11a3a) return U'a';   // does not
  return contains(kGraphemeExtend, c) ? 0x300 : c;
}

constexpr CodePointRange kConjunctConsonants[] = {
    {0x915, 0x939}, {0x958, 0x95f}, {0x978, 0x97f}, {0x995, 0x9a8}, {0x9aa, 0x9b0}, {0x9b2, 0x9b2},
    {0x9b6, 0x9b9}, {0x9dc, 0x9dd}, {0x9df, 0x9df}, {0x9f0, 0x9f1}, {0xa95, 0xaa8}, {0xaaa, 0xab0},
    {0xab2, 0xab3}, {0xab5, 0xab9}, {0xaf9, 0xaf9}, {0xb15, 0xb28}, {0xb2a, 0xb30}, {0xb32, 0xb33},
    {0xb35, 0xb39}, {0xb5c, 0xb5d}, {0xb5f, 0xb5f}, {0xb71, 0xb71}, {0xc15, 0xc28}, {0xc2a, 0xc39},
    {0xc58, 0xc5a}, {0xd15, 0xd3a}};
constexpr char32_t kConjunctLinkers[] = {0x94d, 0x9cd, 0xacd, 0xb4d, 0xc4d, 0xd4d};

/// Rule GB9c, which utf8proc supports since 2.9: consonant, linker, consonant form one cluster.
class Conjunct {
 public:
  bool joins(char32_t c) {
    const bool consonant = c >= 0x915 && contains(kConjunctConsonants, c);
    const bool joined = consonant && state_ == State::Linked;
    if (consonant) {
      state_ = State::Consonant;
    } else if (state_ != State::None) {
      if (std::find(std::begin(kConjunctLinkers), std::end(kConjunctLinkers), c) !=
          std::end(kConjunctLinkers)) {
        state_ = State::Linked;
      } else {
        const auto kind = utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->boundclass;
        if (kind != UTF8PROC_BOUNDCLASS_EXTEND && kind != UTF8PROC_BOUNDCLASS_ZWJ) {
          state_ = State::None;
        }
      }
    }
    return joined;
  }

 private:
  enum class State { None, Consonant, Linked };
  State state_ = State::None;
};

}  // namespace

std::optional<std::size_t> first_invalid_byte(std::string_view text) {
  for (std::size_t offset = 0; offset < text.size();) {
    const std::size_t valid = sequence_at(text, offset).valid;
    if (valid == 0) return offset;
    offset += valid;
  }
  return std::nullopt;
}

char32_t next(std::string_view text, std::size_t& offset) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[offset + i]));
  };
  const char32_t lead = byte(0);
  char32_t c = lead;
  const std::size_t length = sequence_length(text[offset]);
  if (length == 2) {
    c = (lead & 0x1f) << 6 | (byte(1) & 0x3f);
  } else if (length == 3) {
    c = (lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
  } else if (length == 4) {
    c = (lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
  }
  offset += length;
  return c;
}

std::size_t previous(std::string_view text, std::size_t offset) {
  do --offset;
  while (offset > 0 && is_continuation(text[offset]));
  return offset;
}

std::size_t length(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return !is_continuation(byte); }));
}

void append(std::string& text, char32_t c) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

std::vector<char32_t> code_points(std::string_view bytes) {
  const std::string text = lossy(bytes);
  std::vector<char32_t> characters;
  for (std::size_t offset = 0; offset < text.size();) characters.push_back(next(text, offset));
  return characters;
}

std::string from_code_points(const std::vector<char32_t>& characters) {
  std::string text;
  text.reserve(characters.size());
  for (const char32_t c : characters) append(text, c);
  return text;
}

std::string lossy(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t offset = 0; offset < bytes.size();) {
    const Sequence sequence = sequence_at(bytes, offset);
    if (sequence.valid != 0) {
      text.append(bytes.substr(offset, sequence.valid));
      offset += sequence.valid;
    } else {
      text.append("\xef\xbf\xbd");
      offset += sequence.broken;
    }
  }
  return text;
}

bool is_whitespace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_bert_control(char32_t c) { return contains(kBertControl, c); }
bool is_bert_nonspacing_mark(char32_t c) { return contains(kBertNonspacingMark, c); }
bool is_bert_punctuation(char32_t c) { return contains(kBertPunctuation, c); }

bool is_chinese(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

// The tokenizers library has a typo, 0x2b920 instead of 0x2b820, so 256 characters are not
// included.
bool is_bert_chinese(char32_t c) { return is_chinese(c) && !(c >= 0x2b820 && c < 0x2b920); }

bool is_letter(char32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  return contains(kLetter, c);
}

bool is_number(char32_t c) { return c < 0x80 ? c >= '0' && c <= '9' : contains(kNumber, c); }
bool is_word(char32_t c) { return contains(kWord, c); }

bool is_word_or_space(char32_t c) {
  if ((c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f) || c == 0x85) return true;
  const std::string_view category = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
  return category == "Zs" || category == "Zl" || category == "Zp" || category[0] == 'L' ||
         category[0] == 'M' || category[0] == 'N';
}

std::string decompose(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char b) { return (b & 0x80) == 0; })) {
    return std::string(text);
  }
  std::vector<char32_t> characters;
  characters.reserve(text.size());
  for (std::size_t offset = 0; offset < text.size();) {
    const char32_t c = next(text, offset);
    if (c < 0xc0 || contains(kKeptWhole, c)) {
      characters.push_back(c);
      continue;
    }
    utf8proc_int32_t parts[32];
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 32, options, nullptr);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      characters.push_back(static_cast<char32_t>(parts[i]));
    }
  }
  order_marks(characters);
  return from_code_points(characters);
}

std::string lower_case(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (std::size_t offset = 0; offset < text.size();) {
    const char32_t c = next(text, offset);
    if (c < 0x80) {
      lower.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
      continue;
    }
    const auto found =
        std::lower_bound(kLowerCaseDifferences.begin(), kLowerCaseDifferences.end(), c,
                         [](const LowerCase& item, char32_t value) { return item.from < value; });
    if (found != kLowerCaseDifferences.end() && found->from == c) {
      append(lower, found->to[0]);
      if (found->to[1] != 0) append(lower, found->to[1]);
    } else {
      append(lower, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return lower;
}

std::vector<std::size_t> grapheme_ends(std::string_view text) {
  std::vector<std::size_t> ends;
  utf8proc_int32_t state = 0;
  Conjunct conjunct;
  char32_t before = 0;
  for (std::size_t offset = 0; offset < text.size();) {
    const std::size_t begin = offset;
    const char32_t c = next(text, offset);
    const char32_t stand_in = grapheme_stand_in(c);
    const bool joined = conjunct.joins(c);
    if (begin > 0) {
      const bool ends_here = utf8proc_grapheme_break_stateful(
          static_cast<utf8proc_int32_t>(before), static_cast<utf8proc_int32_t>(stand_in), &state);
      if (ends_here && !joined) ends.push_back(begin);
    }
    before = stand_in;
  }
  if (!text.empty()) ends.push_back(text.size());
  return ends;
}

}  // namespace instructblip::unicode
