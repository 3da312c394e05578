#include "checkpoint/module_pattern.h"

#include <bitset>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

constexpr std::size_t kLongestPattern = 4096;
constexpr std::size_t kMostInstructions = 4000;
constexpr std::size_t kMostLookAheads = 16;
constexpr std::size_t kLongestText = 1024;
constexpr int kDeepest = 64;
constexpr std::size_t kMostRepetitions = 1000;

using Bytes = std::bitset<256>;

std::size_t index_of(char c) { return static_cast<unsigned char>(c); }

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// One step of the machine. A state is (instruction, position); each is visited at most once.
struct Instruction {
  enum class Kind {
    Byte,      // one byte of `bytes`
    Split,     // go on at both `next` and `other`
    Jump,      // go on at `next`
    Begin,     // ^
    End,       // $
    Word,      // \b
    NotWord,   // \B
    Ahead,     // (?=...): the part that begins at `other` matches here
    NotAhead,  // (?!...)
    Match,
  };
  Kind kind;
  Bytes bytes{};
  std::size_t next = 0, other = 0;
};

}  // namespace

struct ModulePattern::Program {
  std::vector<Instruction> code;
};

namespace {

// One text under test.
class Matcher {
 public:
  Matcher(const std::vector<Instruction>& code, std::string_view text) : code_(code), text_(text) {}

  // Whether the part that begins at `start` matches at `from`; if `whole`, up to the end.
  bool run(std::size_t start, std::size_t from, bool whole) {
    std::vector<bool> seen(code_.size() * (text_.size() + 1));
    std::vector<std::pair<std::size_t, std::size_t>> open{{start, from}};
    while (!open.empty()) {
      const auto [at, position] = open.back();
      open.pop_back();
      const std::size_t state = at * (text_.size() + 1) + position;
      if (seen[state]) continue;
      seen[state] = true;
      const Instruction& step = code_[at];
      switch (step.kind) {
        case Instruction::Kind::Byte:
          if (position < text_.size() && step.bytes.test(index_of(text_[position]))) {
            open.emplace_back(step.next, position + 1);
          }
          break;
        case Instruction::Kind::Match:
          if (!whole || position == text_.size()) return true;
          break;
        case Instruction::Kind::Split:
          open.emplace_back(step.other, position);
          open.emplace_back(step.next, position);
          break;
        default:
          if (holds(at, position)) open.emplace_back(step.next, position);
      }
    }
    return false;
  }

 private:
  // Whether a step that takes no byte lets pass here.
  bool holds(std::size_t at, std::size_t position) {
    const Instruction& step = code_[at];
    const bool before = position > 0 && is_word(text_[position - 1]);
    const bool after = position < text_.size() && is_word(text_[position]);
    switch (step.kind) {
      case Instruction::Kind::Begin: return position == 0;
      case Instruction::Kind::End: return position == text_.size();
      case Instruction::Kind::Word: return before != after;
      case Instruction::Kind::NotWord: return before == after;
      case Instruction::Kind::Ahead: return is_ahead(at, position);
      case Instruction::Kind::NotAhead: return !is_ahead(at, position);
      default: return true;
    }
  }

  // Remembers the answers, so that nested look-aheads do not multiply.
  bool is_ahead(std::size_t at, std::size_t position) {
    const auto [known, is_new] = ahead_.emplace(std::pair(at, position), false);
    if (is_new) known->second = run(code_[at].other, position, false);
    return known->second;
  }

  const std::vector<Instruction>& code_;
  std::string_view text_;
  std::map<std::pair<std::size_t, std::size_t>, bool> ahead_;
};

// Translates an expression. Each part appends its instructions and ends at the code's end.
class Compiler {
 public:
  using Kind = Instruction::Kind;

  Compiler(std::string_view pattern, const std::string& where)
      : pattern_(pattern), where_(where + ": \"" + std::string(pattern.substr(0, 100)) + "\"") {
    if (pattern.size() > kLongestPattern) fail("is longer than a module's name can need");
  }

  std::vector<Instruction> compile() {
    alternatives(0);
    if (at_ < pattern_.size()) fail("has an unmatched \")\"");
    add({.kind = Kind::Match});
    return std::move(code_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw ConfigError(where_ + " " + what +
                      "; list the modules by name instead, or merge the adapter with peft");
  }

  bool has(char c) const { return at_ < pattern_.size() && pattern_[at_] == c; }
  bool take(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }

  std::size_t add(Instruction step) {
    if (code_.size() >= kMostInstructions) fail("repeats too much");
    step.next = code_.size() + 1;
    code_.push_back(step);
    return code_.size() - 1;
  }

  // A|B|C
  void alternatives(int depth) {
    if (depth > kDeepest) fail("is nested too deeply");
    std::vector<std::size_t> ends;
    while (true) {
      const std::size_t begin = code_.size();
      sequence(depth);
      if (!has('|')) break;
      ++at_;
      insert(begin, Kind::Split);
      ends.push_back(add({.kind = Kind::Jump}));
      code_[begin].other = code_.size();
    }
    for (const std::size_t end : ends) code_[end].next = code_.size();
  }

  void sequence(int depth) {
    while (at_ < pattern_.size() && !has('|') && !has(')')) {
      const std::size_t begin = code_.size();
      if (piece(depth)) {
        repeat(begin);
      } else if (std::size_t least = 0, most = 0;
                 has('*') || has('+') || has('?') || counts(least, most)) {
        fail("repeats a position");
      }
    }
  }

  // One part; false if it is a position (^, $, \b), which cannot be repeated.
  bool piece(int depth) {
    const char c = pattern_[at_++];
    switch (c) {
      case '^': add({.kind = Kind::Begin}); return false;
      case '$': add({.kind = Kind::End}); return false;
      case '(': return group(depth);
      case '[': add({.kind = Kind::Byte, .bytes = byte_class()}); return true;
      case '.': add({.kind = Kind::Byte, .bytes = ~Bytes().set(index_of('\n'))}); return true;
      case '\\': return escaped();
      case '*':
      case '+':
      case '?': fail(std::string("has nothing for \"") + c + "\" to repeat");
      default: add({.kind = Kind::Byte, .bytes = Bytes().set(index_of(c))}); return true;
    }
  }

  bool group(int depth) {
    if (take("?=") || take("?!")) {
      const Kind kind = pattern_[at_ - 1] == '=' ? Kind::Ahead : Kind::NotAhead;
      if (++look_aheads_ > kMostLookAheads) fail("has too many look-aheads");
      const std::size_t begin = add({.kind = kind});
      code_[begin].other = code_.size();
      alternatives(depth + 1);
      add({.kind = Kind::Match});
      code_[begin].next = code_.size();
      close();
      return true;
    }
    if (take("?P<")) {
      while (at_ < pattern_.size() && is_word(pattern_[at_])) ++at_;
      if (!take(">")) fail("has a group without a name");
    } else if (has('?') && !take("?:")) {
      fail("has a group \"(" + std::string(pattern_.substr(at_, 3)) + "\", which is not supported");
    }
    alternatives(depth + 1);
    close();
    return true;
  }

  void close() {
    if (!take(")")) fail("has an unmatched \"(\"");
  }

  bool escaped() {
    if (at_ == pattern_.size()) fail("ends with a backslash");
    const char c = pattern_[at_++];
    if (c == 'b' || c == 'B') {
      add({.kind = c == 'b' ? Kind::Word : Kind::NotWord});
      return false;
    }
    if (c == 'A' || c == 'Z') {
      add({.kind = c == 'A' ? Kind::Begin : Kind::End});
      return false;
    }
    add({.kind = Kind::Byte, .bytes = escaped_bytes(c)});
    return true;
  }

  // What \c stands for.
  Bytes escaped_bytes(char c) const {
    const auto all_that = [](auto&& fits) {
      Bytes bytes;
      for (int b = 0; b < 256; ++b)
        bytes.set(static_cast<std::size_t>(b), fits(static_cast<char>(b)));
      return bytes;
    };
    const auto is_space = [](char b) { return b == ' ' || (b >= '\t' && b <= '\r'); };
    switch (c) {
      case 'd': return all_that(is_digit);
      case 'D': return ~all_that(is_digit);
      case 'w': return all_that(is_word);
      case 'W': return ~all_that(is_word);
      case 's': return all_that(is_space);
      case 'S': return ~all_that(is_space);
      default:
        if (is_word(c)) fail(std::string("has \"\\") + c + "\", which is not supported");
        return Bytes().set(index_of(c));
    }
  }

  Bytes byte_class() {
    Bytes bytes;
    const bool negated = take("^");
    for (bool is_first = true; is_first || !has(']'); is_first = false) {
      if (at_ == pattern_.size()) fail("has an unmatched \"[\"");
      const std::optional<char> low = class_member(bytes);
      const bool is_range = has('-') && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != ']';
      if (!is_range) continue;
      ++at_;
      const std::optional<char> high = class_member(bytes);
      if (!low || !high || index_of(*high) < index_of(*low)) fail("has a bad range of characters");
      for (std::size_t b = index_of(*low); b <= index_of(*high); ++b) bytes.set(b);
    }
    ++at_;
    return negated ? ~bytes : bytes;
  }

  // Adds the next member of a class; its character, unless it stands for several.
  std::optional<char> class_member(Bytes& bytes) {
    const char c = pattern_[at_++];
    if (c != '\\') {
      bytes.set(index_of(c));
      return c;
    }
    if (at_ == pattern_.size()) fail("ends with a backslash");
    const Bytes escaped = escaped_bytes(pattern_[at_++]);
    bytes |= escaped;
    return escaped.count() == 1 ? std::optional(pattern_[at_ - 1]) : std::nullopt;
  }

  // The repetition after the part that begins at `begin`, if any. Whether it is greedy does not
  // matter for a match of the whole text.
  void repeat(std::size_t begin) {
    std::size_t least = 1, most = 1;
    if (take("*")) {
      least = 0, most = 0;
    } else if (take("+")) {
      most = 0;
    } else if (take("?")) {
      least = 0;
    } else if (!counts(least, most)) {
      return;
    }
    if (has('+')) fail("has a possessive repetition, which is not supported");
    take("?");
    if (has('*') || has('+') || has('?')) fail("repeats a repetition");
    const std::vector<Instruction> part(code_.begin() + static_cast<std::ptrdiff_t>(begin),
                                        code_.end());
    code_.resize(begin);
    for (std::size_t i = 0; i < least; ++i) append(part, begin);
    if (most == 0) {  // no limit
      const std::size_t split = add({.kind = Kind::Split});
      append(part, begin);
      const std::size_t back = add({.kind = Kind::Jump});
      code_[back].next = split;
      code_[split].other = code_.size();
      return;
    }
    std::vector<std::size_t> splits;
    for (std::size_t i = least; i < most; ++i) {
      splits.push_back(add({.kind = Kind::Split}));
      append(part, begin);
    }
    for (const std::size_t split : splits) code_[split].other = code_.size();
  }

  // {m}, {m,}, {,n}, {m,n}; anything else in braces is text, as in Python. `most` is 0 for no
  // limit.
  bool counts(std::size_t& least, std::size_t& most) {
    if (!has('{')) return false;
    const std::size_t begin = at_++;
    const std::optional<std::size_t> low = number();
    const bool has_comma = take(",");
    const std::optional<std::size_t> high = has_comma ? number() : low;
    if (!take("}") || (!low && !has_comma)) {
      at_ = begin;
      return false;
    }
    least = low.value_or(0);
    most = high.value_or(0);
    if (high && *high < least) fail("has a repetition whose limits are reversed");
    if (high && *high == 0) fail("repeats a part 0 times");
    return true;
  }

  std::optional<std::size_t> number() {
    std::optional<std::size_t> value;
    for (; at_ < pattern_.size() && is_digit(pattern_[at_]); ++at_) {
      value = value.value_or(0) * 10 + static_cast<std::size_t>(pattern_[at_] - '0');
      if (*value > kMostRepetitions) fail("repeats a part too often");
    }
    return value;
  }

  // Appends a copy of a part that was compiled at `from`.
  void append(const std::vector<Instruction>& part, std::size_t from) {
    const std::size_t to = code_.size();
    if (to + part.size() > kMostInstructions) fail("repeats too much");
    for (Instruction step : part) {
      step.next = step.next - from + to;
      step.other = step.other - from + to;
      code_.push_back(step);
    }
  }

  // Inserts an instruction in front of the part that begins at `begin`.
  void insert(std::size_t begin, Kind kind) {
    const std::vector<Instruction> part(code_.begin() + static_cast<std::ptrdiff_t>(begin),
                                        code_.end());
    code_.resize(begin);
    add({.kind = kind});
    append(part, begin);
  }

  std::string_view pattern_;
  std::string where_;
  std::size_t at_ = 0;
  std::size_t look_aheads_ = 0;
  std::vector<Instruction> code_;
};

}  // namespace

ModulePattern::ModulePattern(std::string_view pattern, const std::string& where) {
  auto program = std::make_shared<Program>();
  program->code = Compiler(pattern, where).compile();
  program_ = std::move(program);
}

bool ModulePattern::matches(std::string_view text) const {
  return text.size() <= kLongestText && Matcher(program_->code, text).run(0, 0, true);
}

}  // namespace instructblip
