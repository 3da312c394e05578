#include "instructblip/tokenization/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "tokenization/byte_level.h"
#include "tokenization/decoders.h"
#include "tokenization/models.h"
#include "tokenization/unicode.h"

namespace instructblip {
namespace {

/// The effect of a call's options (_get_padding_truncation_strategies in the reference).
struct Strategy {
  PaddingStrategy padding = PaddingStrategy::DoNotPad;
  bool truncates = false;
  Index max_length = 0;
};

void check_padding(const Tokenizer& tokenizer) {
  if (tokenizer.pad_token_id()) return;
  throw InputError("padding was requested, but the tokenizer (" +
                   std::string(tokenizer.class_name()) +
                   ") has no padding token; give TokenizerOptions::pad_token, or call "
                   "add_special_token(\"pad_token\", "
                   "...)");
}

Strategy strategy_of(const Tokenizer& tokenizer, const EncodeOptions& options) {
  if (options.max_length && *options.max_length < 0) {
    throw InputError("max_length: expected 0 or more, found " +
                     std::to_string(*options.max_length));
  }
  if (options.pad_to_multiple_of && *options.pad_to_multiple_of <= 0) {
    throw InputError("pad_to_multiple_of: expected 1 or more, found " +
                     std::to_string(*options.pad_to_multiple_of));
  }
  Strategy strategy{options.padding, options.truncation.value_or(false),
                    options.max_length.value_or(0)};
  const bool pads = options.padding != PaddingStrategy::DoNotPad;
  if (options.max_length && !pads && !options.truncation) strategy.truncates = true;
  if (!options.max_length) {
    const bool limited = tokenizer.model_max_length() != Tokenizer::unlimited_length;
    if (limited) {
      strategy.max_length = tokenizer.model_max_length();
    } else {
      strategy.truncates = false;
      if (strategy.padding == PaddingStrategy::MaxLength)
        strategy.padding = PaddingStrategy::DoNotPad;
    }
  }
  if (strategy.padding != PaddingStrategy::DoNotPad) check_padding(tokenizer);
  if (strategy.padding != PaddingStrategy::DoNotPad && strategy.truncates &&
      options.pad_to_multiple_of && strategy.max_length % *options.pad_to_multiple_of != 0) {
    throw InputError(
        "padding and truncation together: the length " + std::to_string(strategy.max_length) +
        " is not a multiple of pad_to_multiple_of, " + std::to_string(*options.pad_to_multiple_of));
  }
  return strategy;
}

void truncate(std::vector<std::int64_t>& ids, Index most, Side side) {
  const auto size = std::ssize(ids);
  if (size <= most) return;
  if (side == Side::Left) {
    ids.erase(ids.begin(), ids.begin() + (size - most));
  } else {
    ids.resize(to_size(most));
  }
}

void pad(std::vector<std::int64_t>& row, Index length, std::int64_t value, Side side) {
  const auto missing = length - std::ssize(row);
  if (missing <= 0) return;
  row.insert(side == Side::Left ? row.begin() : row.end(), to_size(missing), value);
}

Index padded_length(const std::vector<std::vector<std::int64_t>>& rows, const Strategy& strategy,
                    const EncodeOptions& options) {
  std::size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  Index length = strategy.padding == PaddingStrategy::Longest ? static_cast<Index>(longest)
                                                              : strategy.max_length;
  if (const Index multiple = options.pad_to_multiple_of.value_or(1); length % multiple != 0) {
    length += multiple - length % multiple;
  }
  return length;
}

void warn_if_too_long(const Tokenizer& tokenizer, std::size_t length,
                      const EncodeOptions& options) {
  if (options.max_length || tokenizer.model_max_length() == 0) return;
  if (static_cast<Index>(length) <= tokenizer.model_max_length()) return;
  log_warning("a text has " + std::to_string(length) +
              " ids, more than this tokenizer's model_max_length, " +
              std::to_string(tokenizer.model_max_length()) +
              "; the model may fail on it. Truncate it (truncation = true)");
}

/// Logged only once, as in the reference, because a streamer decodes after every token.
void warn_of_clean_up(std::string_view class_name) {
  static std::atomic_flag warned = ATOMIC_FLAG_INIT;
  if (warned.test_and_set()) return;
  log_warning("clean_up_tokenization_spaces is ignored by " + std::string(class_name) +
              ", a byte-pair encoding, because it would remove spaces that belong to the text; set "
              "it to false to silence this warning");
}

std::vector<std::vector<std::int64_t>> rows_of(const TensorView& tensor) {
  if (tensor.rank() != 2 || tensor.dtype != DType::Int64) {
    throw InputError("ids to decode: expected an int64 tensor [rows, columns], found " +
                     std::string(name_of(tensor.dtype)) + " " + to_string(tensor.shape));
  }
  const Tensor copy = Tensor::copy_of(tensor);
  const std::int64_t* data = copy.data<std::int64_t>();
  std::vector<std::vector<std::int64_t>> rows;
  for (Index r = 0; r < tensor.dim(0); ++r, data += tensor.dim(1)) {
    rows.emplace_back(data, data + tensor.dim(1));
  }
  return rows;
}

}  // namespace

Tensor to_tensor(const std::vector<std::vector<std::int64_t>>& rows) {
  const std::size_t columns = rows.empty() ? 0 : rows[0].size();
  Tensor tensor =
      Tensor::uninitialized(DType::Int64, {std::ssize(rows), static_cast<Index>(columns)});
  std::int64_t* out = tensor.data<std::int64_t>();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].size() != columns) {
      throw InputError("to_tensor: row " + std::to_string(r) + " has " +
                       std::to_string(rows[r].size()) + " ids, but row 0 has " +
                       std::to_string(columns) + "; pad them (padding = PaddingStrategy::Longest)");
    }
    out = std::copy(rows[r].begin(), rows[r].end(), out);
  }
  return tensor;
}

struct Tokenizer::TokenTexts {
  std::shared_mutex mutex;
  std::unordered_map<std::int64_t, std::optional<std::string>> by_id;
};

Tokenizer::Tokenizer() : token_texts_(std::make_shared<TokenTexts>()) {}
Tokenizer::~Tokenizer() = default;

void Tokenizer::forget_token_texts() { token_texts_ = std::make_shared<TokenTexts>(); }

std::vector<std::int64_t> Tokenizer::encode(std::string_view text,
                                            const EncodeOptions& options) const {
  return (*this)({std::string(text)}, options).input_ids[0];
}

BatchEncoding Tokenizer::operator()(const std::vector<std::string>& texts,
                                    const EncodeOptions& options) const {
  const Strategy strategy = strategy_of(*this, options);
  const Index added = options.add_special_tokens ? num_special_tokens_to_add() : 0;
  const bool truncates = strategy.truncates && strategy.max_length != 0;
  if (truncates && strategy.max_length < added) {
    throw InputError(
        "max_length is " + std::to_string(strategy.max_length) + ", but " + std::to_string(added) +
        " special tokens are added to every text; raise it, or set add_special_tokens = false");
  }
  BatchEncoding batch;
  for (const std::string& text : texts) {
    if (const auto invalid = unicode::first_invalid_byte(text)) {
      throw TokenizerError("text " + std::to_string(batch.input_ids.size()) +
                           " is not valid UTF-8 at byte " + std::to_string(*invalid) + " of " +
                           std::to_string(text.size()));
    }
    std::vector<std::int64_t> ids =
        encode_text(text, options.split_special_tokens.value_or(split_special_tokens()));
    if (truncates) {
      truncate(ids, strategy.max_length - added,
               options.truncation_side.value_or(truncation_side()));
    }
    if (options.add_special_tokens) ids = add_special_tokens_to(std::move(ids));
    batch.attention_mask.emplace_back(ids.size(), 1);
    batch.input_ids.push_back(std::move(ids));
  }
  if (strategy.padding != PaddingStrategy::DoNotPad) {
    const Side side = options.padding_side.value_or(padding_side());
    const Index length = padded_length(batch.input_ids, strategy, options);
    for (auto& row : batch.input_ids) pad(row, length, *pad_token_id(), side);
    for (auto& row : batch.attention_mask) pad(row, length, 0, side);
  }
  for (const auto& row : batch.input_ids) warn_if_too_long(*this, row.size(), options);
  return batch;
}

std::vector<std::string> Tokenizer::tokenize(std::string_view text) const {
  return convert_ids_to_tokens(encode(text, {.add_special_tokens = false}));
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids,
                              const DecodeOptions& options) const {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) {
      throw InputError("id " + std::to_string(i) + " to decode is " + std::to_string(ids[i]) +
                       "; expected 0 or more");
    }
  }
  std::string text = decode_ids(ids, options.skip_special_tokens);
  return cleans_up_spaces(options) ? tokenization::clean_up_tokenization(std::move(text)) : text;
}

std::size_t Tokenizer::num_settled(std::span<const std::int64_t> ids,
                                   bool /*skip_special_tokens*/) const {
  return ids.size();
}

bool Tokenizer::cleans_up_spaces(const DecodeOptions& options) const {
  if (!options.clean_up_tokenization_spaces.value_or(clean_up_tokenization_spaces())) return false;
  if (!may_clean_up_spaces()) warn_of_clean_up(class_name());
  return may_clean_up_spaces();
}

std::string Tokenizer::decode_settled(std::span<const std::int64_t> ids,
                                      const DecodeOptions& options) const {
  // Consecutive byte tokens become text together; tokens without text between them do not separate
  // them.
  std::size_t settled = num_settled(ids, options.skip_special_tokens);
  for (std::size_t i = settled; i-- > 0;) {
    const auto token = convert_ids_to_tokens(ids[i]);
    if (token && tokenization::byte_of_token(*token)) {
      settled = i;
    } else if (!decode_ids(ids.subspan(i, 1), options.skip_special_tokens).empty()) {
      break;
    }
  }
  const DecodeOptions raw{options.skip_special_tokens, false};
  std::string text = decode(ids.first(settled), raw);
  constexpr std::string_view kUnfinished = "\xEF\xBF\xBD";  // or invalid: the next byte decides
  while (text.ends_with(kUnfinished)) text.resize(text.size() - kUnfinished.size());
  return cleans_up_spaces(options) ? tokenization::settled_clean_up(std::move(text)) : text;
}

std::vector<std::string> Tokenizer::batch_decode(
    const std::vector<std::vector<std::int64_t>>& sequences, const DecodeOptions& options) const {
  std::vector<std::string> texts;
  texts.reserve(sequences.size());
  for (const auto& ids : sequences) texts.push_back(decode(ids, options));
  return texts;
}

std::vector<std::string> Tokenizer::batch_decode(const TensorView& sequences,
                                                 const DecodeOptions& options) const {
  return batch_decode(rows_of(sequences), options);
}

bool Tokenizer::has_byte_tokens() const {
  return has_byte_level_tokens() || token_to_id(tokenization::byte_token('\n')).has_value();
}

std::optional<std::string> Tokenizer::token_text(std::int64_t id) const {
  // Not waited for: in a forked process a thread that does not exist may have locked it.
  if (const std::shared_lock lock(token_texts_->mutex, std::try_to_lock); lock) {
    const auto known = token_texts_->by_id.find(id);
    if (known != token_texts_->by_id.end()) return known->second;
  }
  std::optional<std::string> text = find_token_text(id);
  if (const std::unique_lock lock(token_texts_->mutex, std::try_to_lock); lock) {
    token_texts_->by_id.emplace(id, text);
  }
  return text;
}

std::optional<std::string> Tokenizer::find_token_text(std::int64_t id) const {
  const auto token = id >= 0 ? convert_ids_to_tokens(id) : std::nullopt;
  if (!token) return std::nullopt;
  if (has_byte_level_tokens()) {
    if (auto bytes = tokenization::from_byte_characters(*token)) return bytes;
  } else if (has_byte_tokens()) {
    if (const auto byte = tokenization::byte_of_token(*token)) return std::string(1, *byte);
  }
  // Decoded after a word, so that a leading space is kept and no prefix is removed.
  const std::string prefix = "abcdef";
  std::vector<std::int64_t> ids = encode(prefix, {.add_special_tokens = false});
  ids.push_back(id);
  const DecodeOptions raw{.clean_up_tokenization_spaces = false};
  const std::string text = decode(ids, raw);
  const std::size_t at = text.find(prefix);
  return at == std::string::npos ? decode({id}) : text.substr(at + prefix.size());
}

std::optional<std::int64_t> Tokenizer::convert_tokens_to_ids(std::string_view token) const {
  if (const auto id = token_to_id(token)) return id;
  return unk_token_id();
}

std::vector<std::int64_t> Tokenizer::convert_tokens_to_ids(
    const std::vector<std::string>& tokens) const {
  std::vector<std::int64_t> ids;
  ids.reserve(tokens.size());
  for (const std::string& token : tokens) {
    const auto id = convert_tokens_to_ids(token);
    if (!id) throw InputError("the token \"" + token + "\" is not in the vocabulary");
    ids.push_back(*id);
  }
  return ids;
}

std::vector<std::string> Tokenizer::convert_ids_to_tokens(std::span<const std::int64_t> ids,
                                                          bool skip_special_tokens) const {
  const std::vector<std::int64_t> special =
      skip_special_tokens ? all_special_ids() : std::vector<std::int64_t>();
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const std::int64_t id : ids) {
    if (std::find(special.begin(), special.end(), id) != special.end()) continue;
    auto token = convert_ids_to_tokens(id);
    if (!token) {
      throw InputError("the id " + std::to_string(id) + " is not in the vocabulary, which has " +
                       std::to_string(size()) + " tokens");
    }
    tokens.push_back(std::move(*token));
  }
  return tokens;
}

std::optional<std::int64_t> Tokenizer::special_token_id(std::string_view role) const {
  const auto token = special_token(role);
  if (!token) return std::nullopt;
  if (const auto id = token_to_id(*token)) return id;
  if (role == "unk_token") return std::nullopt;
  return unk_token_id();
}

std::vector<std::int64_t> Tokenizer::all_special_ids() const {
  std::vector<std::int64_t> ids;
  for (const std::string& token : all_special_tokens()) {
    if (const auto id = convert_tokens_to_ids(token)) ids.push_back(*id);
  }
  return ids;
}

}  // namespace instructblip
