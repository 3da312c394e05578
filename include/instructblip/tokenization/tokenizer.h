// What a tokenizer does, whatever its kind: text to ids and back. Mirrors transformers'
// PreTrainedTokenizerBase (`tokenization_utils_base.py`) and AutoTokenizer
// (`models/auto/tokenization_auto.py`).
#pragma once

#include <cstdint>
#include <filesystem>
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

/// A token that is found in the raw text, before the tokenizer's model sees it.
struct AddedToken {
  std::string content;
  bool single_word = false;  // only where it is not part of a longer word
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;       // takes the white space on its right with it
  bool normalized = true;    // looked for in the normalised text instead of the raw one
  bool special = false;      // left out by `skip_special_tokens`

  bool operator==(const AddedToken&) const = default;
};

enum class PaddingStrategy { DoNotPad, Longest, MaxLength };
enum class Side { Left, Right };

/// How text becomes ids. Names, defaults and order are those of the reference's `__call__`.
struct EncodeOptions {
  /// Adds the tokens that the model expects around a text ([CLS] ... [SEP], <s> ..., ... </s>).
  bool add_special_tokens = true;
  /// To the longest row of the batch, or to `max_length`.
  PaddingStrategy padding = PaddingStrategy::DoNotPad;
  /// Cuts rows to `max_length`. Unset: true if `max_length` is given and `padding` is not.
  std::optional<bool> truncation = std::nullopt;
  /// Ids a row, those of `add_special_tokens` included. Unset: the tokenizer's `model_max_length`,
  /// and neither cut nor padded to a length if that is unlimited. 0 cuts nothing, as in the
  /// reference.
  std::optional<Index> max_length = std::nullopt;
  /// Rounds the padded length up to a multiple.
  std::optional<Index> pad_to_multiple_of = std::nullopt;
  /// Unset: the tokenizer's own.
  std::optional<Side> padding_side = std::nullopt;
  /// Ours: the reference always takes the tokenizer's own, which is what unset means here too.
  std::optional<Side> truncation_side = std::nullopt;
  /// Takes special tokens that stand in the text as plain text. Unset: as `tokenizer_config.json`
  /// says.
  std::optional<bool> split_special_tokens = std::nullopt;
};

/// How ids become text.
struct DecodeOptions {
  /// Leaves out every special token, `<unk>` too.
  bool skip_special_tokens = false;
  /// Removes spaces before punctuation and contractions. Unset: as `tokenizer_config.json` says
  /// (default false). Ignored with a warning where the model is BPE (OPT, LLaMA), as in the
  /// reference.
  std::optional<bool> clean_up_tokenization_spaces = std::nullopt;
};

/// What may be set when a tokenizer is loaded; each wins over the folder's files, and what is unset
/// is as these say. A field with a class behind it is read by that class alone.
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
  std::optional<bool> add_bos_token = std::nullopt;     // given: BOS and EOS are as these two say
  std::optional<bool> add_eos_token = std::nullopt;     // see add_bos_token
  std::optional<bool> add_prefix_space = std::nullopt;  // GPT-2, LLaMA
  std::optional<bool> legacy = std::nullopt;            // LLaMA
  std::optional<bool> do_lower_case = std::nullopt;     // BERT
};

/// Ids of a batch of texts; the rows are of different lengths unless padded.
struct BatchEncoding {
  std::vector<std::vector<std::int64_t>> input_ids;
  std::vector<std::vector<std::int64_t>> attention_mask;  // 1 text, 0 padding
};

/// [rows, columns] int64. Throws InputError if the rows differ in length (ask for padding).
INSTRUCTBLIP_EXPORT Tensor to_tensor(const std::vector<std::vector<std::int64_t>>& rows);

/// Text to ids and back. `const` methods may be called from several threads at once. Text is UTF-8:
/// anything else throws TokenizerError naming the offset of the first bad byte.
class INSTRUCTBLIP_EXPORT Tokenizer {
 public:
  static constexpr Index unlimited_length = std::numeric_limits<Index>::max();

  virtual ~Tokenizer();

  /// Ids of one text.
  std::vector<std::int64_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// Ids and masks of a batch. Throws InputError if padding is asked for and there is no padding
  /// token, or lengths contradict each other. Rows longer than `model_max_length` that nothing cuts
  /// are warned of.
  BatchEncoding operator()(const std::vector<std::string>& texts,
                           const EncodeOptions& options = {}) const;
  /// The tokens that `encode` gives ids of, without special tokens.
  std::vector<std::string> tokenize(std::string_view text) const;

  /// Ids beyond the vocabulary vanish silently, as in the reference; a negative id throws
  /// InputError.
  std::string decode(std::span<const std::int64_t> ids, const DecodeOptions& options = {}) const;
  std::string decode(std::initializer_list<std::int64_t> ids,
                     const DecodeOptions& options = {}) const {
    return decode(std::span(ids.begin(), ids.size()), options);
  }
  /// The beginning of `decode(ids)` that stays whatever ids follow: for text that is shown while it
  /// is generated. Left out is what a later id may complete, join or make invalid: the bytes of a
  /// character, and with clean_up_tokenization_spaces what may begin something that it joins, such
  /// as " .".
  std::string decode_settled(std::span<const std::int64_t> ids,
                             const DecodeOptions& options = {}) const;
  std::vector<std::string> batch_decode(const std::vector<std::vector<std::int64_t>>& sequences,
                                        const DecodeOptions& options = {}) const;
  /// Rows of an int64 tensor [rows, columns].
  std::vector<std::string> batch_decode(const TensorView& sequences,
                                        const DecodeOptions& options = {}) const;

  /// The id of a token; of `unk_token` if the vocabulary lacks it; nothing if there is no such
  /// token either.
  std::optional<std::int64_t> convert_tokens_to_ids(std::string_view token) const;
  /// Throws InputError naming the token if one has neither an id nor an `unk_token` to stand for
  /// it.
  std::vector<std::int64_t> convert_tokens_to_ids(const std::vector<std::string>& tokens) const;
  /// Nothing if the vocabulary ends before `id`.
  virtual std::optional<std::string> convert_ids_to_tokens(std::int64_t id) const = 0;
  /// Throws InputError naming the first id that is not in the vocabulary.
  std::vector<std::string> convert_ids_to_tokens(std::span<const std::int64_t> ids,
                                                 bool skip_special_tokens = false) const;
  /// What a token adds to a text where it is not the first: bytes, not always whole characters.
  /// Nothing for an id outside the vocabulary. Remembered, for all copies together.
  std::optional<std::string> token_text(std::int64_t id) const;
  /// Whether tokens may be single bytes of a character: GPT-2's alphabet, or "<0x0A>".
  bool has_byte_tokens() const;
  /// The id of a token of the vocabulary or of the added tokens; nothing if there is none.
  virtual std::optional<std::int64_t> token_to_id(std::string_view token) const = 0;

  /// Tokens of the model's vocabulary, without the added ones.
  virtual Index vocab_size() const = 0;
  /// The reference's `len(tokenizer)`: with the added tokens.
  virtual Index size() const = 0;
  /// In the order of their ids.
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
  /// By the reference's name of the role: "bos_token", "image_token", ...
  virtual std::optional<std::string> special_token(std::string_view role) const = 0;
  /// Its id, as convert_tokens_to_ids gives it.
  std::optional<std::int64_t> special_token_id(std::string_view role) const;
  /// Named and extra special tokens, each once, in the reference's order.
  virtual std::vector<std::string> all_special_tokens() const = 0;
  std::vector<std::int64_t> all_special_ids() const;

  virtual Side padding_side() const = 0;
  virtual Side truncation_side() const = 0;
  /// `unlimited_length` if the folder does not say.
  virtual Index model_max_length() const = 0;
  virtual bool clean_up_tokenization_spaces() const = 0;
  /// How many ids `add_special_tokens` adds to a text.
  virtual Index num_special_tokens_to_add() const = 0;
  /// The reference's class: "BertTokenizer", "GPT2Tokenizer", ...
  virtual std::string_view class_name() const = 0;

  /// Adds tokens that the vocabulary lacks, at its end; a token that it has becomes an added token
  /// under its id. `special_tokens` makes all of them special. Returns how many were not added
  /// tokens before, as the reference does. Not thread-safe.
  virtual Index add_tokens(const std::vector<AddedToken>& tokens, bool special_tokens = false) = 0;
  /// Sets a special token's role ("pad_token", ...) and adds the token if it is new. Returns how
  /// many were not added tokens before, as `add_tokens`. Not thread-safe.
  virtual Index add_special_token(std::string_view role, const AddedToken& token) = 0;

  virtual std::unique_ptr<Tokenizer> clone() const = 0;
  /// Writes tokenizer.json and tokenizer_config.json as the reference does; makes the folder.
  /// Throws TokenizerError if it cannot.
  virtual void save_pretrained(const std::filesystem::path& folder) const = 0;

 protected:
  Tokenizer();
  Tokenizer(const Tokenizer&) = default;
  Tokenizer& operator=(const Tokenizer&) = default;

  /// Ids of valid UTF-8 without special tokens.
  virtual std::vector<std::int64_t> encode_text(std::string_view text,
                                                bool split_special_tokens) const = 0;
  /// Ids with the special tokens that belong around them.
  virtual std::vector<std::int64_t> add_special_tokens_to(std::vector<std::int64_t> ids) const = 0;
  virtual std::string decode_ids(std::span<const std::int64_t> ids,
                                 bool skip_special_tokens) const = 0;
  virtual bool split_special_tokens() const = 0;
  /// False where cleaning up spaces is ignored with a warning (BPE).
  virtual bool may_clean_up_spaces() const = 0;
  /// Whether tokens are written in GPT-2's alphabet of bytes.
  virtual bool has_byte_level_tokens() const { return false; }
  /// To be called by what changes tokens.
  void forget_token_texts();

 private:
  struct TokenTexts;

  bool cleans_up_spaces(const DecodeOptions& options) const;
  std::optional<std::string> find_token_text(std::int64_t id) const;

  std::shared_ptr<TokenTexts> token_texts_;
};

class INSTRUCTBLIP_EXPORT AutoTokenizer {
 public:
  /// Reads a checkpoint's tokenizer: its class from `tokenizer_config.json` (`tokenizer_class`),
  /// else from `config.json`, else, with a warning, from the language model that this tells of or
  /// the files that are there. Throws TokenizerError naming the file or the part of it that is
  /// missing, malformed or not supported.
  static std::unique_ptr<Tokenizer> from_pretrained(const std::filesystem::path& folder,
                                                    const TokenizerOptions& options = {});
};

}  // namespace instructblip
