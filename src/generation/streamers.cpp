#include "instructblip/generation/streamers.h"

#include <algorithm>
#include <utility>

#include "instructblip/core/error.h"
#include "tokenization/unicode.h"

namespace instructblip {

TextStreamer::TextStreamer(const Tokenizer& tokenizer, Callback callback, bool skip_prompt,
                           DecodeOptions decode_options)
    : tokenizer_(tokenizer),
      callback_(std::move(callback)),
      skip_prompt_(skip_prompt),
      decode_options_(decode_options) {}

bool TextStreamer::emit(std::string_view piece) {
  return piece.empty() || !callback_ || callback_(piece);
}

bool TextStreamer::put(const Tensor& ids) {
  const bool is_prompt = std::exchange(next_tokens_are_prompt_, false);
  if (ids.rank() > 1 ? ids.dim(0) > 1 : is_prompt == false && ids.size() > 1) {
    throw InputError("a TextStreamer takes one row, found ids of shape " + to_string(ids.shape()) +
                     "; generate the rows one by one or derive from BaseStreamer");
  }
  if (is_prompt && skip_prompt_) return true;
  const auto values = ids.span<std::int64_t>();
  token_cache_.insert(token_cache_.end(), values.begin(), values.end());
  const std::string text = tokenizer_.decode_settled(token_cache_, decode_options_);
  if (text.size() <= printed_) return true;
  std::string_view piece = std::string_view(text).substr(printed_);
  const std::vector<char32_t> characters = unicode::code_points(piece);
  if (characters.back() != '\n' && !unicode::is_chinese(characters.back()) &&
      !std::all_of(characters.begin(), characters.end(), unicode::is_word_or_space)) {
    piece = piece.substr(0, piece.rfind(' ') + 1);  // nothing if there is none
  }
  printed_ += piece.size();
  forget_printed();
  return emit(piece);
}

void TextStreamer::forget_printed() {
  constexpr std::size_t kMostTokens = 64;
  if (token_cache_.size() < kMostTokens) return;
  // The last id remains as context, so that the next token keeps its leading space. This is only
  // safe if the id alone decodes to its final text and all text so far was emitted.
  const auto last = std::span(token_cache_).last(1);
  const std::string text = tokenizer_.decode(last, decode_options_);
  if (text.empty() || tokenizer_.decode_settled(last, decode_options_) != text ||
      tokenizer_.decode(token_cache_, decode_options_).size() != printed_) {
    return;
  }
  token_cache_ = {token_cache_.back()};
  printed_ = text.size();
}

void TextStreamer::end() {
  const std::string text = tokenizer_.decode(token_cache_, decode_options_);
  token_cache_.clear();
  const std::size_t printed = std::min(std::exchange(printed_, 0), text.size());
  next_tokens_are_prompt_ = true;
  emit(std::string_view(text).substr(printed));
}

}  // namespace instructblip
