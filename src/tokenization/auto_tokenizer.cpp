// Finds the tokenizer class of a folder. Mirrors `models/auto/tokenization_auto.py`.
#include <filesystem>
#include <string>

#include "core/json_reader.h"
#include "instructblip/core/log.h"
#include "instructblip/tokenization/tokenization_bert.h"
#include "instructblip/tokenization/tokenization_gpt2.h"
#include "instructblip/tokenization/tokenization_llama.h"
#include "instructblip/tokenization/tokenization_t5.h"
#include "tokenization/assembly.h"
#include "tokenization/init_arguments.h"

namespace instructblip {

namespace {

// The tokenizer class of each model_type, as in TOKENIZER_MAPPING_NAMES of the reference.
constexpr std::pair<std::string_view, const char*> kClasses[] = {
    {"bert", "BertTokenizer"},
    {"blip", "BertTokenizer"},
    {"instructblip_qformer", "BertTokenizer"},
    {"gpt2", "GPT2Tokenizer"},
    {"opt", "GPT2Tokenizer"},
    {"t5", "T5Tokenizer"},
    {"llama", "LlamaTokenizer"}};

std::string without_fast(std::string name) {
  if (name.ends_with("Fast") && name != "PreTrainedTokenizerFast") name.resize(name.size() - 4);
  return name;
}

/// "tokenizer_class" of a JSON file; empty if the file or the key is missing.
std::string class_in(const std::filesystem::path& file) {
  if (!is_file(file)) return "";
  const Json json = read_json_file<TokenizerError>(file);
  const auto name = JsonReader<TokenizerError>(json, file.string()).get("tokenizer_class");
  return name ? without_fast(name->as<std::string>()) : "";
}

/// The class for the language model in config.json; empty if unknown.
std::string class_of_config(const std::filesystem::path& file) {
  if (!is_file(file)) return "";
  const Json json = read_json_file<TokenizerError>(file);
  const JsonReader<TokenizerError> config(json, file.string());
  std::string type = config.get_or<std::string>("model_type", "");
  if (const auto text = config.get("text_config"))
    type = text->get_or<std::string>("model_type", "opt");
  for (const auto& [model_type, class_name] : kClasses) {
    if (type == model_type) return class_name;
  }
  return "";
}

std::string class_of_files(const std::filesystem::path& folder) {
  if (is_file(folder / "tokenizer.json")) return "TokenizersBackend";
  if (is_file(folder / "vocab.txt")) return "BertTokenizer";
  if (is_file(folder / "vocab.json")) return "GPT2Tokenizer";
  if (is_file(folder / "spiece.model")) return "T5Tokenizer";
  return is_file(folder / "tokenizer.model") ? "LlamaTokenizer" : "TokenizersBackend";
}

}  // namespace

std::string tokenization::class_of(const std::filesystem::path& folder) {
  std::string name = class_in(folder / "tokenizer_config.json");
  if (name.empty()) name = class_in(folder / "config.json");
  if (!name.empty()) return name;
  name = class_of_config(folder / "config.json");
  if (name.empty()) name = class_of_files(folder);
  log_warning(folder.string() + ": no file names the tokenizer's class; using " + name +
              ". Add \"tokenizer_class\" to tokenizer_config.json");
  return name;
}

namespace {

/// Whether a tokenizer.json is byte-level. If so, LLaMA's (LLaMA 3) is used unchanged.
bool is_byte_level(const Json& json) {
  const auto names_byte_level = [&](const char* key, const char* parts) {
    const auto component = json.find(key);
    if (component == json.end() || !component->is_object()) return false;
    Json list = Json::array({*component});
    if (component->value("type", Json()) == "Sequence")
      list = component->value(parts, Json::array());
    for (const Json& part : list) {
      if (part.is_object() && part.value("type", Json()) == "ByteLevel") return true;
    }
    return false;
  };
  return json.is_object() && (names_byte_level("pre_tokenizer", "pretokenizers") ||
                              names_byte_level("decoder", "decoders"));
}

}  // namespace

std::unique_ptr<Tokenizer> AutoTokenizer::from_pretrained(const std::filesystem::path& folder,
                                                          const TokenizerOptions& options) {
  if (options.loader) {
    std::unique_ptr<Tokenizer> tokenizer = options.loader(folder, options);
    if (!tokenizer)
      throw TokenizerError(folder.string() + ": TokenizerOptions::loader returned no tokenizer");
    return tokenizer;
  }
  require_folder<TokenizerError>(folder);
  const std::string name = tokenization::class_of(folder);
  if (name == "BertTokenizer") {
    return std::make_unique<BertTokenizer>(BertTokenizer::from_pretrained(folder, options));
  }
  if (name == "GPT2Tokenizer") {
    return std::make_unique<GPT2Tokenizer>(GPT2Tokenizer::from_pretrained(folder, options));
  }
  if (name == "T5Tokenizer") {
    return std::make_unique<T5Tokenizer>(T5Tokenizer::from_pretrained(folder, options));
  }
  tokenization::InitArguments arguments = tokenization::read_init_arguments(folder, options);
  if (name == "LlamaTokenizer" &&
      !(arguments.tokenizer_json && is_byte_level(*arguments.tokenizer_json))) {
    return std::make_unique<LlamaTokenizer>(LlamaTokenizer::from_arguments(std::move(arguments)));
  }
  return std::make_unique<TokenizersBackend>(
      TokenizersBackend(tokenization::assemble_from_tokenizer_json(arguments)));
}

}  // namespace instructblip
