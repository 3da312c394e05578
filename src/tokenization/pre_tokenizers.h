// Pre-tokenizers: the second step of a tokenizer, which splits a text into pieces for the model.
// Mirrors the `pre_tokenizers` of tokenizers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/json_value.h"

namespace instructblip::tokenization {

struct Piece {
  std::string text;
  bool at_start = false;  ///< starts where the whole text starts
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Splits a piece into non-empty pieces.
  virtual std::vector<Piece> split(Piece piece) const = 0;
};

/// Creates the "pre_tokenizer" of a tokenizer.json; null if that is null. Throws TokenizerError
/// that names an unsupported component.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonValue& section);

/// "prepend_scheme" of a Metaspace, derived from "add_prefix_space" in older files.
std::string prepend_scheme(const JsonValue& metaspace);

}  // namespace instructblip::tokenization
