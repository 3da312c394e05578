// The interface of all tokenizers: text to ids and back. Mirrors transformers'
// PreTrainedTokenizerBase (`tokenization_utils_base.py`) and AutoTokenizer
// (`models/auto/tokenization_auto.py`). "The reference" means transformers 5.24 with its tokenizers
// library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// A token that is matched in the text before the tokenizer's model is applied.
struct AddedToken {
  std::string content;
  bool single_word = false;  // not inside a longer word
  bool lstrip = false;       // includes the white space on its left
  bool rstrip = false;       // includes the white space on its right
  bool normalized = true;    // matched in the normalised text instead of the raw one
  bool special = false;      // omitted with `skip_special_tokens`

  bool operator==(const AddedToken&) const = default;
};

enum class PaddingStrategy { DoNotPad, Longest, MaxLength };
enum class Side { Left, Right };

/// Options for encoding text. Names, defaults and order are those of the reference's `__call__`.
struct EncodeOptions {
  /// Adds the special tokens that the model expects ([CLS] ... [SEP], <s> ..., ... </s>).
  bool add_special_tokens = true;
  /// Pads to the longest row of the batch or to `max_length`.
  PaddingStrategy padding = PaddingStrategy::DoNotPad;
  /// Truncates rows to `max_length`. Unset: true if `max_length` is set and `padding` is not.
  std::optional<bool> truncation = std::nullopt;
  /// Maximum ids per row, including special tokens. Unset: the tokenizer's `model_max_length`; if
  /// that is unlimited, rows are neither truncated nor padded to a length. 0 does not truncate, as
  /// in the reference.
  std::optional<Index> max_length = std::nullopt;
  /// Rounds the padded length up to a multiple of this number.
  std::optional<Index> pad_to_multiple_of = std::nullopt;
  /// Unset: the tokenizer's padding side.
  std::optional<Side> padding_side = std::nullopt;
  /// Unset: the tokenizer's truncation side, which the reference always uses.
  std::optional<Side> truncation_side = std::nullopt;
  /// Treats special tokens in the text as plain text. Unset: as in `tokenizer_config.json`.
  std::optional<bool> split_special_tokens = std::nullopt;
};

/// Options for decoding ids.
struct DecodeOptions {
  /// Omits all special tokens, including `<unk>`.
  bool skip_special_tokens = false;
  /// Removes spaces before punctuation and contractions. Unset: as in `tokenizer_config.json`
  /// (default false). Ignored with a warning for BPE models (OPT, LLaMA), as in the reference.
  std::optional<bool> clean_up_tokenization_spaces = std::nullopt;
};

class Tokenizer;

/// Options for loading a tokenizer. They take precedence over the folder's files, which apply where
/// an option is unset. Some options are read only by the classes in their comments.
struct TokenizerOptions {
  std::optional<std::string> bos_token = std::nullopt;
  std::optional<std::string> eos_token = std::nullopt;
  std::optional<std::string> unk_token = std::nullopt;
  std::optional<std::string> sep_token = std::nullopt;
  std::optional<std::string> pad_token = std::nullopt;
  std::optional<std::string> cls_token = std::nullopt;
  std::optional<std::string> mask_token = std::nullopt;
  std::optional<Index> model_max_length = std::nullopt;
  std::optional<Side> padding_side = std::nullopt;
  std::optional<Side> truncation_side = std::nullopt;
  std::optional<bool> clean_up_tokenization_spaces = std::nullopt;
  std::optional<bool> add_bos_token = std::nullopt;     // if either is set, both apply
  std::optional<bool> add_eos_token = std::nullopt;     // see add_bos_token
  std::optional<bool> add_prefix_space = std::nullopt;  // GPT-2, LLaMA
  std::optional<bool> legacy = std::nullopt;            // LLaMA
  std::optional<bool> do_lower_case = std::nullopt;     // BERT

  // An addition of this library:
  /// Loads the tokenizer in place of AutoTokenizer::from_pretrained, with the same arguments:
  /// SentencePieceTokenizer::from_pretrained (tokenization/sentencepiece_tokenizer.h), or your own.
  std::function<std::unique_ptr<Tokenizer>(const std::filesystem::path& folder,
                                           const TokenizerOptions& options)>
      loader = {};
};

/// Ids of a batch of texts. Rows have different lengths unless padded.
struct BatchEncoding {
  std::vector<std::vector<std::int64_t>> input_ids;
  std::vector<std::vector<std::int64_t>> attention_mask;  // 1 text, 0 padding
};

/// An int64 tensor [rows, columns]. Throws InputError if the rows differ in length; encode with
/// padding.
INSTRUCTBLIP_EXPORT Tensor to_tensor(const std::vector<std::vector<std::int64_t>>& rows);

/// Converts text to ids and back. `const` methods are thread-safe. Text must be UTF-8; otherwise
/// TokenizerError names the offset of the first invalid byte.
class INSTRUCTBLIP_EXPORT Tokenizer {
 public:
  static constexpr Index unlimited_length = (std::numeric_limits<Index>::max)();

  virtual ~Tokenizer();

  /// Ids of one text.
  std::vector<std::int64_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// Ids and masks of a batch. Throws InputError if padding is requested without a padding token,
  /// or if the lengths are inconsistent. Logs a warning for rows that are longer than
  /// `model_max_length` and not truncated.
  BatchEncoding operator()(const std::vector<std::string>& texts,
                           const EncodeOptions& options = {}) const;
  /// The tokens of a text, without special tokens.
  std::vector<std::string> tokenize(std::string_view text) const;

  /// The text of some ids. Ids beyond the vocabulary are skipped, as in the reference; a negative
  /// id throws InputError.
  std::string decode(std::span<const std::int64_t> ids, const DecodeOptions& options = {}) const;
  std::string decode(std::initializer_list<std::int64_t> ids,
                     const DecodeOptions& options = {}) const {
    return decode(std::span(ids.begin(), ids.size()), options);
  }
  /// The part of `decode(ids)` that later ids cannot change, for showing text while it is
  /// generated. Omits incomplete characters at the end and, with clean_up_tokenization_spaces, text
  /// that may be the start of a pattern such as " .".
  std::string decode_settled(std::span<const std::int64_t> ids,
                             const DecodeOptions& options = {}) const;
  std::vector<std::string> batch_decode(const std::vector<std::vector<std::int64_t>>& sequences,
                                        const DecodeOptions& options = {}) const;
  /// Decodes the rows of an int64 tensor [rows, columns].
  std::vector<std::string> batch_decode(const TensorView& sequences,
                                        const DecodeOptions& options = {}) const;

  /// The id of a token, or of `unk_token` if the token is unknown; nothing if there is no
  /// `unk_token`.
  std::optional<std::int64_t> convert_tokens_to_ids(std::string_view token) const;
  /// Throws InputError that names a token if it is unknown and there is no `unk_token`.
  std::vector<std::int64_t> convert_tokens_to_ids(const std::vector<std::string>& tokens) const;
  /// The token of an id; nothing if the id is not in the vocabulary.
  virtual std::optional<std::string> convert_ids_to_tokens(std::int64_t id) const = 0;
  /// Throws InputError that names the first id that is not in the vocabulary.
  std::vector<std::string> convert_ids_to_tokens(std::span<const std::int64_t> ids,
                                                 bool skip_special_tokens = false) const;
  /// The bytes that a token adds to a text when it is not the first; they may be part of a
  /// character. Nothing for an id outside the vocabulary. Cached; copies share the cache.
  std::optional<std::string> token_text(std::int64_t id) const;
  /// Whether a token may be a single byte of a character, as in GPT-2's alphabet or "<0x0A>".
  bool has_byte_tokens() const;
  /// The id of a token in the vocabulary or of an added token; nothing if it is unknown.
  virtual std::optional<std::int64_t> token_to_id(std::string_view token) const = 0;

  /// Number of tokens in the model's vocabulary, without added tokens.
  virtual Index vocab_size() const = 0;
  /// Number of tokens including added ones: the reference's `len(tokenizer)`.
  virtual Index size() const = 0;
  /// All added tokens, in the order of their ids.
  virtual std::vector<std::pair<std::int64_t, AddedToken>> added_tokens_decoder() const = 0;

  std::optional<std::string> bos_token() const { return special_token("bos_token"); }
  std::optional<std::string> eos_token() const { return special_token("eos_token"); }
  std::optional<std::string> unk_token() const { return special_token("unk_token"); }
  std::optional<std::string> sep_token() const { return special_token("sep_token"); }
  std::optional<std::string> pad_token() const { return special_token("pad_token"); }
  std::optional<std::string> cls_token() const { return special_token("cls_token"); }
  std::optional<std::string> mask_token() const { return special_token("mask_token"); }
  std::optional<std::int64_t> bos_token_id() const { return special_token_id("bos_token"); }
  std::optional<std::int64_t> eos_token_id() const { return special_token_id("eos_token"); }
  std::optional<std::int64_t> unk_token_id() const { return special_token_id("unk_token"); }
  std::optional<std::int64_t> sep_token_id() const { return special_token_id("sep_token"); }
  std::optional<std::int64_t> pad_token_id() const { return special_token_id("pad_token"); }
  std::optional<std::int64_t> cls_token_id() const { return special_token_id("cls_token"); }
  std::optional<std::int64_t> mask_token_id() const { return special_token_id("mask_token"); }
  /// The token of a role, named as in the reference: "bos_token", "image_token", ...
  virtual std::optional<std::string> special_token(std::string_view role) const = 0;
  /// The id of the token of a role, as convert_tokens_to_ids returns it.
  std::optional<std::int64_t> special_token_id(std::string_view role) const;
  /// All special tokens without duplicates, in the reference's order.
  virtual std::vector<std::string> all_special_tokens() const = 0;
  std::vector<std::int64_t> all_special_ids() const;

  virtual Side padding_side() const = 0;
  virtual Side truncation_side() const = 0;
  /// `unlimited_length` if the folder does not set it.
  virtual Index model_max_length() const = 0;
  virtual bool clean_up_tokenization_spaces() const = 0;
  /// Number of ids that `add_special_tokens` adds to a text.
  virtual Index num_special_tokens_to_add() const = 0;
  /// The class name in the reference: "BertTokenizer", "GPT2Tokenizer", ...
  virtual std::string_view class_name() const = 0;

  /// Adds tokens. New ones are appended to the vocabulary; existing ones become added tokens with
  /// their current id. `special_tokens` makes all of them special. Returns the number of tokens
  /// that were not added tokens before, as the reference does. Not thread-safe.
  virtual Index add_tokens(const std::vector<AddedToken>& tokens, bool special_tokens = false) = 0;
  /// Sets the token of a role ("pad_token", ...) and adds it if it is new. Returns the same number
  /// as `add_tokens`. Not thread-safe.
  virtual Index add_special_token(std::string_view role, const AddedToken& token) = 0;

  virtual std::unique_ptr<Tokenizer> clone() const = 0;
  /// Writes tokenizer.json and tokenizer_config.json as the reference does; creates the folder if
  /// necessary. Throws TokenizerError on failure.
  virtual void save_pretrained(const std::filesystem::path& folder) const = 0;

 protected:
  Tokenizer();
  Tokenizer(const Tokenizer&) = default;
  Tokenizer& operator=(const Tokenizer&) = default;

  /// The ids of valid UTF-8 text, without special tokens.
  virtual std::vector<std::int64_t> encode_text(std::string_view text,
                                                bool split_special_tokens) const = 0;
  /// The ids with special tokens around them.
  virtual std::vector<std::int64_t> add_special_tokens_to(std::vector<std::int64_t> ids) const = 0;
  virtual std::string decode_ids(std::span<const std::int64_t> ids,
                                 bool skip_special_tokens) const = 0;
  virtual bool split_special_tokens() const = 0;
  /// False if cleaning up spaces is ignored with a warning (BPE).
  virtual bool may_clean_up_spaces() const = 0;
  /// Whether tokens are written in GPT-2's byte alphabet.
  virtual bool has_byte_level_tokens() const { return false; }
  /// The number of first ids whose decoded text later ids do not change, bytes of an incomplete
  /// character aside.
  virtual std::size_t num_settled(std::span<const std::int64_t> ids,
                                  bool skip_special_tokens) const;
  /// Clears the cache of token_text. Must be called when tokens change.
  void forget_token_texts();

 private:
  struct TokenTexts;

  bool cleans_up_spaces(const DecodeOptions& options) const;
  std::optional<std::string> find_token_text(std::int64_t id) const;

  std::shared_ptr<TokenTexts> token_texts_;
};

class INSTRUCTBLIP_EXPORT AutoTokenizer {
 public:
  /// Reads the tokenizer of a checkpoint. Its class is named by `tokenizer_class` in
  /// `tokenizer_config.json` or `config.json`; otherwise it is guessed, with a warning, from the
  /// language model in config.json or from the files in the folder. Throws TokenizerError that
  /// names the file, or the part of it, that is missing, malformed or not supported.
  static std::unique_ptr<Tokenizer> from_pretrained(const std::filesystem::path& folder,
                                                    const TokenizerOptions& options = {});
};

}  // namespace instructblip
