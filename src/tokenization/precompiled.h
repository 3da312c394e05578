// The character map of a sentencepiece model: a double-array trie (Darts), whose values are offsets
// into the replacement texts. Mirrors the `Precompiled` normalizer and the crate spm_precompiled.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenization/normalizers.h"

namespace instructblip::tokenization {

class Precompiled : public Normalizer {
 public:
  /// Throws TokenizerError that starts with `where` if the bytes are not such a map.
  Precompiled(std::string_view charsmap, const std::string& where);
  std::string normalize(std::string_view text) const override;

 private:
  /// The replacement for the shortest key that is a prefix of `text`.
  std::optional<std::string_view> transform(std::string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

std::string base64_decode(const JsonValue& section);
std::string base64_encode(std::string_view bytes);

}  // namespace instructblip::tokenization
