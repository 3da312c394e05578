#include "tokenization/precompiled.h"

#include <array>
#include <cstring>

#include "instructblip/core/error.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

constexpr std::string_view kBase64Digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::size_t value_of(std::uint32_t unit) { return unit & 0x7fffffffu; }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000ffu; }
std::size_t offset_of(std::uint32_t unit) {
  return static_cast<std::size_t>(unit >> 10) << ((unit & 512u) >> 6);
}

}  // namespace

Precompiled::Precompiled(std::string_view charsmap, const std::string& where) {
  std::uint32_t bytes = 0;
  if (charsmap.size() >= 4) std::memcpy(&bytes, charsmap.data(), 4);
  if (charsmap.size() < 4 || bytes < 4 || bytes > charsmap.size() - 4) {
    throw TokenizerError(where + ": not a character map: it declares a trie of " +
                         std::to_string(bytes) + " bytes, but has " +
                         std::to_string(charsmap.size()) + " bytes in total");
  }
  units_.resize(bytes / 4);
  std::memcpy(units_.data(), charsmap.data() + 4, units_.size() * 4);
  texts_ = charsmap.substr(4 + units_.size() * 4);
  if (const auto invalid = unicode::first_invalid_byte(texts_)) {
    throw TokenizerError(where + ": the texts of the character map are not valid UTF-8 at byte " +
                         std::to_string(*invalid));
  }
}

std::optional<std::string_view> Precompiled::transform(std::string_view text) const {
  std::size_t node = offset_of(units_[0]);
  for (const char byte : text) {
    const auto c = static_cast<unsigned char>(byte);
    if (c == 0) return std::nullopt;
    node ^= c;
    if (node >= units_.size() || label_of(units_[node]) != c) return std::nullopt;
    const std::uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) return std::nullopt;
    const std::size_t begin = value_of(units_[node]);
    if (begin > texts_.size()) return std::nullopt;
    if (begin < texts_.size() && (texts_[begin] & 0xc0) == 0x80) return std::nullopt;
    const std::size_t end = std::min(texts_.find('\0', begin), texts_.size());
    return std::string_view(texts_).substr(begin, end - begin);
  }
  return std::nullopt;
}

std::string Precompiled::normalize(std::string_view text) const {
  std::string normalized;
  normalized.reserve(text.size());
  std::size_t begin = 0;
  for (const std::size_t end : unicode::grapheme_ends(text)) {
    const std::string_view cluster = text.substr(begin, end - begin);
    begin = end;
    if (cluster.size() < 6) {
      if (const auto mapped = transform(cluster)) {
        normalized += *mapped;
        continue;
      }
    }
    for (std::size_t i = 0; i < cluster.size();) {
      const std::string_view character = cluster.substr(i, unicode::sequence_length(cluster[i]));
      normalized += transform(character).value_or(character);
      i += character.size();
    }
  }
  return normalized;
}

std::string base64_decode(const JsonValue& section) {
  const std::string digits = section.as<std::string>();
  if (digits.size() % 4 != 0) section.fail("not base64: its length is not a multiple of 4");
  std::array<std::uint32_t, 256> value;
  value.fill(64);
  for (std::size_t i = 0; i < 64; ++i) {
    value[static_cast<unsigned char>(kBase64Digits[i])] = static_cast<std::uint32_t>(i);
  }
  std::string bytes;
  bytes.reserve(digits.size() / 4 * 3);
  for (std::size_t i = 0; i < digits.size(); i += 4) {
    std::uint32_t group = 0;
    std::size_t count = 4;
    while (count > 2 && i + 4 == digits.size() && digits[i + count - 1] == '=') --count;
    for (std::size_t j = 0; j < 4; ++j) {
      const std::uint32_t digit = j < count ? value[static_cast<unsigned char>(digits[i + j])] : 0;
      if (digit == 64) section.fail("not base64 at character " + std::to_string(i + j));
      group = group << 6 | digit;
    }
    for (std::size_t j = 0; j + 1 < count; ++j) {
      bytes.push_back(static_cast<char>(group >> (16 - 8 * j) & 0xff));
    }
  }
  return bytes;
}

std::string base64_encode(std::string_view bytes) {
  std::string digits;
  digits.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      digits.push_back(j <= count ? kBase64Digits[group >> (18 - 6 * j) & 63] : '=');
    }
  }
  return digits;
}

}  // namespace instructblip::tokenization
