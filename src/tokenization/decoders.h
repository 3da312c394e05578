// The last step back from ids to text. Mirrors the `decoders` of tokenizers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_value.h"

namespace instructblip::tokenization {

/// The byte that a token like "<0x0A>" stands for: two hexadecimal digits; nothing for any other.
std::optional<char> byte_of_token(std::string_view token);

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Turns tokens into parts of the text, which are then joined.
  virtual std::vector<std::string> decode(std::vector<std::string> tokens) const = 0;
  /// Whether tokens are written in GPT-2's alphabet of bytes.
  virtual bool is_byte_level() const { return false; }
};

/// From the "decoder" of a tokenizer.json; nothing if that is null: tokens are then joined by
/// spaces. Throws TokenizerError naming a component that is not supported.
std::unique_ptr<Decoder> make_decoder(const JsonValue& section);

/// The reference's clean_up_tokenization: no space before punctuation and contractions.
std::string clean_up_tokenization(std::string text);
/// The beginning of clean_up_tokenization(text + more) that `more` cannot change.
std::string settled_clean_up(std::string text);

}  // namespace instructblip::tokenization
