// Decoders: the last step from tokens to text. Mirrors the `decoders` of tokenizers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_value.h"

namespace instructblip::tokenization {

/// The byte of a token like "<0x0A>" (two hexadecimal digits); nothing for any other token.
std::optional<char> byte_of_token(std::string_view token);

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Converts tokens to parts of the text, which the caller joins.
  virtual std::vector<std::string> decode(std::vector<std::string> tokens) const = 0;
  /// Whether tokens are written in GPT-2's byte alphabet.
  virtual bool is_byte_level() const { return false; }
};

/// Creates the "decoder" of a tokenizer.json; null if that is null, in which case tokens are joined
/// by spaces. Throws TokenizerError that names an unsupported component.
std::unique_ptr<Decoder> make_decoder(const JsonValue& section);

/// The reference's clean_up_tokenization: removes spaces before punctuation and contractions.
std::string clean_up_tokenization(std::string text);
/// The part of clean_up_tokenization(text) that appending text cannot change.
std::string settled_clean_up(std::string text);

}  // namespace instructblip::tokenization
