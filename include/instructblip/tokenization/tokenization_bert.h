// BERT's tokenizer, which the Q-Former uses: WordPiece over words without accents and upper case.
// Mirrors `models/bert/tokenization_bert.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// [CLS] text [SEP]; pads right. The Q-Former's has one more token, "[DEC]".
class INSTRUCTBLIP_EXPORT BertTokenizer : public TokenizersBackend {
 public:
  /// From tokenizer.json, else vocab.txt. tokenizer_config.json: `do_lower_case` (true),
  /// `tokenize_chinese_chars` (true), `strip_accents` (as do_lower_case).
  /// Throws TokenizerError as AutoTokenizer::from_pretrained.
  static BertTokenizer from_pretrained(const std::filesystem::path& folder,
                                       const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  using TokenizersBackend::TokenizersBackend;
};

}  // namespace instructblip
