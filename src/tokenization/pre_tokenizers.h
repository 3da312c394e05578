// The second step of a tokenizer: cutting a text into pieces that the model sees one at a time.
// Mirrors the `pre_tokenizers` of tokenizers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/json_value.h"

namespace instructblip::tokenization {

struct Piece {
  std::string text;
  bool at_start = false;  ///< begins where the whole text begins
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// The pieces of one piece, without empty ones.
  virtual std::vector<Piece> split(Piece piece) const = 0;
};

/// From the "pre_tokenizer" of a tokenizer.json; nothing if that is null. Throws TokenizerError
/// naming a component that is not supported.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonValue& section);

/// "prepend_scheme" of a Metaspace, also where an older file says "add_prefix_space".
std::string prepend_scheme(const JsonValue& metaspace);

}  // namespace instructblip::tokenization
