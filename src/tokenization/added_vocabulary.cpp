#include "tokenization/added_vocabulary.h"

#include <utility>

#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  std::size_t offset = unicode::previous(text, text.size());
  return unicode::is_word(unicode::next(text, offset));
}

bool starts_with_word(std::string_view text) {
  std::size_t offset = 0;
  return !text.empty() && unicode::is_word(unicode::next(text, offset));
}

std::size_t without_space_at_end(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    const std::size_t begin = unicode::previous(text, end);
    std::size_t offset = begin;
    if (!unicode::is_whitespace(unicode::next(text, offset))) break;
    end = begin;
  }
  return end;
}

std::size_t space_at_start(std::string_view text) {
  std::size_t offset = 0;
  while (offset < text.size()) {
    std::size_t behind = offset;
    if (!unicode::is_whitespace(unicode::next(text, behind))) break;
    offset = behind;
  }
  return offset;
}

}  // namespace

Index AddedVocabulary::add(const std::vector<AddedToken>& tokens, const Model& model,
                           const Normalizer* normalizer) {
  const auto size = static_cast<std::int64_t>(model.size());
  std::int64_t next_id = size;
  if (!by_id_.empty() && (by_id_.rbegin()->first >= size || size == 0)) {
    next_id = by_id_.rbegin()->first + 1;
  }
  Index added = 0;
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    if (const auto invalid = unicode::first_invalid_byte(token.content)) {
      throw TokenizerError(
          "an added token must be valid UTF-8, but has an invalid sequence at byte " +
          std::to_string(*invalid));
    }
    std::optional<std::int64_t> id = token_to_id(token.content);
    if (id && by_id_.at(*id) == token) continue;
    if (!id) id = model.vocabulary().find(token.content);
    if (!id) id = next_id++;
    ++added;
    if (token.normalized && normalizer != nullptr) {
      std::string normalized = normalizer->normalize(token.content);
      if (normalized != token.content) normalized_.insert_or_assign(*id, std::move(normalized));
    }
    ids_.insert_or_assign(token.content, *id);
    if (token.special) special_.insert(token.content);
    by_id_.insert_or_assign(*id, token);
  }
  if (added != 0) rebuild_tries();
  return added;
}

void AddedVocabulary::rebuild_tries() {
  raw_trie_ = {};
  normalized_trie_ = {};
  for (const auto& [id, token] : by_id_) {
    if (token.normalized) {
      const auto normalized = normalized_.find(id);
      const std::string& text =
          normalized == normalized_.end() ? token.content : normalized->second;
      if (!text.empty()) normalized_trie_.insert(text, id);
    } else {
      raw_trie_.insert(token.content, id);
    }
  }
}

std::vector<AddedVocabulary::Part> AddedVocabulary::split(std::string_view text,
                                                          const Normalizer* normalizer,
                                                          bool split_special_tokens) const {
  std::vector<Part> raw, parts;
  find({std::string(text), true}, raw_trie_, split_special_tokens, raw);
  for (Part& part : raw) {
    if (part.id) {
      parts.push_back(std::move(part));
      continue;
    }
    if (normalizer != nullptr) part.piece.text = normalizer->normalize(part.piece.text);
    find(part.piece, normalized_trie_, split_special_tokens, parts);
  }
  return parts;
}

void AddedVocabulary::find(const Piece& piece, const ByteTrie& trie, bool split_special_tokens,
                           std::vector<Part>& parts) const {
  const std::string_view text = piece.text;
  std::size_t begin = 0;  // of the text not yet in `parts`
  const auto push_text = [&](std::size_t end) {
    if (begin < end) {
      parts.push_back(
          {std::nullopt,
           {std::string(text.substr(begin, end - begin)), piece.at_start && begin == 0}});
    }
  };
  for (std::size_t offset = 0; offset < text.size() && !trie.empty();) {
    std::size_t length = 0;
    std::int64_t id = 0;
    trie.prefixes(text.substr(offset), [&](std::size_t found_length, std::int64_t found_id) {
      length = found_length;
      id = found_id;
    });
    if (length == 0) {
      offset += unicode::sequence_length(text[offset]);
      continue;
    }
    std::size_t start = offset, stop = offset + length;
    offset = stop;
    const AddedToken& token = by_id_.at(id);
    if (split_special_tokens && is_special(token.content)) continue;
    if (token.single_word &&
        (ends_with_word(text.substr(0, start)) || starts_with_word(text.substr(stop)))) {
      continue;
    }
    if (token.lstrip) {
      const std::size_t gap = start > begin ? start - begin : 0;
      start = begin + without_space_at_end(text.substr(begin, gap));
    }
    if (token.rstrip) stop += space_at_start(text.substr(stop));
    if (stop <= start) continue;  // white space that belongs to the previous token
    push_text(start);
    parts.push_back({id, {}});
    begin = stop;
  }
  push_text(text.size());
}

std::optional<std::int64_t> AddedVocabulary::token_to_id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string> AddedVocabulary::id_to_token(std::int64_t id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return std::nullopt;
  const auto normalized = normalized_.find(id);
  return normalized == normalized_.end() ? found->second.content : normalized->second;
}

}  // namespace instructblip::tokenization
