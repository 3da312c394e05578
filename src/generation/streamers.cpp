#include "instructblip/generation/streamers.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

std::vector<std::int32_t> code_points(std::string_view text) {
  std::vector<std::int32_t> points;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t point = -1;
    const auto length =
        utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &point);
    points.push_back(length > 0 ? point : 0xFFFD);
    at += length > 0 ? static_cast<std::size_t>(length) : 1;
  }
  return points;
}

bool is_chinese(std::int32_t point) {
  constexpr std::pair<std::int32_t, std::int32_t> kBlocks[] = {
      {0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
      {0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  return std::any_of(std::begin(kBlocks), std::end(kBlocks), [&](const auto& block) {
    return point >= block.first && point <= block.second;
  });
}

// True for Python's str.isspace and for the categories L, M and N.
bool is_word_or_space(std::int32_t point) {
  if ((point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x1F) || point == 0x85) {
    return true;
  }
  const std::string_view category = utf8proc_category_string(point);
  return category == "Zs" || category == "Zl" || category == "Zp" || category[0] == 'L' ||
         category[0] == 'M' || category[0] == 'N';
}

}  // namespace

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
  const std::vector<std::int32_t> points = code_points(piece);
  if (points.back() != '\n' && !is_chinese(points.back()) &&
      !std::all_of(points.begin(), points.end(), is_word_or_space)) {
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
