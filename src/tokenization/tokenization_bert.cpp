#include "instructblip/tokenization/tokenization_bert.h"

#include "tokenization/assembly.h"
#include "tokenization/unicode.h"

namespace instructblip {

using namespace tokenization;

namespace {

/// One token per line, without trailing white space, as in the reference.
Vocabulary read_vocab_txt(const std::filesystem::path& file) {
  const std::string text = read_text_file<TokenizerError>(file);
  if (const auto invalid = unicode::first_invalid_byte(text)) {
    throw TokenizerError(file.string() + ": not valid UTF-8 at byte " + std::to_string(*invalid));
  }
  Vocabulary vocabulary;
  std::int64_t id = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t line_end = std::min(text.find('\n', begin), text.size());
    std::size_t end = line_end;
    while (end > begin) {
      const std::size_t last = unicode::previous(text, end);
      std::size_t offset = last;
      if (!unicode::is_whitespace(unicode::next(text, offset))) break;
      end = last;
    }
    vocabulary.add(text.substr(begin, end - begin), id++);
    begin = line_end + 1;
  }
  return vocabulary;
}

}  // namespace

BertTokenizer BertTokenizer::from_pretrained(const std::filesystem::path& folder,
                                             const TokenizerOptions& options) {
  InitArguments arguments = read_init_arguments(folder, options);
  arguments.set_default("unk_token", "[UNK]");
  arguments.set_default("sep_token", "[SEP]");
  arguments.set_default("pad_token", "[PAD]");
  arguments.set_default("cls_token", "[CLS]");
  arguments.set_default("mask_token", "[MASK]");
  const JsonValue kwargs = arguments.section();
  TokenizerParts parts;
  parts.class_name = "BertTokenizer";
  const auto strip_accents = kwargs.get("strip_accents");
  parts.normalizer = {{"type", "BertNormalizer"},
                      {"clean_text", true},
                      {"handle_chinese_chars", kwargs.get_or<bool>("tokenize_chinese_chars", true)},
                      {"strip_accents", strip_accents ? Json(strip_accents->as<bool>()) : Json()},
                      {"lowercase", kwargs.get_or<bool>("do_lower_case", true)}};
  parts.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  parts.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  if (arguments.tokenizer_json) {
    // The class takes only the vocabulary from the file; the other settings have their defaults.
    parts.model.vocabulary =
        read_model_of(arguments, ModelDescription::Kind::WordPiece, parts.class_name).vocabulary;
  } else {
    parts.model.vocabulary = read_vocab_txt(arguments.file("vocab.txt", parts.class_name));
  }
  parts.model.kind = ModelDescription::Kind::WordPiece;
  parts.model.continuing_subword_prefix = "##";
  parts.model.unk_token = arguments.token("unk_token");
  auto state = assemble(arguments, std::move(parts));

  using Item = PostProcessor::Item;
  BertTokenizer tokenizer(std::move(state));
  const std::string cls = tokenizer.cls_token().value_or("None");
  const std::string sep = tokenizer.sep_token().value_or("None");
  const std::int64_t cls_id = tokenizer.cls_token_id().value_or(2);
  const std::int64_t sep_id = tokenizer.sep_token_id().value_or(3);
  const std::vector<Item> single = {{cls, cls_id, 0}, {"$A", std::nullopt, 0}, {sep, sep_id, 0}};
  std::vector<Item> pair = single;
  pair.push_back({"$B", std::nullopt, 1});
  pair.push_back({sep, sep_id, 1});
  set_post_processor(*tokenizer.state_, PostProcessor::template_processing(single, pair),
                     folder.string() + ": post_processor");
  return tokenizer;
}

std::unique_ptr<Tokenizer> BertTokenizer::clone() const {
  return std::make_unique<BertTokenizer>(*this);
}

}  // namespace instructblip
