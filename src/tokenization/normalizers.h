// The first step of a tokenizer: what it changes in a text. Mirrors the `normalizers` of
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
  /// Valid UTF-8 in and out.
  virtual std::string normalize(std::string_view text) const = 0;
};

/// From the "normalizer" of a tokenizer.json; nothing if that is null. Throws TokenizerError naming
/// a component that is not supported.
std::unique_ptr<Normalizer> make_normalizer(const JsonValue& section);

}  // namespace instructblip::tokenization
