// A tokenizer with given tokens, for tests of streamers and stop strings.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/tokenization/tokenizer.h"

namespace instructblip::testing {

/// Ids are indices into `tokens`. Encoding takes the longest token that fits; decoding concatenates
/// the tokens. As in the reference's decoders, each maximal part of the result that is not UTF-8
/// becomes U+FFFD. With `byte_fallback`, "<0x41>" is a byte.
class ToyTokenizer : public Tokenizer {
 public:
  explicit ToyTokenizer(std::vector<std::string> tokens, bool byte_fallback = false)
      : tokens_(std::move(tokens)), byte_fallback_(byte_fallback) {}

  using Tokenizer::convert_ids_to_tokens;
  std::optional<std::string> convert_ids_to_tokens(std::int64_t id) const override {
    if (id < 0 || id >= size()) return std::nullopt;
    return tokens_[static_cast<std::size_t>(id)];
  }
  std::optional<std::int64_t> token_to_id(std::string_view token) const override {
    const auto found = std::find(tokens_.begin(), tokens_.end(), token);
    if (found == tokens_.end()) return std::nullopt;
    return found - tokens_.begin();
  }
  Index vocab_size() const override { return size(); }
  Index size() const override { return static_cast<Index>(tokens_.size()); }
  std::vector<std::pair<std::int64_t, AddedToken>> added_tokens_decoder() const override {
    return {};
  }
  std::optional<std::string> special_token(std::string_view) const override { return {}; }
  std::vector<std::string> all_special_tokens() const override { return {}; }
  Side padding_side() const override { return Side::Left; }
  Side truncation_side() const override { return Side::Right; }
  Index model_max_length() const override { return unlimited_length; }
  bool clean_up_tokenization_spaces() const override { return false; }
  Index num_special_tokens_to_add() const override { return 0; }
  std::string_view class_name() const override { return "ToyTokenizer"; }
  Index add_tokens(const std::vector<AddedToken>&, bool) override { return 0; }
  Index add_special_token(std::string_view, const AddedToken&) override { return 0; }
  std::unique_ptr<Tokenizer> clone() const override {
    return std::make_unique<ToyTokenizer>(*this);
  }
  void save_pretrained(const std::filesystem::path&) const override {}

 protected:
  std::vector<std::int64_t> encode_text(std::string_view text, bool) const override {
    std::vector<std::int64_t> ids;
    while (!text.empty()) {
      std::size_t best = tokens_.size();
      for (std::size_t i = 0; i < tokens_.size(); ++i) {
        if (!tokens_[i].empty() && text.starts_with(tokens_[i]) &&
            (best == tokens_.size() || tokens_[i].size() > tokens_[best].size())) {
          best = i;
        }
      }
      if (best < tokens_.size()) ids.push_back(static_cast<std::int64_t>(best));
      text.remove_prefix(best < tokens_.size() ? tokens_[best].size() : 1);
    }
    return ids;
  }
  std::vector<std::int64_t> add_special_tokens_to(std::vector<std::int64_t> ids) const override {
    return ids;
  }
  std::string decode_ids(std::span<const std::int64_t> ids, bool) const override {
    std::string bytes;
    for (const std::int64_t id : ids) {
      if (id < 0 || id >= size()) continue;
      const std::string& token = tokens_[static_cast<std::size_t>(id)];
      if (byte_fallback_ && token.size() == 6 && token.starts_with("<0x")) {
        bytes += static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16));
      } else {
        bytes += token;
      }
    }
    return replace_broken(bytes);
  }
  bool split_special_tokens() const override { return false; }
  bool may_clean_up_spaces() const override { return false; }

 private:
  static std::string replace_broken(const std::string& bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes.size();) {
      const auto lead = static_cast<unsigned char>(bytes[i]);
      const std::size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
      std::size_t found = 1;
      while (found < length && i + found < bytes.size() &&
             (static_cast<unsigned char>(bytes[i + found]) & 0xC0) == 0x80) {
        ++found;
      }
      const bool whole = found == length && (lead < 0x80 || lead >= 0xC2);
      text += whole ? bytes.substr(i, length) : "\xEF\xBF\xBD";
      i += found;
    }
    return text;
  }

  std::vector<std::string> tokens_;
  bool byte_fallback_;
};

}  // namespace instructblip::testing
