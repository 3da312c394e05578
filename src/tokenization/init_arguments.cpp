#include "tokenization/init_arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "tokenization/models.h"

namespace instructblip::tokenization {
namespace {

/// The reference's LARGE_INTEGER: lengths from here on mean no limit.
constexpr double kLargeInteger = 1e18;

bool is_empty(const Json& json) { return json.is_null() || (json.is_structured() && json.empty()); }

void apply(const TokenizerOptions& options, Json& kwargs) {
  const auto set = [&](const char* key, const auto& value) {
    if (value) kwargs[key] = *value;
  };
  const auto side = [](const std::optional<Side>& value) -> std::optional<std::string> {
    if (!value) return std::nullopt;
    return *value == Side::Left ? "left" : "right";
  };
  set("bos_token", options.bos_token);
  set("eos_token", options.eos_token);
  set("unk_token", options.unk_token);
  set("sep_token", options.sep_token);
  set("pad_token", options.pad_token);
  set("cls_token", options.cls_token);
  set("mask_token", options.mask_token);
  set("model_max_length", options.model_max_length);
  set("padding_side", side(options.padding_side));
  set("truncation_side", side(options.truncation_side));
  set("clean_up_tokenization_spaces", options.clean_up_tokenization_spaces);
  set("add_bos_token", options.add_bos_token);
  set("add_eos_token", options.add_eos_token);
  set("add_prefix_space", options.add_prefix_space);
  set("legacy", options.legacy);
  set("do_lower_case", options.do_lower_case);
}

/// The keys that the caller set, which the folder's files must not change.
std::set<std::string, std::less<>> keys_of(const TokenizerOptions& options) {
  Json kwargs = Json::object();
  apply(options, kwargs);
  std::set<std::string, std::less<>> keys;
  for (const auto& [key, value] : kwargs.items()) keys.insert(key);
  return keys;
}

std::int64_t to_id(const std::string& text, const JsonValue& section) {
  std::int64_t id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0) {
    section.fail("expected ids as keys, found \"" + text + "\"");
  }
  return id;
}

void read_added_tokens_decoder(const JsonValue& section, InitArguments& arguments) {
  for (const auto& [key, token] : section.items()) {
    token.require_object();
    arguments.added_tokens_decoder[to_id(key, section)] = read_added_token(token);
  }
}

std::string extra_tokens_key(Release release) {
  return release == Release::Transformers4 ? "additional_special_tokens" : "extra_special_tokens";
}

void read_special_tokens_map(const std::filesystem::path& file, const TokenizerOptions& options,
                             Release release, Json& kwargs) {
  const std::string extra = extra_tokens_key(release);
  const Json map = read_json_file<TokenizerError>(file);
  const JsonReader<TokenizerError> section(map, file.string());
  const auto given = keys_of(options);
  for (const auto& [key, item] : section.items()) {
    if (given.contains(key)) continue;
    const Json& value = item.json();
    if (value.is_object() && key != "extra_special_tokens") {
      AddedToken token = read_added_token(item);
      token.special = true;
      if (!value.contains("normalized")) token.normalized = false;
      kwargs[key] = added_token_json(token);
    } else if (key == extra && value.is_array()) {
      const auto before = kwargs.find(key);
      Json all = before != kwargs.end() && before->is_array() ? *before : Json::array();
      std::set<Json> known(all.begin(), all.end());
      for (const Json& token : value) {
        if (known.insert(token).second) all.push_back(token);
      }
      kwargs[key] = all;
    } else {
      kwargs[key] = value;
    }
  }
}

void read_added_tokens_file(const std::filesystem::path& file, Release release,
                            InitArguments& arguments) {
  std::set<std::string> special;
  for (const std::string_view role : kSpecialTokenRoles) {
    if (const auto token = arguments.token(role)) special.insert(*token);
  }
  const JsonValue kwargs = arguments.section();
  if (const auto extra = kwargs.get(extra_tokens_key(release)); extra && extra->is_list()) {
    for (const JsonValue& token : extra->elements()) {
      special.insert(read_added_token(token).content);
    }
  }
  const Json map = read_json_file<TokenizerError>(file);
  const JsonReader<TokenizerError> section(map, file.string());
  for (const auto& [token, id] : section.items()) {
    const bool is_special = special.contains(token);
    arguments.added_tokens_decoder[read_id(id)] = {
        .content = token, .normalized = !is_special, .special = is_special};
  }
}

void read_tokens_of_tokenizer_json(InitArguments& arguments) {
  const auto tokens = arguments.tokenizer_section().get("added_tokens");
  if (!tokens) return;
  for (const JsonValue& token : tokens->elements()) {
    arguments.added_tokens_decoder[read_id(token.at("id"))] = read_added_token(token);
  }
}

/// Moves named extra tokens like "image_token", which the reference calls model-specific, to the
/// top level.
void name_extra_tokens(Json& kwargs) {
  const auto extra = kwargs.find("extra_special_tokens");
  if (extra == kwargs.end() || !extra->is_object()) return;
  if (is_token(*extra)) return;
  const Json named = *extra;
  kwargs.erase("extra_special_tokens");
  for (const auto& [key, value] : named.items()) {
    if (is_token(value)) kwargs[key] = value;
  }
}

}  // namespace

bool is_token(const Json& json) {
  return json.is_string() || (json.is_object() && json.contains("content"));
}

AddedToken read_added_token(const JsonValue& section) {
  if (section.is_string()) {
    return {.content = section.as<std::string>(), .normalized = false, .special = true};
  }
  AddedToken token;
  token.content = section.require<std::string>("content");
  token.single_word = section.get_or<bool>("single_word", false);
  token.lstrip = section.get_or<bool>("lstrip", false);
  token.rstrip = section.get_or<bool>("rstrip", false);
  token.special = section.get_or<bool>("special", false);
  token.normalized = section.get_or<bool>("normalized", !token.special);
  return token;
}

Json added_token_json(const AddedToken& token) {
  return {{"__type", "AddedToken"},  {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

std::optional<std::string> InitArguments::token(std::string_view key) const {
  const auto found = section().get(key);
  if (!found) return std::nullopt;
  return read_added_token(*found).content;
}

void InitArguments::set_default(std::string_view key, Json value) {
  if (!kwargs.contains(key)) kwargs[std::string(key)] = std::move(value);
}

std::filesystem::path InitArguments::file(std::string_view name,
                                          std::string_view needed_for) const {
  const std::filesystem::path path = folder / name;
  if (!is_file(path)) {
    throw TokenizerError(folder.string() + ": expected tokenizer.json or " + std::string(name) +
                         " for a " + std::string(needed_for) + ", found neither");
  }
  return path;
}

Side read_side(const JsonValue& section) {
  const auto side = section.as<std::string>();
  if (side == "left" || side == "Left") return Side::Left;
  if (side == "right" || side == "Right") return Side::Right;
  section.expected("\"left\" or \"right\"");
}

std::optional<Index> read_model_max_length(const JsonValue& kwargs) {
  auto length = kwargs.get("model_max_length");
  if (!length) length = kwargs.get("max_len");
  if (!length) return std::nullopt;
  const double value = length->as<double>();
  if (value < 0 || std::isnan(value)) length->expected("a length of at least 0");
  return value < kLargeInteger ? std::optional(static_cast<Index>(value)) : std::nullopt;
}

InitArguments read_init_arguments(const std::filesystem::path& folder,
                                  const TokenizerOptions& options, Release release) {
  require_folder<TokenizerError>(folder);
  InitArguments arguments;
  arguments.folder = folder;
  if (is_file(folder / "tokenizer_config.json")) {
    arguments.kwargs = read_json_file<TokenizerError>(folder / "tokenizer_config.json");
    arguments.section().require_object();
  }
  Json& kwargs = arguments.kwargs;
  kwargs.erase("tokenizer_class");
  kwargs.erase("init_inputs");
  if (is_file(folder / "tokenizer.json")) {
    arguments.tokenizer_json = read_json_file<TokenizerError>(folder / "tokenizer.json");
    if (release == Release::Transformers5) {
      kwargs.erase("add_bos_token");
      kwargs.erase("add_eos_token");
    }
  }
  apply(options, kwargs);
  if (release == Release::Transformers5 && kwargs.contains("additional_special_tokens") &&
      (!kwargs.contains("extra_special_tokens") || is_empty(kwargs["extra_special_tokens"]))) {
    kwargs["extra_special_tokens"] = kwargs["additional_special_tokens"];
    kwargs.erase("additional_special_tokens");
  }
  if (const auto decoder = arguments.section().get("added_tokens_decoder")) {
    read_added_tokens_decoder(*decoder, arguments);
  } else {
    const auto map = folder / "special_tokens_map.json", added = folder / "added_tokens.json";
    if (is_file(map)) read_special_tokens_map(map, options, release, kwargs);
    if (is_file(added)) read_added_tokens_file(added, release, arguments);
    if (arguments.tokenizer_json) read_tokens_of_tokenizer_json(arguments);
  }
  kwargs.erase("added_tokens_decoder");
  name_extra_tokens(kwargs);
  for (const std::string_view role : kSpecialTokenRoles) {
    const auto content = arguments.token(role);
    if (!content) continue;
    for (const auto& [id, token] : arguments.added_tokens_decoder) {
      if (token.content == *content) kwargs[std::string(role)] = added_token_json(token);
    }
  }
  return arguments;
}

}  // namespace instructblip::tokenization
