// BERT's tokenizer, used by the Q-Former: WordPiece on lower-case words without accents. Mirrors
// `models/bert/tokenization_bert.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// [CLS] text [SEP]; pads on the right. The Q-Former's vocabulary has one additional token,
/// "[DEC]".
class INSTRUCTBLIP_EXPORT BertTokenizer : public TokenizersBackend {
 public:
  /// Reads tokenizer.json, otherwise vocab.txt. Options in tokenizer_config.json, with defaults:
  /// `do_lower_case` (true), `tokenize_chinese_chars` (true), `strip_accents` (do_lower_case).
  /// Throws TokenizerError as AutoTokenizer::from_pretrained does.
  static BertTokenizer from_pretrained(const std::filesystem::path& folder,
                                       const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  using TokenizersBackend::TokenizersBackend;
};

}  // namespace instructblip
