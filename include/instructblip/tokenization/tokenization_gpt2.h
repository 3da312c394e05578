// GPT-2's tokenizer, which OPT uses: byte-pair encoding over bytes, so that there is no unknown
// text. Mirrors `models/gpt2/tokenization_gpt2.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// OPT's puts </s> in front of a text and pads right.
class INSTRUCTBLIP_EXPORT GPT2Tokenizer : public TokenizersBackend {
 public:
  /// From tokenizer.json, else vocab.json and merges.txt. tokenizer_config.json: `add_prefix_space`
  /// (false); `add_bos_token` and `add_eos_token` (false) are obeyed only without a tokenizer.json,
  /// as in the reference.
  /// Throws TokenizerError as AutoTokenizer::from_pretrained.
  static GPT2Tokenizer from_pretrained(const std::filesystem::path& folder,
                                       const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  using TokenizersBackend::TokenizersBackend;
};

}  // namespace instructblip
