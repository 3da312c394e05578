#include "tokenization/decoders.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "instructblip/core/index.h"
#include "tokenization/byte_level.h"
#include "tokenization/normalizers.h"
#include "tokenization/pre_tokenizers.h"
#include "tokenization/text_pattern.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

using Tokens = std::vector<std::string>;

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string replaced;
  std::size_t begin = 0;
  for (std::size_t found; (found = text.find(from, begin)) != std::string_view::npos;) {
    replaced.append(text.substr(begin, found - begin)).append(to);
    begin = found + from.size();
  }
  return replaced.append(text.substr(begin));
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Applied in this order, each to the result of the previous one.
constexpr std::pair<std::string_view, std::string_view> kCleanUps[] = {
    {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

class WordPieceDecoder : public Decoder {
 public:
  explicit WordPieceDecoder(const JsonValue& section)
      : prefix_(section.get_or<std::string>("prefix", "##")),
        cleanup_(section.get_or<bool>("cleanup", true)) {}

  Tokens decode(Tokens tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i != 0) {
        if (token.starts_with(prefix_)) {
          token.erase(0, prefix_.size());
        } else {
          token.insert(0, 1, ' ');
        }
      }
      if (cleanup_)
        token = replace_all(clean_up_tokenization(std::move(token)), " do not", " don't");
    }
    return tokens;
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

class ByteLevelDecoder : public Decoder {
 public:
  Tokens decode(Tokens tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      const auto plain = from_byte_characters(token);
      bytes += plain ? *plain : token;
    }
    return {unicode::lossy(bytes)};
  }
  bool is_byte_level() const override { return true; }
};

class MetaspaceDecoder : public Decoder {
 public:
  explicit MetaspaceDecoder(const JsonValue& section)
      : mark_(section.require<std::string>("replacement")),
        prepends_(prepend_scheme(section) != "never") {
    if (unicode::length(mark_) != 1) section.at("replacement").expected("one character");
  }

  Tokens decode(Tokens tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replace_all(tokens[i], mark_, i == 0 && prepends_ ? "" : " ");
    }
    return tokens;
  }

 private:
  std::string mark_;
  bool prepends_;
};

class ReplaceDecoder : public Decoder {
 public:
  explicit ReplaceDecoder(const JsonValue& section)
      : pattern_(section.at("pattern")), content_(section.require<std::string>("content")) {}
  Tokens decode(Tokens tokens) const override {
    for (std::string& token : tokens) token = pattern_.replace(token, content_);
    return tokens;
  }

 private:
  TextPattern pattern_;
  std::string content_;
};

/// "<0x0A>" is the byte 10. If consecutive bytes are not valid UTF-8, each becomes U+FFFD.
class ByteFallback : public Decoder {
 public:
  Tokens decode(Tokens tokens) const override {
    Tokens decoded;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (unicode::first_invalid_byte(bytes)) {
        for (std::size_t i = 0; i < bytes.size(); ++i) decoded.emplace_back("\xef\xbf\xbd");
      } else {
        decoded.push_back(bytes);
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const auto byte = byte_of_token(token)) {
        bytes.push_back(*byte);
      } else {
        flush();
        decoded.push_back(std::move(token));
      }
    }
    flush();
    return decoded;
  }
};

class Fuse : public Decoder {
 public:
  Tokens decode(Tokens tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    return {std::move(all)};
  }
};

class Strip : public Decoder {
 public:
  explicit Strip(const JsonValue& section)
      : content_(section.require<std::string>("content")),
        start_(to_size(section.at("start").whole_number(0))),
        stop_(to_size(section.at("stop").whole_number(0))) {
    if (unicode::length(content_) != 1) section.at("content").expected("one character");
  }
  Tokens decode(Tokens tokens) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::size_t i = 0; i < start_ && rest.starts_with(content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (std::size_t i = 0; i < stop_ && rest.ends_with(content_); ++i) {
        rest.remove_suffix(content_.size());
      }
      token = std::string(rest);
    }
    return tokens;
  }

 private:
  std::string content_;
  std::size_t start_, stop_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(const JsonValue& section) {
    for (const JsonValue& element : section.elements()) {
      if (auto part = make_decoder(element)) parts_.push_back(std::move(part));
    }
  }
  Tokens decode(Tokens tokens) const override {
    for (const auto& part : parts_) tokens = part->decode(std::move(tokens));
    return tokens;
  }
  bool is_byte_level() const override {
    return std::any_of(parts_.begin(), parts_.end(),
                       [](const auto& part) { return part->is_byte_level(); });
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

}  // namespace

std::optional<char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = hex_digit(token[3]), low = hex_digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

std::string clean_up_tokenization(std::string text) {
  for (const auto& [from, to] : kCleanUps) {
    if (text.find(from) != std::string::npos) text = replace_all(text, from, to);
  }
  return text;
}

std::string settled_clean_up(std::string text) {
  for (const auto& [from, to] : kCleanUps) {
    // The end of the text may be the start of `from`.
    std::size_t rest = 0;
    for (std::size_t found; (found = text.find(from, rest)) != std::string::npos;) {
      rest = found + from.size();
    }
    std::size_t open = std::min(text.size() - rest, from.size() - 1);
    while (!text.ends_with(from.substr(0, open))) --open;
    text = replace_all(std::string_view(text).substr(0, text.size() - open), from, to);
  }
  return text;
}

std::unique_ptr<Decoder> make_decoder(const JsonValue& section) {
  if (section.is_null()) return nullptr;
  const std::string type = section.require<std::string>("type");
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Metaspace") return std::make_unique<MetaspaceDecoder>(section);
  if (type == "Replace") return std::make_unique<ReplaceDecoder>(section);
  if (type == "Sequence") return std::make_unique<DecoderSequence>(section.at("decoders"));
  if (type == "Strip") return std::make_unique<Strip>(section);
  if (type == "WordPiece") return std::make_unique<WordPieceDecoder>(section);
  section.fail("the decoder \"" + type +
               "\" is not supported; ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, "
               "Strip and WordPiece are");
}

}  // namespace instructblip::tokenization
