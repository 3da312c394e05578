#include "tokenization/pre_tokenizers.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "tokenization/byte_level.h"
#include "tokenization/normalizers.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

void push(std::vector<Piece>& pieces, const Piece& from, std::size_t begin, std::size_t end) {
  if (begin < end) {
    pieces.push_back({from.text.substr(begin, end - begin), from.at_start && begin == 0});
  }
}

/// Splits at the characters for which `is_delimiter` is true; they become pieces of their own or
/// are removed.
template <class IsDelimiter>
std::vector<Piece> split_at(const Piece& piece, bool keep_delimiters, IsDelimiter is_delimiter) {
  std::vector<Piece> pieces;
  std::size_t begin = 0;
  for (std::size_t offset = 0; offset < piece.text.size();) {
    const std::size_t at = offset;
    if (!is_delimiter(unicode::next(piece.text, offset))) continue;
    push(pieces, piece, begin, at);
    if (keep_delimiters) push(pieces, piece, at, offset);
    begin = offset;
  }
  push(pieces, piece, begin, piece.text.size());
  return pieces;
}

class WhitespaceSplit : public PreTokenizer {
 public:
  std::vector<Piece> split(Piece piece) const override {
    return split_at(piece, false, unicode::is_whitespace);
  }
};

class BertPreTokenizer : public PreTokenizer {
 public:
  std::vector<Piece> split(Piece piece) const override {
    std::vector<Piece> pieces;
    for (const Piece& word : split_at(piece, false, unicode::is_whitespace)) {
      for (Piece& part : split_at(word, true, unicode::is_bert_punctuation)) {
        pieces.push_back(std::move(part));
      }
    }
    return pieces;
  }
};

class ByteLevel : public PreTokenizer {
 public:
  explicit ByteLevel(const JsonValue& section)
      : add_prefix_space_(section.get_or<bool>("add_prefix_space", true)),
        use_regex_(section.get_or<bool>("use_regex", true)) {}

  std::vector<Piece> split(Piece piece) const override {
    if (add_prefix_space_ && !piece.text.starts_with(' ')) piece.text.insert(0, 1, ' ');
    std::vector<Piece> pieces;
    for (std::size_t begin = 0; begin < piece.text.size();) {
      const std::size_t end =
          use_regex_ ? byte_level_piece_end(piece.text, begin) : piece.text.size();
      pieces.push_back({to_byte_characters(std::string_view(piece.text).substr(begin, end - begin)),
                        piece.at_start && begin == 0});
      begin = end;
    }
    return pieces;
  }

 private:
  bool add_prefix_space_, use_regex_;
};

class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(const JsonValue& section)
      : mark_(section.require<std::string>("replacement")),
        scheme_(prepend_scheme(section)),
        split_(section.get_or<bool>("split", true)) {
    if (mark_.empty() || unicode::length(mark_) != 1) {
      section.at("replacement").expected("one character");
    }
  }

  std::vector<Piece> split(Piece piece) const override {
    std::string marked;
    marked.reserve(piece.text.size() + piece.text.size() / 2);
    const bool prepends = scheme_ == "always" || (scheme_ == "first" && piece.at_start);
    if (prepends && !piece.text.starts_with(' ') && !piece.text.starts_with(mark_)) marked = mark_;
    for (const char byte : piece.text) {
      if (byte == ' ') {
        marked += mark_;
      } else {
        marked.push_back(byte);
      }
    }
    piece.text = std::move(marked);
    std::vector<Piece> pieces;
    std::size_t begin = 0;
    while (split_ && begin < piece.text.size()) {
      const std::size_t end = piece.text.find(mark_, begin + 1);
      if (end == std::string::npos) break;
      push(pieces, piece, begin, end);
      begin = end;
    }
    push(pieces, piece, begin, piece.text.size());
    return pieces;
  }

 private:
  std::string mark_, scheme_;
  bool split_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const JsonValue& section) {
    for (const JsonValue& element : section.elements()) {
      if (auto part = make_pre_tokenizer(element)) parts_.push_back(std::move(part));
    }
  }
  std::vector<Piece> split(Piece piece) const override {
    std::vector<Piece> pieces;
    pieces.push_back(std::move(piece));
    for (const auto& part : parts_) {
      std::vector<Piece> smaller;
      for (Piece& whole : pieces) {
        for (Piece& cut : part->split(std::move(whole))) smaller.push_back(std::move(cut));
      }
      pieces = std::move(smaller);
    }
    return pieces;
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

}  // namespace

std::string prepend_scheme(const JsonValue& metaspace) {
  std::string scheme = metaspace.get_or<std::string>("prepend_scheme", "always");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    metaspace.at("prepend_scheme").expected("\"always\", \"first\" or \"never\"");
  }
  if (!metaspace.get_or<bool>("add_prefix_space", true)) {
    if (metaspace.get("prepend_scheme") && scheme != "never") {
      metaspace.fail("add_prefix_space false contradicts prepend_scheme \"" + scheme + "\"");
    }
    scheme = "never";
  }
  return scheme;
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonValue& section) {
  if (section.is_null()) return nullptr;
  const std::string type = section.require<std::string>("type");
  if (type == "BertPreTokenizer") return std::make_unique<BertPreTokenizer>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(section);
  if (type == "Metaspace") return std::make_unique<Metaspace>(section);
  if (type == "WhitespaceSplit") return std::make_unique<WhitespaceSplit>();
  if (type == "Sequence")
    return std::make_unique<PreTokenizerSequence>(section.at("pretokenizers"));
  section.fail("the pre-tokenizer \"" + type +
               "\" is not supported; BertPreTokenizer, ByteLevel, Metaspace, Sequence and "
               "WhitespaceSplit are");
}

}  // namespace instructblip::tokenization
