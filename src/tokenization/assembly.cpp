#include "tokenization/assembly.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace instructblip::tokenization {
namespace {

Json json_of(const JsonValue& file, std::string_view key) {
  const auto found = file.get(key);
  return found ? found->json() : Json();
}

// Equal tokens, and no others, have the same key.
std::string key_of(const AddedToken& token) {
  std::string key = token.content;
  for (const bool property :
       {token.single_word, token.lstrip, token.rstrip, token.normalized, token.special}) {
    key += property ? '1' : '0';
  }
  return key;
}

void set_attributes(TokenizerState& state, const InitArguments& arguments, Side padding_side) {
  const JsonValue kwargs = arguments.section();
  state.kwargs = arguments.kwargs;
  state.padding_side = padding_side;
  if (!state.padding_json.is_null()) {
    const JsonReader<TokenizerError> padding(state.padding_json,
                                             arguments.tokenizer_section().where() + ": padding");
    if (const auto side = padding.get("direction")) state.padding_side = read_side(*side);
    if (const auto token = padding.get("pad_token"); token && !state.kwargs.contains("pad_token")) {
      state.kwargs["pad_token"] = token->as<std::string>();
    }
  }
  if (!state.truncation_json.is_null()) {
    const JsonReader<TokenizerError> truncation(
        state.truncation_json, arguments.tokenizer_section().where() + ": truncation");
    if (const auto side = truncation.get("direction")) state.truncation_side = read_side(*side);
  }
  if (const auto side = kwargs.get("padding_side")) state.padding_side = read_side(*side);
  if (const auto side = kwargs.get("truncation_side")) state.truncation_side = read_side(*side);
  state.model_max_length = read_model_max_length(kwargs).value_or(Tokenizer::unlimited_length);
  state.clean_up_tokenization_spaces = kwargs.get_or<bool>("clean_up_tokenization_spaces", false);
  state.clean_up_bpe = kwargs.get_or<bool>(
      "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", false);
  state.split_special_tokens = kwargs.get_or<bool>("split_special_tokens", false);
}

void set_special_tokens(TokenizerState& state, const InitArguments& arguments) {
  const JsonReader<TokenizerError> kwargs(state.kwargs, arguments.section().where());
  for (const std::string_view role : kSpecialTokenRoles) {
    if (const auto token = kwargs.get(role)) {
      if (!is_token(token->json()))
        token->expected("a token (a string, or an object with \"content\")");
      state.special_tokens.emplace_back(role, read_added_token(*token));
    }
  }
  for (const auto& [key, value] : kwargs.items()) {
    const bool named = std::find(kSpecialTokenRoles.begin(), kSpecialTokenRoles.end(), key) !=
                       kSpecialTokenRoles.end();
    if (!named && key.ends_with("_token") && is_token(value.json())) {
      state.special_tokens.emplace_back(key, read_added_token(value));
    }
  }
  const char* key = state.kwargs.contains("extra_special_tokens") ? "extra_special_tokens"
                                                                  : "additional_special_tokens";
  if (const auto extra = kwargs.get(key)) {
    for (const JsonValue& token : extra->elements()) {
      state.extra_special_tokens.push_back(read_added_token(token));
    }
  }
}

void add_missing_tokens(TokenizerState& state, const InitArguments& arguments) {
  const bool as_in_file = state.class_name == "TokenizersBackend";
  std::vector<AddedToken> tokens;
  if (as_in_file) {
    std::vector<AddedToken> own;
    if (const auto list = arguments.tokenizer_section().get("added_tokens")) {
      for (const JsonValue& token : list->elements()) own.push_back(read_added_token(token));
    }
    state.added.add(own, *state.model, state.normalizer.get());
  }
  std::unordered_set<std::string> present, special, given;
  for (const auto& [id, token] : state.added.by_id()) present.insert(key_of(token));
  for (const auto& [id, token] : arguments.added_tokens_decoder) {
    if (!present.contains(key_of(token))) tokens.push_back(token);
  }
  for (const auto& [role, token] : state.special_tokens) special.insert(token.content);
  for (AddedToken& token : tokens) {
    token.special = token.special || special.contains(token.content);
    given.insert(token.content);
  }
  // A token that is repeated with other properties is added again, so that the last properties
  // apply. Extra tokens are not compared with those of roles, which usually are strings in the
  // reference and equal to no token.
  const auto add_if_new = [&](AddedToken token, std::unordered_set<std::string>& others) {
    if (given.contains(token.content) || state.added.token_to_id(token.content)) return;
    if (others.insert(key_of(token)).second) tokens.push_back(std::move(token));
  };
  std::unordered_set<std::string> named, extra;
  for (auto [role, token] : state.special_tokens) {
    token.special = true;
    add_if_new(std::move(token), named);
  }
  for (const AddedToken& token : state.extra_special_tokens) add_if_new(token, extra);
  state.added.add(tokens, *state.model, state.normalizer.get());
}

void update_post_processor(TokenizerState& state, bool add_bos, bool add_eos,
                           const std::string& where) {
  using Item = PostProcessor::Item;
  const auto item_of = [&](const char* role, bool wanted, int type) -> std::optional<Item> {
    const AddedToken* token = wanted ? state.find_special(role) : nullptr;
    if (token == nullptr) return std::nullopt;
    auto id = state.added.token_to_id(token->content);
    if (!id) id = state.model->vocabulary().find(token->content);
    return Item{token->content, id, type};
  };
  std::vector<Item> single, pair;
  for (int type = 0; type < 2; ++type) {
    const auto bos = item_of("bos_token", add_bos, type), eos = item_of("eos_token", add_eos, type);
    if (bos) pair.push_back(*bos);
    pair.push_back({type == 0 ? "$A" : "$B", std::nullopt, type});
    if (eos) pair.push_back(*eos);
    if (type == 0) single = pair;
  }
  set_post_processor(state, PostProcessor::template_processing(single, pair),
                     where + ": post_processor");
}

}  // namespace

const AddedToken* TokenizerState::find_special(std::string_view role) const {
  for (const auto& [name, token] : special_tokens) {
    if (name == role) return &token;
  }
  return nullptr;
}

ModelDescription read_model_of(const InitArguments& arguments, ModelDescription::Kind kind,
                               const std::string& class_name) {
  const JsonValue section = arguments.tokenizer_section().at("model");
  ModelDescription description = read_model(section);
  if (description.kind != kind) {
    const char* names[] = {"WordPiece", "BPE", "Unigram"};
    section.fail(std::string("is ") + names[static_cast<int>(description.kind)] + ", but a " +
                 class_name + " has " + names[static_cast<int>(kind)] +
                 "; correct tokenizer_class in tokenizer_config.json");
  }
  return description;
}

void set_post_processor(TokenizerState& state, Json json, const std::string& where) {
  state.post_processor = PostProcessor(JsonReader<TokenizerError>(json, where));
  state.post_processor_json = std::move(json);
}

std::unique_ptr<TokenizerState> assemble(const InitArguments& arguments, TokenizerParts parts) {
  auto state = std::make_unique<TokenizerState>();
  const std::string where = arguments.tokenizer_json
                                ? arguments.tokenizer_section().where()
                                : arguments.folder.string() + ": " + parts.class_name;
  const auto part = [&](const Json& json, const char* name) {
    return JsonReader<TokenizerError>(json, where + ": " + name);
  };
  state->class_name = parts.class_name;
  state->normalizer = make_normalizer(part(parts.normalizer, "normalizer"));
  state->pre_tokenizer = make_pre_tokenizer(part(parts.pre_tokenizer, "pre_tokenizer"));
  state->decoder = make_decoder(part(parts.decoder, "decoder"));
  state->model = make_model(std::move(parts.model), where);
  state->normalizer_json = std::move(parts.normalizer);
  state->pre_tokenizer_json = std::move(parts.pre_tokenizer);
  state->decoder_json = std::move(parts.decoder);
  if (arguments.tokenizer_json) {
    const JsonValue file = arguments.tokenizer_section();
    set_post_processor(*state, json_of(file, "post_processor"), where + ": post_processor");
    state->truncation_json = json_of(file, "truncation");
    state->padding_json = json_of(file, "padding");
  }
  set_attributes(*state, arguments, parts.padding_side);
  set_special_tokens(*state, arguments);
  add_missing_tokens(*state, arguments);
  const JsonValue kwargs = arguments.section();
  const bool is_explicit =
      arguments.kwargs.contains("add_bos_token") || arguments.kwargs.contains("add_eos_token");
  if (is_explicit || state->post_processor_json.is_null()) {
    update_post_processor(*state, kwargs.get_or<bool>("add_bos_token", false),
                          kwargs.get_or<bool>("add_eos_token", false), where);
  }
  return state;
}

std::unique_ptr<TokenizerState> assemble_from_tokenizer_json(const InitArguments& arguments) {
  if (!arguments.tokenizer_json) {
    throw TokenizerError(
        arguments.folder.string() +
        ": has no tokenizer.json, and its tokenizer_config.json names no class that "
        "reads other files (BertTokenizer, GPT2Tokenizer, T5Tokenizer, "
        "LlamaTokenizer)");
  }
  const JsonValue file = arguments.tokenizer_section();
  TokenizerParts parts;
  parts.class_name = "TokenizersBackend";
  parts.normalizer = json_of(file, "normalizer");
  parts.pre_tokenizer = json_of(file, "pre_tokenizer");
  parts.decoder = json_of(file, "decoder");
  parts.model = read_model(file.at("model"));
  return assemble(arguments, std::move(parts));
}

}  // namespace instructblip::tokenization
