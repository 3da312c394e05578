// T5's tokenizer: a sentencepiece Unigram model. Mirrors `models/t5/tokenization_t5.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// Text </s>; pads right; runs of white space count as one space. <extra_id_0> ... <extra_id_99>
/// are special tokens.
class INSTRUCTBLIP_EXPORT T5Tokenizer : public TokenizersBackend {
 public:
  /// From tokenizer.json, else spiece.model. tokenizer_config.json: `extra_ids` (100).
  /// Throws TokenizerError as AutoTokenizer::from_pretrained.
  static T5Tokenizer from_pretrained(const std::filesystem::path& folder,
                                     const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  using TokenizersBackend::TokenizersBackend;
};

}  // namespace instructblip
