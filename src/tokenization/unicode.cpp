#include "tokenization/unicode.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_map>

#include "tokenization/unicode_tables.h"

namespace instructblip::unicode {
namespace {

/// The tables, decoded.
class Tables {
 public:
  static const Tables& get() {
    // Never destroyed: a thread may still tokenize while the process ends.
    static const Tables& tables = *new Tables;
    return tables;
  }

  Properties properties(char32_t c) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), c);
    return kProperties[records_[static_cast<std::size_t>(after - starts_.begin()) - 1]];
  }
  /// The one or two characters of a canonical decomposition, or none; the second may be 0.
  const std::array<char32_t, 2>* decomposition(char32_t c) const {
    const auto found = decompositions_.find(c);
    return found == decompositions_.end() ? nullptr : &found->second;
  }

 private:
  Tables() {
    char32_t c = 0;
    for (std::size_t i = 0; i < kRuns.size(); c += kRuns[i], i += 2) {
      starts_.push_back(c);
      records_.push_back(kRuns[i + 1]);
    }
    c = 0;
    for (std::size_t i = 0; i < kSingles.size(); i += 2) {
      c += kSingles[i];
      decompositions_[c] = {kSingles[i + 1], 0};
    }
    c = 0;
    for (std::size_t i = 0; i < kPairs.size(); i += 3) {
      c += kPairs[i];
      decompositions_[c] = {kPairs[i + 1], kPairs[i + 2]};
    }
  }

  std::vector<char32_t> starts_;  // of the runs
  std::vector<std::uint32_t> records_;
  std::unordered_map<char32_t, std::array<char32_t, 2>> decompositions_;
};

Properties properties(char32_t c) { return Tables::get().properties(c); }
bool has(char32_t c, Flag flag) { return (properties(c).flags & flag) != 0; }

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

int combining_class(char32_t c) { return properties(c).combining_class; }

constexpr char32_t kHangul = 0xac00, kHangulEnd = 0xd7a4;

void append_decomposition(std::vector<char32_t>& characters, char32_t c) {
  if (c >= kHangul && c < kHangulEnd) {
    const char32_t i = c - kHangul;
    characters.push_back(0x1100 + i / 588);
    characters.push_back(0x1161 + i % 588 / 28);
    if (i % 28 != 0) characters.push_back(0x11a7 + i % 28);
    return;
  }
  const auto* parts = c < 0xc0 ? nullptr : Tables::get().decomposition(c);
  if (parts == nullptr) {
    characters.push_back(c);
    return;
  }
  append_decomposition(characters, (*parts)[0]);
  if ((*parts)[1] != 0) characters.push_back((*parts)[1]);
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

/// The rules of UAX #29 for extended grapheme clusters.
class GraphemeRules {
 public:
  /// Whether a cluster ends before `next`.
  bool ends_before(Grapheme next) {
    const bool joins = previous_ && joined(*previous_, next);
    // GB11: pictographic Extend* ZWJ x pictographic.
    const bool was_joiner = previous_ == Grapheme::ZeroWidthJoiner;
    after_picture_ =
        next == Grapheme::Pictographic || (after_picture_ && extends(next) && !was_joiner);
    // GB9c: consonant, then extending characters with at least one linker, x consonant.
    if (next == Grapheme::Consonant) {
      conjunct_ = Conjunct::Consonant;
    } else if (conjunct_ != Conjunct::None) {
      if (next == Grapheme::Linker) {
        conjunct_ = Conjunct::Linked;
      } else if (!extends(next)) {
        conjunct_ = Conjunct::None;
      }
    }
    // GB12: an even number of regional indicators before the boundary.
    indicators_ = next == Grapheme::RegionalIndicator ? indicators_ + 1 : 0;
    previous_ = next;
    return !joins;
  }

 private:
  enum class Conjunct { None, Consonant, Linked };

  static bool extends(Grapheme kind) {
    return kind == Grapheme::Extend || kind == Grapheme::Linker ||
           kind == Grapheme::ZeroWidthJoiner;
  }

  bool joined(Grapheme before, Grapheme next) const {
    using G = Grapheme;
    if (before == G::Control || next == G::Control) return false;
    if (extends(next) || next == G::SpacingMark || before == G::Prepend) return true;
    switch (next) {
      case G::L:
      case G::LV:
      case G::LVT: return before == G::L;
      case G::V: return before == G::L || before == G::V || before == G::LV;
      case G::T: return before == G::V || before == G::T || before == G::LV || before == G::LVT;
      case G::Pictographic: return after_picture_ && before == G::ZeroWidthJoiner;
      case G::Consonant: return conjunct_ == Conjunct::Linked;
      case G::RegionalIndicator: return indicators_ % 2 == 1;
      default: return false;
    }
  }

  std::optional<Grapheme> previous_;
  bool after_picture_ = false;
  Conjunct conjunct_ = Conjunct::None;
  std::size_t indicators_ = 0;
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

bool is_bert_control(char32_t c) { return has(c, kBertControl); }
bool is_bert_nonspacing_mark(char32_t c) { return has(c, kBertNonspacingMark); }
bool is_bert_punctuation(char32_t c) { return has(c, kBertPunctuation); }

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
  return has(c, kLetter);
}

bool is_number(char32_t c) { return c < 0x80 ? c >= '0' && c <= '9' : has(c, kNumber); }
bool is_word(char32_t c) { return has(c, kWord); }

bool is_word_or_space(char32_t c) { return has(c, kText); }

std::string decompose(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char b) { return (b & 0x80) == 0; })) {
    return std::string(text);
  }
  std::vector<char32_t> characters;
  characters.reserve(text.size());
  for (std::size_t offset = 0; offset < text.size();) {
    append_decomposition(characters, next(text, offset));
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
    const auto row = std::lower_bound(
        kLowerCase.begin(), kLowerCase.end(), static_cast<std::int32_t>(c),
        [](const LowerCaseRow& item, std::int32_t value) { return item.last < value; });
    const std::int32_t distance =
        row == kLowerCase.end() ? -1 : static_cast<std::int32_t>(c) - row->first;
    if (c == 0x130) {  // the only character that becomes two
      lower += "i\u0307";
    } else if (distance >= 0 && distance % row->step == 0) {
      append(lower, static_cast<char32_t>(static_cast<std::int32_t>(c) + row->difference));
    } else {
      append(lower, c);
    }
  }
  return lower;
}

std::vector<std::size_t> grapheme_ends(std::string_view text) {
  std::vector<std::size_t> ends;
  GraphemeRules rules;
  for (std::size_t offset = 0; offset < text.size();) {
    const std::size_t begin = offset;
    const char32_t c = next(text, offset);
    const bool ends_here = rules.ends_before(static_cast<Grapheme>(properties(c).grapheme));
    const bool is_crlf = c == '\n' && begin > 0 && text[begin - 1] == '\r';
    if (ends_here && begin > 0 && !is_crlf) ends.push_back(begin);
  }
  if (!text.empty()) ends.push_back(text.size());
  return ends;
}

}  // namespace instructblip::unicode
