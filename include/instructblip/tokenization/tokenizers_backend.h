// The base of all tokenizer classes: a pipeline of normalizer, pre-tokenizer, model, post-processor
// and decoder, as described by a tokenizer.json. Mirrors transformers' TokenizersBackend
// (`tokenization_utils_tokenizers.py`) and the pipeline of the tokenizers library.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {

namespace tokenization {
struct InitArguments;
struct TokenizerState;
}  // namespace tokenization

/// Used directly for folders whose tokenizer.json is used unchanged ("PreTrainedTokenizerFast").
/// Supported components: normalizers BertNormalizer, Lowercase, Precompiled, Prepend, Replace;
/// pre-tokenizers BertPreTokenizer, ByteLevel, Metaspace, WhitespaceSplit; models BPE, Unigram,
/// WordPiece; post-processors BertProcessing, ByteLevel, RobertaProcessing, TemplateProcessing;
/// decoders ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip, WordPiece; and sequences of
/// each. Any other component throws a TokenizerError that names it.
class INSTRUCTBLIP_EXPORT TokenizersBackend : public Tokenizer {
 public:
  /// Reads a folder's tokenizer.json. Throws TokenizerError that names the file, or the part of it,
  /// that is missing, malformed or not supported.
  static TokenizersBackend from_pretrained(const std::filesystem::path& folder,
                                           const TokenizerOptions& options = {});
  TokenizersBackend(const TokenizersBackend& other);
  TokenizersBackend(TokenizersBackend&& other) noexcept;
  TokenizersBackend& operator=(TokenizersBackend other) noexcept;
  ~TokenizersBackend() override;

  using Tokenizer::convert_ids_to_tokens;
  std::optional<std::string> convert_ids_to_tokens(std::int64_t id) const override;
  std::optional<std::int64_t> token_to_id(std::string_view token) const override;
  Index vocab_size() const override;
  Index size() const override;
  std::vector<std::pair<std::int64_t, AddedToken>> added_tokens_decoder() const override;
  std::optional<std::string> special_token(std::string_view role) const override;
  std::vector<std::string> all_special_tokens() const override;
  Side padding_side() const override;
  Side truncation_side() const override;
  Index model_max_length() const override;
  bool clean_up_tokenization_spaces() const override;
  Index num_special_tokens_to_add() const override;
  std::string_view class_name() const override;
  Index add_tokens(const std::vector<AddedToken>& tokens, bool special_tokens = false) override;
  Index add_special_token(std::string_view role, const AddedToken& token) override;
  std::unique_ptr<Tokenizer> clone() const override;
  void save_pretrained(const std::filesystem::path& folder) const override;

 protected:
  explicit TokenizersBackend(std::unique_ptr<tokenization::TokenizerState> state);

  std::vector<std::int64_t> encode_text(std::string_view text,
                                        bool split_special_tokens) const override;
  std::vector<std::int64_t> add_special_tokens_to(std::vector<std::int64_t> ids) const override;
  std::string decode_ids(std::span<const std::int64_t> ids,
                         bool skip_special_tokens) const override;
  bool split_special_tokens() const override;
  bool may_clean_up_spaces() const override;
  bool has_byte_level_tokens() const override;

  std::unique_ptr<tokenization::TokenizerState> state_;

 private:
  friend class AutoTokenizer;  // reads the files before it knows the class
};

}  // namespace instructblip
