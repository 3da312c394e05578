// The map of characters that a sentencepiece model carries: a double-array trie (Darts) and the
// texts that its values are offsets of. Mirrors the `Precompiled` normalizer and the crate
// spm_precompiled.
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
  /// Throws TokenizerError naming `where` if the bytes are not such a map.
  Precompiled(std::string_view charsmap, const std::string& where);
  std::string normalize(std::string_view text) const override;

 private:
  /// What the shortest key that `text` begins with maps to.
  std::optional<std::string_view> transform(std::string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

std::string base64_decode(const JsonValue& section);
std::string base64_encode(std::string_view bytes);

}  // namespace instructblip::tokenization
