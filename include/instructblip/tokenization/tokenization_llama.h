// The tokenizer of LLaMA and Vicuna: byte-pair encoding in which unknown characters become bytes.
// Mirrors `models/llama/tokenization_llama.py`.
#pragma once

#include "instructblip/tokenization/tokenizers_backend.h"

namespace instructblip {

/// `<s> text`; pads on the left.
class INSTRUCTBLIP_EXPORT LlamaTokenizer : public TokenizersBackend {
 public:
  /// Reads tokenizer.json, otherwise tokenizer.model. Options in tokenizer_config.json, with
  /// defaults: `add_prefix_space` (true): adds a space before the text; `legacy` (false): adds it
  /// after every special token, too; and, only without a tokenizer.json, `add_bos_token` and
  /// `add_eos_token` (false), as in the reference. Throws TokenizerError as
  /// AutoTokenizer::from_pretrained does.
  static LlamaTokenizer from_pretrained(const std::filesystem::path& folder,
                                        const TokenizerOptions& options = {});
  std::unique_ptr<Tokenizer> clone() const override;

 private:
  friend class AutoTokenizer;
  using TokenizersBackend::TokenizersBackend;

  static LlamaTokenizer from_arguments(tokenization::InitArguments arguments);
};

}  // namespace instructblip
