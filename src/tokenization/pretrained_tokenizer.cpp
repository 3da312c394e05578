#include "tokenization/pretrained_tokenizer.h"

#include <algorithm>

#include "core/json_reader.h"
#include "instructblip/core/error.h"
#include "tokenization/assembly.h"
#include "tokenization/sentencepiece_model.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

/// Python's str.isspace.
bool is_python_space(char32_t c) { return unicode::is_whitespace(c) || (c >= 0x1c && c <= 0x1f); }

std::string with_spaces_for_marks(std::string text) {
  for (std::size_t at; (at = text.find(kSpaceMark)) != std::string::npos;) {
    text.replace(at, kSpaceMark.size(), " ");
  }
  return text;
}

Json token_json(const AddedToken& token) {
  Json json = added_token_json(token);
  json.erase("__type");
  return json;
}

}  // namespace

std::string stripped(std::string_view text, bool at_start, bool at_end) {
  while (at_start && !text.empty()) {
    std::size_t behind = 0;
    if (!is_python_space(unicode::next(text, behind))) break;
    text.remove_prefix(behind);
  }
  while (at_end && !text.empty()) {
    const std::size_t last = unicode::previous(text, text.size());
    std::size_t behind = last;
    if (!is_python_space(unicode::next(text, behind))) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

PreTrainedTokenizer::PreTrainedTokenizer(const InitArguments& arguments, std::string file_name,
                                         const SubwordModelFactory& make)
    : file_name_(std::move(file_name)) {
  const JsonValue kwargs = arguments.section();
  legacy_ = kwargs.get_or<bool>("legacy", true);
  add_prefix_space_ = kwargs.get_or<bool>("add_prefix_space", true);
  const std::filesystem::path path = arguments.folder / file_name_;
  read_sentencepiece_model(path);  // throws if it is damaged
  auto proto = read_text_file<TokenizerError>(path);
  model_proto_ = std::make_shared<const std::string>(proto);
  // Protocol buffers merge what follows: normalizer_spec { add_dummy_prefix: false }.
  if (!legacy_) proto.append("\x1a\x02\x18\x00", 4);
  try {
    model_ = make(proto);
  } catch (const TokenizerError& error) {
    throw TokenizerError(path.string() + ": " + error.what());
  }
}

void PreTrainedTokenizer::init(const InitArguments& arguments,
                               std::map<std::int64_t, AddedToken> own_tokens) {
  const JsonValue kwargs = arguments.section();
  config_ = arguments.kwargs;
  if (const auto side = kwargs.get("padding_side")) padding_side_ = read_side(*side);
  if (const auto side = kwargs.get("truncation_side")) truncation_side_ = read_side(*side);
  model_max_length_ = read_model_max_length(kwargs).value_or(unlimited_length);
  clean_up_ = kwargs.get_or<bool>("clean_up_tokenization_spaces", false);
  split_special_tokens_ = kwargs.get_or<bool>("split_special_tokens", false);
  added_ = std::move(own_tokens);
  for (const auto& [id, token] : arguments.added_tokens_decoder) added_[id] = token;
  for (const auto& [id, token] : added_) ids_.insert_or_assign(token.content, id);
  for (const std::string_view role : kSpecialTokenRoles) {
    if (const auto token = kwargs.get(role)) roles_.emplace_back(role, read_given_token(*token));
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto list = kwargs.get(key);
    if (!list || !list->is_list()) continue;
    for (const JsonValue& token : list->elements()) additional_.push_back(read_given_token(token));
  }
  for (const auto& [key, value] : kwargs.items()) {
    const bool known = std::find(kSpecialTokenRoles.begin(), kSpecialTokenRoles.end(), key) !=
                       kSpecialTokenRoles.end();
    if (!known && key.ends_with("_token") && is_token(value.json())) {
      roles_.emplace_back(key, read_given_token(value));
    }
  }
  update_special_tokens();
  std::vector<GivenToken> missing;
  for (const GivenToken& given : all_special_) {
    if (!given.is_text || !ids_.contains(given.token.content)) missing.push_back(given);
  }
  add(missing, true);
}

std::int64_t PreTrainedTokenizer::require_special_token_id(std::string_view role,
                                                           const InitArguments& arguments) const {
  if (const auto id = special_token_id(role)) return *id;
  throw TokenizerError(arguments.section().where() + ": a " + std::string(class_name()) +
                       " needs a " + std::string(role));
}

std::optional<std::string> PreTrainedTokenizer::convert_ids_to_tokens(std::int64_t id) const {
  if (const auto added = added_.find(id); added != added_.end()) return added->second.content;
  if (id < 0 || id >= model_->size()) return std::nullopt;
  return model_->id_to_piece(id);
}

std::optional<std::int64_t> PreTrainedTokenizer::token_to_id(std::string_view token) const {
  if (const auto found = ids_.find(token); found != ids_.end()) return found->second;
  const std::int64_t id = model_->piece_to_id(token);
  if (id < 0 || id >= model_->size() || model_->id_to_piece(id) != token) return std::nullopt;
  return id;
}

std::optional<std::string> PreTrainedTokenizer::special_token(std::string_view role) const {
  for (const auto& [name, given] : roles_) {
    if (name == role) return given.token.content;
  }
  return std::nullopt;
}

std::vector<std::string> PreTrainedTokenizer::all_special_tokens() const {
  std::vector<std::string> tokens;
  for (const GivenToken& given : all_special_) tokens.push_back(given.token.content);
  return tokens;
}

Index PreTrainedTokenizer::add_tokens(const std::vector<AddedToken>& tokens, bool special_tokens) {
  std::vector<GivenToken> given;
  for (const AddedToken& token : tokens) {
    if (const auto invalid = unicode::first_invalid_byte(token.content)) {
      throw TokenizerError(
          "an added token must be valid UTF-8, but has an invalid sequence at byte " +
          std::to_string(*invalid));
    }
    given.push_back({token});
  }
  return add(given, special_tokens);
}

Index PreTrainedTokenizer::add_special_token(std::string_view role, const AddedToken& token) {
  const auto present = std::find_if(roles_.begin(), roles_.end(),
                                    [&](const auto& entry) { return entry.first == role; });
  if (present == roles_.end()) {
    roles_.emplace_back(role, GivenToken{token});
  } else {
    present->second = {token};
  }
  update_special_tokens();
  return add_tokens({token}, true);
}

std::unordered_map<std::string, std::int64_t> PreTrainedTokenizer::vocabulary() const {
  std::unordered_map<std::string, std::int64_t> vocabulary;
  for (std::int64_t id = 0; id < model_->size(); ++id) {
    vocabulary.insert_or_assign(*convert_ids_to_tokens(id), id);
  }
  for (const auto& [token, id] : ids_) vocabulary.insert_or_assign(token, id);
  return vocabulary;
}

/// _add_tokens of the reference.
Index PreTrainedTokenizer::add(const std::vector<GivenToken>& tokens, bool special_tokens) {
  auto known = vocabulary();
  const auto first = static_cast<std::int64_t>(known.size());
  Index added = 0;
  for (GivenToken given : tokens) {
    AddedToken& token = given.token;
    if (token.content.empty() || (given.is_text && ids_.contains(token.content))) continue;
    if (special_tokens) token.special = true;
    const auto [place, is_new] = known.try_emplace(token.content, first + added);
    if (is_new) ++added;
    if (token.special && !is_special(token.content)) {
      additional_.push_back(given);
      special_tokens_.insert(token.content);
    }
    added_[place->second] = token;
    ids_.insert_or_assign(token.content, place->second);
  }
  trie_ = {};
  for (const auto& [id, token] : added_) trie_.insert(token.content, id);
  size_ = static_cast<Index>(known.size());
  update_special_tokens();
  forget_token_texts();
  return added;
}

void PreTrainedTokenizer::update_special_tokens() {
  all_special_.clear();
  special_tokens_.clear();
  special_ids_.clear();
  separate_.clear();
  const auto push = [&](const GivenToken& given) {
    if (special_tokens_.insert(given.token.content).second) all_special_.push_back(given);
  };
  for (const std::string_view role : kSpecialTokenRoles) {
    for (const auto& [name, given] : roles_) {
      if (name == role) push(given);
    }
  }
  for (const GivenToken& given : additional_) push(given);
  for (const auto& [name, given] : roles_) push(given);
  for (const std::int64_t id : all_special_ids()) special_ids_.insert(id);
  // legacy_added_tokens of the reference.
  for (const auto& [token, id] : ids_) {
    if (!is_special(token)) separate_.insert(token);
  }
  for (const GivenToken& given : additional_) {
    const auto id = convert_tokens_to_ids(given.token.content);
    if (id && *id >= vocab_size()) separate_.insert(given.token.content);
  }
}

std::vector<std::int64_t> PreTrainedTokenizer::encode_text(std::string_view text,
                                                           bool split_special_tokens) const {
  std::vector<std::int64_t> ids;
  for (const std::string& token : tokens_of(text, split_special_tokens)) {
    const auto added = ids_.find(token);
    ids.push_back(added != ids_.end() ? added->second : model_->piece_to_id(token));
  }
  return ids;
}

/// T5Tokenizer.tokenize, which LlamaTokenizer has, too.
std::vector<std::string> PreTrainedTokenizer::tokens_of(std::string_view text,
                                                        bool split_special_tokens) const {
  if (legacy_ || text.empty()) return tokens_between(text, split_special_tokens);
  std::string marked = with_spaces_for_marks(std::string(text));
  if (add_prefix_space_) marked.insert(0, kSpaceMark);
  auto tokens = tokens_between(marked, split_special_tokens);
  if (tokens.size() > 1 && tokens[0] == kSpaceMark && is_special(tokens[1])) {
    tokens.erase(tokens.begin());
  }
  return tokens;
}

/// PreTrainedTokenizer.tokenize.
std::vector<std::string> PreTrainedTokenizer::tokens_between(std::string_view text,
                                                             bool split_special_tokens) const {
  std::vector<std::string> parts = split_special_tokens
                                       ? std::vector<std::string>{std::string(text)}
                                       : split_at_added_tokens(text);
  const auto find_added = [&](const std::string& part) -> const AddedToken* {
    if (split_special_tokens) return nullptr;
    const auto id = ids_.find(part);
    return id == ids_.end() ? nullptr : &added_.at(id->second);
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const AddedToken* token = find_added(parts[i]);
    if (token == nullptr) continue;
    std::string* left = i > 0 && !parts[i - 1].empty() ? &parts[i - 1] : nullptr;
    std::string* right = i + 1 < parts.size() ? &parts[i + 1] : nullptr;
    const bool touches_left = left != nullptr && left->back() != ' ';
    const bool touches_right = right != nullptr && right->front() != ' ';
    if (token->rstrip && right != nullptr) *right = stripped(*right, true, false);
    if (token->lstrip && left != nullptr) *left = stripped(*left, false, true);
    if (token->single_word && touches_left) {
      *left += std::exchange(parts[i], "");
    } else if (token->single_word && touches_right) {
      right->insert(0, std::exchange(parts[i], ""));
    }
  }
  std::vector<std::string> tokens;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (find_added(part) != nullptr) {
      tokens.push_back(part);
      continue;
    }
    for (std::string& piece : pieces_of(part)) tokens.push_back(std::move(piece));
  }
  return tokens;
}

/// Trie.split: the leftmost added token and, of these, the longest.
std::vector<std::string> PreTrainedTokenizer::split_at_added_tokens(std::string_view text) const {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  const auto push = [&](std::size_t end) {
    if (begin < end) parts.emplace_back(text.substr(begin, end - begin));
    begin = end;
  };
  for (std::size_t offset = 0; offset < text.size();) {
    std::size_t length = 0;
    trie_.prefixes(text.substr(offset), [&](std::size_t found, std::int64_t) { length = found; });
    if (length == 0) {
      offset += unicode::sequence_length(text[offset]);
      continue;
    }
    push(offset);
    offset += length;
    push(offset);
  }
  push(text.size());
  return parts;
}

/// T5Tokenizer._tokenize: the model would remove spaces at the start of a text; behind the unknown
/// token they remain.
std::vector<std::string> PreTrainedTokenizer::pieces_of(std::string_view text) const {
  if (legacy_ || !(text.starts_with(kSpaceMark) || text.starts_with(' '))) {
    return model_->encode(text);
  }
  const std::string unknown = unk_token().value_or("");
  const auto count = static_cast<Index>(model_->encode(unknown).size());
  std::vector<std::string> pieces = model_->encode(unknown + std::string(text));
  if (std::ssize(pieces) >= count) pieces.erase(pieces.begin(), pieces.begin() + count);
  return pieces;
}

std::string PreTrainedTokenizer::decode_ids(std::span<const std::int64_t> ids,
                                            bool skip_special_tokens) const {
  std::string text;
  bool is_first = true;
  std::vector<std::string> tokens;
  const auto append = [&](const std::string& part) {
    text.append(is_first ? "" : " ").append(part);
    is_first = false;
  };
  for (const std::int64_t id : ids) {
    auto token = convert_ids_to_tokens(id);
    if (!token) continue;
    if (skip_special_tokens && (special_ids_.contains(id) || is_special(*token))) continue;
    if (!separate_.contains(*token)) {
      tokens.push_back(std::move(*token));
      continue;
    }
    if (!tokens.empty()) {
      const std::string part = convert_tokens_to_string(std::exchange(tokens, {}));
      if (!part.empty()) append(part);
    }
    append(*token);
  }
  if (!tokens.empty()) append(convert_tokens_to_string(std::move(tokens)));
  return text;
}

/// If special tokens are shown, the next one decides whether a space precedes the text between the
/// two. A single token is held back, because it does not serve as the context of the next.
std::size_t PreTrainedTokenizer::num_settled(std::span<const std::int64_t> ids,
                                             bool skip_special_tokens) const {
  if (skip_special_tokens) return ids.size();
  for (std::size_t i = ids.size(); i-- > 1;) {
    const auto token = convert_ids_to_tokens(ids[i]);
    if (token && (is_special(*token) || separate_.contains(*token))) return i + 1;
  }
  return 0;
}

void PreTrainedTokenizer::save_pretrained(const std::filesystem::path& folder) const {
  Json config = config_, special = Json::object(), decoder = Json::object(), added = Json::object();
  for (const char* key : {"name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file",
                          "extra_special_tokens"}) {
    config.erase(key);
  }
  for (const auto& [role, given] : roles_) {
    config[role] = given.token.content;
    special[role] = given.is_text ? Json(given.token.content) : token_json(given.token);
  }
  Json additional = Json::array();
  for (const GivenToken& given : additional_) additional.push_back(given.token.content);
  config["additional_special_tokens"] = special["additional_special_tokens"] = additional;
  for (const auto& [id, token] : added_) {
    decoder[std::to_string(id)] = token_json(token);
    if (id >= vocab_size()) added[token.content] = id;
  }
  config["added_tokens_decoder"] = decoder;
  config["tokenizer_class"] = class_name();
  config["legacy"] = legacy_;
  write_text_file<TokenizerError>(folder / file_name_, *model_proto_);
  write_text_file<TokenizerError>(folder / "tokenizer_config.json",
                                  tokenizer_config_json(std::move(config), model_max_length()));
  write_text_file<TokenizerError>(folder / "special_tokens_map.json", special.dump(2) + "\n");
  write_text_file<TokenizerError>(folder / "added_tokens.json", added.dump(2) + "\n");
}

}  // namespace instructblip::tokenization
