// GPT-2's tokenizer, used by OPT: byte-pair encoding on bytes, so that no text is unknown. Mirrors
// `models/gpt2/tokenization_gpt2.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// OPT's tokenizer starts a text with `</s>` and pads on the right.
class INSTRUCTBLIP_EXPORT GPT2Tokenizer : public TokenizersBackend {
 public:
  /// Reads tokenizer.json, otherwise vocab.json and merges.txt. Options in tokenizer_config.json,
  /// with defaults: `add_prefix_space` (false), and, only without a tokenizer.json, `add_bos_token`
  /// and `add_eos_token` (false), as in the reference. Throws TokenizerError as
  /// AutoTokenizer::from_pretrained does.
  static GPT2Tokenizer from_pretrained(const std::filesystem::path& folder,
                                       const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  using TokenizersBackend::TokenizersBackend;
};

}  // namespace instructblip
