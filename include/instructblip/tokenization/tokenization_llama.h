// LLaMA's and Vicuna's tokenizer: byte-pair encoding whose unknown characters become bytes. Mirrors
// `models/llama/tokenization_llama.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// <s> text; pads left.
class INSTRUCTBLIP_EXPORT LlamaTokenizer : public TokenizersBackend {
 public:
  /// From tokenizer.json, else tokenizer.model. tokenizer_config.json: `legacy` (false): true puts
  /// a space in front of the text behind every special token, false in front of the whole text
  /// only; `add_prefix_space` (true): false never puts one; `add_bos_token` and `add_eos_token`
  /// (false) are obeyed only without a tokenizer.json, as in the reference.
  /// Throws TokenizerError as AutoTokenizer::from_pretrained.
  static LlamaTokenizer from_pretrained(const std::filesystem::path& folder,
                                        const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  using TokenizersBackend::TokenizersBackend;
};

}  // namespace instructblip
