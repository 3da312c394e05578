// Writes a tokenizer as transformers 5 does: tokenizer.json and tokenizer_config.json.
#include "core/text_file.h"
#include "tokenization/assembly.h"

namespace instructblip {

using namespace tokenization;

namespace {

/// The reference's VERY_LARGE_INTEGER, int(1e30).
constexpr std::string_view kVeryLargeInteger = "1000000000000000019884624838656";

std::string added_tokens_json(const AddedVocabulary& added) {
  Json list = Json::array();
  for (const auto& [id, token] : added.by_id()) {
    Json json = added_token_json(token);
    json.erase("__type");
    json["id"] = id;
    list.push_back(std::move(json));
  }
  return list.dump(2);
}

}  // namespace

std::string tokenization::tokenizer_config_json(Json config, Index model_max_length) {
  config["model_max_length"] = "";
  std::string text = config.dump(2);
  const std::string placeholder = "\"model_max_length\": \"\"";
  text.replace(text.find(placeholder), placeholder.size(),
               "\"model_max_length\": " + (model_max_length == Tokenizer::unlimited_length
                                               ? std::string(kVeryLargeInteger)
                                               : std::to_string(model_max_length)));
  return text + "\n";
}

std::string tokenization::tokenizer_json(const TokenizerState& state) {
  return "{\n  \"version\": \"1.0\",\n  \"truncation\": " + state.truncation_json.dump() +
         ",\n  \"padding\": " + state.padding_json.dump() +
         ",\n  \"added_tokens\": " + added_tokens_json(state.added) +
         ",\n  \"normalizer\": " + state.normalizer_json.dump() +
         ",\n  \"pre_tokenizer\": " + state.pre_tokenizer_json.dump() +
         ",\n  \"post_processor\": " + state.post_processor_json.dump() +
         ",\n  \"decoder\": " + state.decoder_json.dump() +
         ",\n  \"model\": " + state.model->to_json() + "\n}\n";
}

void TokenizersBackend::save_pretrained(const std::filesystem::path& folder) const {
  Json config = state_->kwargs;
  for (const char* key :
       {"add_bos_token", "add_eos_token", "additional_special_tokens", "tokenizer_file",
        "vocab_file", "merges_file", "name_or_path", "special_tokens_map_file", "device_map",
        "slow_tokenizer_class", "files_loaded", "extra_special_tokens"}) {
    config.erase(key);
  }
  for (const auto& [role, token] : state_->special_tokens) config[role] = token.content;
  // An empty list is kept, because T5Tokenizer adds its sentinels if there is none.
  if (!state_->extra_special_tokens.empty() || state_->kwargs.contains("extra_special_tokens")) {
    Json extra = Json::array();
    for (const AddedToken& token : state_->extra_special_tokens) extra.push_back(token.content);
    config["extra_special_tokens"] = extra;
  }
  config["backend"] = "tokenizers";
  config["tokenizer_class"] = state_->class_name;
  write_text_file<TokenizerError>(folder / "tokenizer_config.json",
                                  tokenizer_config_json(std::move(config), model_max_length()));
  write_text_file<TokenizerError>(folder / "tokenizer.json", tokenizer_json(*state_));
}

}  // namespace instructblip
