// T5's tokenizer: a sentencepiece Unigram model. Mirrors `models/t5/tokenization_t5.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// `text </s>`; pads on the right. Consecutive white space counts as one space. `<extra_id_0>` to
/// `<extra_id_99>` are special tokens.
class INSTRUCTBLIP_EXPORT T5Tokenizer : public TokenizersBackend {
 public:
  /// Reads tokenizer.json, otherwise spiece.model. Options in tokenizer_config.json, with defaults:
  /// `extra_ids` (100). Throws TokenizerError as AutoTokenizer::from_pretrained does.
  static T5Tokenizer from_pretrained(const std::filesystem::path& folder,
                                     const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  using TokenizersBackend::TokenizersBackend;
};

}  // namespace instructblip
