// Optional component instructblip::sentencepiece, a library of its own: the sentencepiece library
// tokenizes a folder's .model file. Debian's build of it exports protobuf's functions, so a program
// that also uses protobuf should not link the component. Not included by instructblip.h.
#pragma once

#include <filesystem>
#include <memory>

#include "instructblip/core/export.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {

/// The tokenizer with which the published results of the Vicuna and Flan-T5 checkpoints were made:
/// LlamaTokenizer or T5Tokenizer of transformers 4 with `use_fast=False`, which LAVIS uses. Choose
/// it while loading:
///   const TokenizerOptions options{.loader = SentencePieceTokenizer::from_pretrained};
///   auto processor = InstructBlipProcessor::from_pretrained(folder, options);
class INSTRUCTBLIP_EXPORT SentencePieceTokenizer {
 public:
  /// See load_slow_tokenizer (slow_tokenizer.h) for the files and the differences from
  /// AutoTokenizer. Throws TokenizerError if the folder has no .model file or its tokenizer is of
  /// another class. The character map inside a .model file is not checked by the sentencepiece
  /// library: load files that you trust.
  static std::unique_ptr<Tokenizer> from_pretrained(const std::filesystem::path& folder,
                                                    const TokenizerOptions& options = {});
};

}  // namespace instructblip
