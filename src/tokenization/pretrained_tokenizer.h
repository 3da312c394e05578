// The base of the slow tokenizers: added tokens around a sentencepiece model. Mirrors
// PreTrainedTokenizer (`tokenization_utils.py`) of transformers 4.49.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "instructblip/tokenization/slow_tokenizer.h"
#include "tokenization/byte_trie.h"
#include "tokenization/init_arguments.h"
#include "tokenization/models.h"

namespace instructblip::tokenization {

/// U+2581, which stands for a space in pieces.
inline constexpr std::string_view kSpaceMark = "\u2581";

/// Python's str.strip, lstrip and rstrip.
std::string stripped(std::string_view text, bool at_start, bool at_end);

class PreTrainedTokenizer : public Tokenizer {
 public:
  using Tokenizer::convert_ids_to_tokens;
  std::optional<std::string> convert_ids_to_tokens(std::int64_t id) const override;
  std::optional<std::int64_t> token_to_id(std::string_view token) const override;
  Index vocab_size() const override { return model_->size(); }
  Index size() const override { return size_; }
  std::vector<std::pair<std::int64_t, AddedToken>> added_tokens_decoder() const override {
    return {added_.begin(), added_.end()};
  }
  std::optional<std::string> special_token(std::string_view role) const override;
  std::vector<std::string> all_special_tokens() const override;
  Side padding_side() const override { return padding_side_; }
  Side truncation_side() const override { return truncation_side_; }
  Index model_max_length() const override { return model_max_length_; }
  bool clean_up_tokenization_spaces() const override { return clean_up_; }
  Index add_tokens(const std::vector<AddedToken>& tokens, bool special_tokens) override;
  Index add_special_token(std::string_view role, const AddedToken& token) override;
  void save_pretrained(const std::filesystem::path& folder) const override;

 protected:
  /// Reads the .model file.
  PreTrainedTokenizer(const InitArguments& arguments, std::string file_name,
                      const SubwordModelFactory& make);
  /// Reads roles, added tokens and attributes, after the class has set its defaults. `own_tokens`
  /// are those that the class adds.
  void init(const InitArguments& arguments, std::map<std::int64_t, AddedToken> own_tokens);
  /// The id of a role's token. Throws if a file sets the role to null.
  std::int64_t require_special_token_id(std::string_view role,
                                        const InitArguments& arguments) const;

  /// `tokens` is not empty.
  virtual std::string convert_tokens_to_string(std::vector<std::string> tokens) const = 0;

  std::vector<std::int64_t> encode_text(std::string_view text,
                                        bool split_special_tokens) const override;
  std::string decode_ids(std::span<const std::int64_t> ids,
                         bool skip_special_tokens) const override;
  bool split_special_tokens() const override { return split_special_tokens_; }
  bool may_clean_up_spaces() const override { return true; }
  std::size_t num_settled(std::span<const std::int64_t> ids,
                          bool skip_special_tokens) const override;

  bool is_special(std::string_view token) const { return special_tokens_.contains(token); }

  std::shared_ptr<const SubwordModel> model_;
  bool legacy_ = true, add_prefix_space_ = true;

 private:
  /// A token as given. The reference treats text, which has no properties, differently.
  struct GivenToken {
    AddedToken token;
    bool is_text = false;
  };
  static GivenToken read_given_token(const JsonValue& section) {
    return {read_added_token(section), section.is_string()};
  }

  std::unordered_map<std::string, std::int64_t> vocabulary() const;
  Index add(const std::vector<GivenToken>& tokens, bool special_tokens);
  void update_special_tokens();
  std::vector<std::string> split_at_added_tokens(std::string_view text) const;
  std::vector<std::string> tokens_of(std::string_view text, bool split_special_tokens) const;
  std::vector<std::string> tokens_between(std::string_view text, bool split_special_tokens) const;
  std::vector<std::string> pieces_of(std::string_view text) const;

  std::string file_name_;
  std::shared_ptr<const std::string> model_proto_;
  Json config_;  ///< further keys for save_pretrained
  std::map<std::int64_t, AddedToken> added_;
  std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>> ids_;  // of added_
  ByteTrie trie_;                                                                   // of added_
  std::vector<std::pair<std::string, GivenToken>> roles_;
  std::vector<GivenToken> additional_;
  std::vector<GivenToken> all_special_;  // each text once, in the reference's order
  std::set<std::string, std::less<>> special_tokens_;
  std::set<std::int64_t> special_ids_;
  std::set<std::string, std::less<>> separate_;  // decoded with spaces around them
  Index size_ = 0, model_max_length_ = unlimited_length;
  Side padding_side_ = Side::Right, truncation_side_ = Side::Right;
  bool clean_up_ = false, split_special_tokens_ = false;
};

}  // namespace instructblip::tokenization
