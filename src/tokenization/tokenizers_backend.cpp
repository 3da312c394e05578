#include "instructblip/tokenization/tokenizers_backend.h"

#include <limits>

#include "tokenization/assembly.h"

namespace instructblip {

using namespace tokenization;

TokenizersBackend::TokenizersBackend(std::unique_ptr<TokenizerState> state)
    : state_(std::move(state)) {}
TokenizersBackend::TokenizersBackend(const TokenizersBackend& other)
    : Tokenizer(other), state_(std::make_unique<TokenizerState>(*other.state_)) {}
TokenizersBackend::TokenizersBackend(TokenizersBackend&& other) noexcept = default;
TokenizersBackend& TokenizersBackend::operator=(TokenizersBackend other) noexcept {
  Tokenizer::operator=(other);
  state_.swap(other.state_);
  return *this;
}
TokenizersBackend::~TokenizersBackend() = default;

TokenizersBackend TokenizersBackend::from_pretrained(const std::filesystem::path& folder,
                                                     const TokenizerOptions& options) {
  return TokenizersBackend(assemble_from_tokenizer_json(read_init_arguments(folder, options)));
}

std::unique_ptr<Tokenizer> TokenizersBackend::clone() const {
  return std::make_unique<TokenizersBackend>(*this);
}

std::optional<std::string> TokenizersBackend::convert_ids_to_tokens(std::int64_t id) const {
  if (auto token = state_->added.id_to_token(id)) return token;
  return state_->model->vocabulary().token(id);
}

std::optional<std::int64_t> TokenizersBackend::token_to_id(std::string_view token) const {
  if (const auto id = state_->added.token_to_id(token)) return id;
  return state_->model->vocabulary().find(token);
}

Index TokenizersBackend::vocab_size() const { return static_cast<Index>(state_->model->size()); }

Index TokenizersBackend::size() const {
  Index count = static_cast<Index>(state_->model->vocabulary().size());
  for (const auto& [id, token] : state_->added.by_id()) {
    if (!state_->model->vocabulary().find(token.content)) ++count;
  }
  return count;
}

std::vector<std::pair<std::int64_t, AddedToken>> TokenizersBackend::added_tokens_decoder() const {
  const auto& tokens = state_->added.by_id();
  return {tokens.begin(), tokens.end()};
}

std::optional<std::string> TokenizersBackend::special_token(std::string_view role) const {
  const AddedToken* token = state_->find_special(role);
  if (token == nullptr) return std::nullopt;
  return token->content;
}

std::vector<std::string> TokenizersBackend::all_special_tokens() const {
  std::vector<std::string> tokens;
  const auto add = [&](const std::string& token) {
    for (const std::string& present : tokens) {
      if (present == token) return;
    }
    tokens.push_back(token);
  };
  for (const auto& [role, token] : state_->special_tokens) add(token.content);
  for (const AddedToken& token : state_->extra_special_tokens) add(token.content);
  return tokens;
}

Side TokenizersBackend::padding_side() const { return state_->padding_side; }
Side TokenizersBackend::truncation_side() const { return state_->truncation_side; }
Index TokenizersBackend::model_max_length() const { return state_->model_max_length; }
bool TokenizersBackend::split_special_tokens() const { return state_->split_special_tokens; }
std::string_view TokenizersBackend::class_name() const { return state_->class_name; }

bool TokenizersBackend::clean_up_tokenization_spaces() const {
  return state_->clean_up_tokenization_spaces;
}

bool TokenizersBackend::may_clean_up_spaces() const {
  return state_->clean_up_bpe || state_->model->description().kind != ModelDescription::Kind::Bpe;
}

bool TokenizersBackend::has_byte_level_tokens() const {
  return state_->decoder != nullptr && state_->decoder->is_byte_level();
}

Index TokenizersBackend::num_special_tokens_to_add() const {
  return static_cast<Index>(state_->post_processor.added());
}

Index TokenizersBackend::add_tokens(const std::vector<AddedToken>& tokens, bool special_tokens) {
  std::vector<AddedToken> added = tokens;
  if (special_tokens) {
    for (AddedToken& token : added) token.special = true;
  }
  forget_token_texts();
  return state_->added.add(added, *state_->model, state_->normalizer.get());
}

Index TokenizersBackend::add_special_token(std::string_view role, const AddedToken& token) {
  AddedToken special = token;
  special.special = true;
  for (auto& [name, present] : state_->special_tokens) {
    if (name == role) {
      present = special;
      return add_tokens({special});
    }
  }
  state_->special_tokens.emplace_back(role, special);
  return add_tokens({special});
}

std::vector<std::int64_t> TokenizersBackend::encode_text(std::string_view text,
                                                         bool split_special_tokens) const {
  std::vector<std::int64_t> ids;
  for (AddedVocabulary::Part& part :
       state_->added.split(text, state_->normalizer.get(), split_special_tokens)) {
    if (part.id) {
      ids.push_back(*part.id);
    } else if (state_->pre_tokenizer == nullptr) {
      state_->model->tokenize(part.piece.text, ids);
    } else {
      for (const Piece& piece : state_->pre_tokenizer->split(std::move(part.piece))) {
        state_->model->tokenize(piece.text, ids);
      }
    }
  }
  return ids;
}

std::vector<std::int64_t> TokenizersBackend::add_special_tokens_to(
    std::vector<std::int64_t> ids) const {
  return state_->post_processor.process(std::move(ids));
}

std::string TokenizersBackend::decode_ids(std::span<const std::int64_t> ids,
                                          bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const std::int64_t id : ids) {
    auto token = convert_ids_to_tokens(id);
    if (!token || (skip_special_tokens && state_->added.is_special(*token))) continue;
    tokens.push_back(std::move(*token));
  }
  std::string text;
  if (state_->decoder != nullptr) {
    for (const std::string& part : state_->decoder->decode(std::move(tokens))) text += part;
  } else {
    for (std::size_t i = 0; i < tokens.size(); ++i) text += (i == 0 ? "" : " ") + tokens[i];
  }
  return text;
}

}  // namespace instructblip
