// Maps texts to numbers; finds all keys that are prefixes of a text.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace instructblip::tokenization {

class ByteTrie {
 public:
  static constexpr std::int64_t kNoValue = -1;

  /// Replaces an earlier value.
  void insert(std::string_view text, std::int64_t value) {
    std::uint32_t node = 0;
    for (const char byte : text) {
      const auto [edge, is_new] =
          edges_.try_emplace(key(node, byte), static_cast<std::uint32_t>(values_.size()));
      if (is_new) values_.push_back(kNoValue);
      node = edge->second;
    }
    values_[node] = value;
  }

  /// Calls `found(length, value)` for each key that is a prefix of `text`, shortest first.
  template <class Found>
  void prefixes(std::string_view text, Found found) const {
    std::uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto edge = edges_.find(key(node, text[i]));
      if (edge == edges_.end()) return;
      node = edge->second;
      if (values_[node] != kNoValue) found(i + 1, values_[node]);
    }
  }

  bool empty() const { return edges_.empty(); }

 private:
  static std::uint64_t key(std::uint32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }

  std::unordered_map<std::uint64_t, std::uint32_t> edges_;
  std::vector<std::int64_t> values_ = {kNoValue};
};

}  // namespace instructblip::tokenization
