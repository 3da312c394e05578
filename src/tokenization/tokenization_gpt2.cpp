#include "instructblip/tokenization/tokenization_gpt2.h"

#include "tokenization/assembly.h"
#include "tokenization/unicode.h"

namespace instructblip {

using namespace tokenization;

namespace {

Merges read_merges_txt(const std::filesystem::path& file) {
  const std::string text = read_text_file<TokenizerError>(file);
  if (const auto invalid = unicode::first_invalid_byte(text)) {
    throw TokenizerError(file.string() + ": not valid UTF-8 at byte " + std::to_string(*invalid));
  }
  Merges merges;
  for (std::size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const std::size_t line_end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, line_end - begin);
    begin = line_end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line.starts_with("#version")) continue;
    const std::size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      throw TokenizerError(file.string() + ": line " + std::to_string(number) +
                           ": expected two tokens with a space between them, found \"" +
                           line.substr(0, 60) + "\"");
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

void read_vocab_json(const std::filesystem::path& file, Vocabulary& vocabulary) {
  const Json json = read_json_file<TokenizerError>(file);
  const JsonReader<TokenizerError> section(json, file.string());
  for (const auto& [token, id] : section.items()) vocabulary.add(token, read_id(id));
}

}  // namespace

GPT2Tokenizer GPT2Tokenizer::from_pretrained(const std::filesystem::path& folder,
                                             const TokenizerOptions& options) {
  InitArguments arguments = read_init_arguments(folder, options);
  arguments.set_default("unk_token", "<|endoftext|>");
  arguments.set_default("bos_token", "<|endoftext|>");
  arguments.set_default("eos_token", "<|endoftext|>");
  TokenizerParts parts;
  parts.class_name = "GPT2Tokenizer";
  parts.pre_tokenizer = {
      {"type", "ByteLevel"},
      {"add_prefix_space", arguments.section().get_or<bool>("add_prefix_space", false)},
      {"trim_offsets", true},
      {"use_regex", true}};
  parts.decoder = {{"type", "ByteLevel"},
                   {"add_prefix_space", true},
                   {"trim_offsets", true},
                   {"use_regex", true}};
  if (arguments.tokenizer_json) {
    ModelDescription file = read_model_of(arguments, ModelDescription::Kind::Bpe, parts.class_name);
    parts.model.vocabulary = std::move(file.vocabulary);
    parts.model.merges = std::move(file.merges);
  } else {
    read_vocab_json(arguments.file("vocab.json", parts.class_name), parts.model.vocabulary);
    parts.model.merges = read_merges_txt(arguments.file("merges.txt", parts.class_name));
  }
  return GPT2Tokenizer(assemble(arguments, std::move(parts)));
}

std::unique_ptr<Tokenizer> GPT2Tokenizer::clone() const {
  return std::make_unique<GPT2Tokenizer>(*this);
}

}  // namespace instructblip
