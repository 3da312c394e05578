// The tokenizers of LLaMA and T5 as transformers 4 has them with `use_fast=False`, and as LAVIS
// uses them: a sentencepiece model segments the text between added tokens. Mirrors
// `tokenization_utils.py`, `models/llama/tokenization_llama.py` and `models/t5/tokenization_t5.py`
// of transformers 4.49. Programs use SentencePieceTokenizer (sentencepiece_tokenizer.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {

/// What these tokenizers ask of the sentencepiece library. `const` calls must be thread-safe.
class INSTRUCTBLIP_EXPORT SubwordModel {
 public:
  virtual ~SubwordModel();
  /// The pieces of valid UTF-8. A piece may be text that is not in the vocabulary.
  virtual std::vector<std::string> encode(std::string_view text) const = 0;
  virtual std::string decode(const std::vector<std::string>& pieces) const = 0;
  /// The id of a piece, or of the unknown piece.
  virtual std::int64_t piece_to_id(std::string_view piece) const = 0;
  /// `id` is at least 0 and less than `size()`.
  virtual std::string id_to_piece(std::int64_t id) const = 0;
  virtual Index size() const = 0;
};

/// Creates the model of a serialized ModelProto, the contents of a .model file. Throws
/// TokenizerError that says what is wrong with it.
using SubwordModelFactory =
    std::function<std::shared_ptr<const SubwordModel>(const std::string& model_proto)>;

/// The tokenizer of a folder with a tokenizer.model (LLaMA) or spiece.model (T5). Also reads
/// tokenizer_config.json, special_tokens_map.json, added_tokens.json and the added tokens of
/// tokenizer.json. Differs from AutoTokenizer's as transformers 4 differs from 5: LLaMA's pads on
/// the right; `legacy` is true and `add_bos_token` is true unless set; `</s>` is not added to a T5
/// text that ends with it; `clean_up_tokenization_spaces` is obeyed; added tokens are decoded with
/// spaces around them; `add_tokens` returns the number of tokens that were not in the vocabulary.
/// Throws TokenizerError that names the file.
INSTRUCTBLIP_EXPORT std::unique_ptr<Tokenizer> load_slow_tokenizer(
    const std::filesystem::path& folder, const TokenizerOptions& options,
    const SubwordModelFactory& make_model);

}  // namespace instructblip
