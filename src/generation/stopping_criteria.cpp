#include "instructblip/generation/stopping_criteria.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip {
namespace {

class FunctionStoppingCriteria : public StoppingCriteria {
 public:
  explicit FunctionStoppingCriteria(std::function<bool(const StoppingRow&)> body)
      : body_(std::move(body)) {}
  bool is_done(const StoppingRow& row) const override { return body_(row); }

 private:
  std::function<bool(const StoppingRow&)> body_;
};

// Length of the overlap if the first `end` bytes of a token end a part of the stop string: either
// one contains the other at its end. Otherwise 0.
std::size_t overlap(std::string_view token, std::size_t end, std::string_view stop_string) {
  const std::size_t most = std::min(end, stop_string.size());
  return token.substr(0, end).ends_with(stop_string.substr(stop_string.size() - most)) ? most : 0;
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

std::shared_ptr<const StoppingCriteria> stopping_criterion(
    std::function<bool(const StoppingRow&)> body) {
  return std::make_shared<FunctionStoppingCriteria>(std::move(body));
}

bool MaxLengthCriteria::is_done(const StoppingRow& row) const {
  const auto length = static_cast<Index>(row.input_ids.size());
  if (length >= max_length_) return true;
  if (max_position_embeddings_ && length > *max_position_embeddings_ && !warned_.exchange(true)) {
    log_warning("this generation has exceeded the model's maximum length (" +
                std::to_string(*max_position_embeddings_) +
                ", its max_position_embeddings): its answer may be worse from there on; shorten " +
                "the prompt or `max_new_tokens`");
  }
  return false;
}

std::vector<bool> MaxTimeCriteria::operator()(std::span<const StoppingRow> rows) const {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  return std::vector<bool>(rows.size(), elapsed.count() > max_time_);
}

bool EosTokenCriteria::is_done(const StoppingRow& row) const {
  return !row.input_ids.empty() && std::find(eos_token_id_.begin(), eos_token_id_.end(),
                                             row.input_ids.back()) != eos_token_id_.end();
}

std::vector<bool> CancellationCriteria::operator()(std::span<const StoppingRow> rows) const {
  return std::vector<bool>(rows.size(), cancelled_.load());
}

StopStringCriteria::StopStringCriteria(const Tokenizer& tokenizer,
                                       std::vector<std::string> stop_strings)
    : tokenizer_(tokenizer), stop_strings_(std::move(stop_strings)) {
  const bool has_bytes = tokenizer.has_byte_tokens();
  for (const std::string& text : stop_strings_) {
    most_tokens_ = std::max(most_tokens_, has_bytes ? text.size() : count_characters(text));
  }
  if (!can_complete_any()) {
    throw InputError(
        "no token of the vocabulary can complete any of the `stop_strings`; they contain "
        "characters that the tokenizer does not know");
  }
}

bool StopStringCriteria::can_complete_any() const {
  if (std::find(stop_strings_.begin(), stop_strings_.end(), "") != stop_strings_.end()) return true;
  for (std::int64_t id = 0; id < tokenizer_.size(); ++id) {
    const std::string token = tokenizer_.token_text(id).value_or("");
    for (const std::string& text : stop_strings_) {
      for (std::size_t end = 1; end <= token.size(); ++end) {
        if (overlap(token, end, text) > 0) return true;
      }
    }
  }
  return stop_strings_.empty();
}

bool StopStringCriteria::is_done(const StoppingRow& row) const {
  const auto ids = row.input_ids.last(std::min(row.input_ids.size(), most_tokens_));
  return std::any_of(stop_strings_.begin(), stop_strings_.end(),
                     [&](const std::string& text) { return completes(ids, text); });
}

bool StopStringCriteria::completes(std::span<const std::int64_t> ids,
                                   const std::string& stop_string) const {
  if (stop_string.empty()) return true;
  if (ids.empty()) return false;
  const std::string last = tokenizer_.token_text(ids.back()).value_or("");
  for (std::size_t end = 1; end <= last.size(); ++end) {
    std::size_t matched = overlap(last, end, stop_string);
    if (matched == 0) continue;
    // The tokens before must end with the rest of the stop string. The first of them may be longer.
    for (std::size_t i = ids.size() - 1; matched < stop_string.size() && i-- > 0;) {
      const std::optional<std::string> text = tokenizer_.token_text(ids[i]);
      const std::string_view rest(stop_string.data(), stop_string.size() - matched);
      if (!text) break;
      const std::size_t shared = std::min(text->size(), rest.size());
      if (rest.substr(rest.size() - shared) !=
          std::string_view(*text).substr(text->size() - shared)) {
        break;
      }
      matched += text->size();
    }
    if (matched >= stop_string.size()) return true;
  }
  return false;
}

}  // namespace instructblip
