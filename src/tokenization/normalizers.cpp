#include "tokenization/normalizers.h"

#include <utility>
#include <vector>

#include "tokenization/precompiled.h"
#include "tokenization/text_pattern.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(const JsonValue& section)
      : clean_text_(section.get_or<bool>("clean_text", true)),
        handle_chinese_chars_(section.get_or<bool>("handle_chinese_chars", true)),
        lowercase_(section.get_or<bool>("lowercase", true)),
        strip_accents_(section.get_or<bool>("strip_accents", lowercase_)) {}

  std::string normalize(std::string_view text) const override {
    std::string normalized = clean(text);
    if (strip_accents_) normalized = without_marks(unicode::decompose(normalized));
    if (lowercase_) normalized = unicode::lower_case(normalized);
    return normalized;
  }

 private:
  std::string clean(std::string_view text) const {
    std::string cleaned;
    cleaned.reserve(text.size());
    for (std::size_t offset = 0; offset < text.size();) {
      char32_t c = unicode::next(text, offset);
      if (clean_text_) {
        const bool line = c == '\t' || c == '\n' || c == '\r';
        if (c == 0 || c == 0xfffd || (!line && unicode::is_bert_control(c))) continue;
        if (unicode::is_whitespace(c)) c = ' ';
      }
      const bool apart = handle_chinese_chars_ && unicode::is_bert_chinese(c);
      if (apart) cleaned.push_back(' ');
      unicode::append(cleaned, c);
      if (apart) cleaned.push_back(' ');
    }
    return cleaned;
  }

  static std::string without_marks(std::string_view text) {
    std::string kept;
    kept.reserve(text.size());
    for (std::size_t offset = 0; offset < text.size();) {
      const std::size_t begin = offset;
      const char32_t c = unicode::next(text, offset);
      if (c < 0x80 || !unicode::is_bert_nonspacing_mark(c)) {
        kept.append(text.substr(begin, offset - begin));
      }
    }
    return kept;
  }

  bool clean_text_, handle_chinese_chars_, lowercase_, strip_accents_;
};

class Lowercase : public Normalizer {
 public:
  std::string normalize(std::string_view text) const override { return unicode::lower_case(text); }
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(const JsonValue& section) : prefix_(section.require<std::string>("prepend")) {}
  std::string normalize(std::string_view text) const override {
    return text.empty() ? std::string() : prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  explicit Replace(const JsonValue& section)
      : pattern_(section.at("pattern")), content_(section.require<std::string>("content")) {}
  std::string normalize(std::string_view text) const override {
    return pattern_.replace(text, content_);
  }

 private:
  TextPattern pattern_;
  std::string content_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(const JsonValue& section) {
    for (const JsonValue& element : section.elements()) {
      if (auto part = make_normalizer(element)) parts_.push_back(std::move(part));
    }
  }
  std::string normalize(std::string_view text) const override {
    std::string normalized(text);
    for (const auto& part : parts_) normalized = part->normalize(normalized);
    return normalized;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const JsonValue& section) {
  if (section.is_null()) return nullptr;
  const std::string type = section.require<std::string>("type");
  if (type == "BertNormalizer") return std::make_unique<BertNormalizer>(section);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "Prepend") return std::make_unique<Prepend>(section);
  if (type == "Replace") return std::make_unique<Replace>(section);
  if (type == "Sequence") return std::make_unique<NormalizerSequence>(section.at("normalizers"));
  if (type == "Precompiled") {
    const auto charsmap = section.get("precompiled_charsmap");
    if (!charsmap) return nullptr;
    return std::make_unique<Precompiled>(base64_decode(*charsmap), charsmap->where());
  }
  section.fail("the normalizer \"" + type +
               "\" is not supported; BertNormalizer, Lowercase, Precompiled, Prepend, Replace and "
               "Sequence are");
}

}  // namespace instructblip::tokenization
