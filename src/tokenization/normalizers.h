// Normalizers: the first step of a tokenizer, which changes the text. Mirrors the `normalizers` of
// tokenizers.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/json_value.h"

namespace instructblip::tokenization {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Takes and returns valid UTF-8.
  virtual std::string normalize(std::string_view text) const = 0;
};

/// Creates the "normalizer" of a tokenizer.json; null if that is null. Throws TokenizerError that
/// names an unsupported component.
std::unique_ptr<Normalizer> make_normalizer(const JsonValue& section);

}  // namespace instructblip::tokenization
