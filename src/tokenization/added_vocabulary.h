// Tokens that are matched in the text before the model is applied. Mirrors tokenizers'
// AddedVocabulary.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "instructblip/tokenization/tokenizer.h"
#include "tokenization/byte_trie.h"
#include "tokenization/models.h"
#include "tokenization/normalizers.h"
#include "tokenization/pre_tokenizers.h"

namespace instructblip::tokenization {

class AddedVocabulary {
 public:
  /// A part of a text: an added token, or text for the model.
  struct Part {
    std::optional<std::int64_t> id;
    Piece piece;
  };

  /// Returns the number of `tokens` that did not exist before with the same properties.
  Index add(const std::vector<AddedToken>& tokens, const Model& model,
            const Normalizer* normalizer);

  /// Splits at the raw tokens, normalises the text between them, and splits it at the normalised
  /// tokens.
  std::vector<Part> split(std::string_view text, const Normalizer* normalizer,
                          bool split_special_tokens) const;

  std::optional<std::int64_t> token_to_id(std::string_view token) const;
  /// The text that is matched, which is normalised if the token is.
  std::optional<std::string> id_to_token(std::int64_t id) const;
  bool is_special(std::string_view token) const { return special_.contains(token); }
  const std::map<std::int64_t, AddedToken>& by_id() const { return by_id_; }

 private:
  void rebuild_tries();
  void find(const Piece& piece, const ByteTrie& trie, bool split_special_tokens,
            std::vector<Part>& parts) const;

  std::map<std::int64_t, AddedToken> by_id_;
  std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>> ids_;
  std::map<std::int64_t, std::string> normalized_;  ///< if different from the content
  std::set<std::string, std::less<>> special_;
  ByteTrie raw_trie_, normalized_trie_;
};

}  // namespace instructblip::tokenization
