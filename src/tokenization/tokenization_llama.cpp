#include "instructblip/tokenization/tokenization_llama.h"

#include "tokenization/assembly.h"
#include "tokenization/sentencepiece_model.h"

namespace instructblip {

using namespace tokenization;

LlamaTokenizer LlamaTokenizer::from_pretrained(const std::filesystem::path& folder,
                                               const TokenizerOptions& options) {
  return from_arguments(read_init_arguments(folder, options));
}

LlamaTokenizer LlamaTokenizer::from_arguments(InitArguments arguments) {
  arguments.set_default("unk_token", "<unk>");
  arguments.set_default("bos_token", "<s>");
  arguments.set_default("eos_token", "</s>");
  const JsonValue kwargs = arguments.section();
  const bool add_prefix_space = kwargs.get_or<bool>("add_prefix_space", true);
  const bool legacy = kwargs.get_or<bool>("legacy", false);
  TokenizerParts parts;
  parts.class_name = "LlamaTokenizer";
  parts.padding_side = Side::Left;
  parts.pre_tokenizer = {{"type", "Metaspace"},
                         {"replacement", "\u2581"},
                         {"prepend_scheme", !add_prefix_space ? "never"
                                            : legacy          ? "always"
                                                              : "first"},
                         {"split", false}};
  Json decoders = Json::array();
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (add_prefix_space) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  parts.decoder = {{"type", "Sequence"}, {"decoders", decoders}};
  if (arguments.tokenizer_json) {
    ModelDescription file = read_model_of(arguments, ModelDescription::Kind::Bpe, parts.class_name);
    parts.model.vocabulary = std::move(file.vocabulary);
    parts.model.merges = std::move(file.merges);
  } else {
    const auto file = arguments.file("tokenizer.model", parts.class_name);
    const SentencePieceModel model = read_sentencepiece_model(file);
    warn_of_ignored_settings(model, SentencePieceModel::Bpe, file);
    make_bpe_of(model, parts.model);
    arguments.kwargs["additional_special_tokens"] = special_pieces(model);
  }
  parts.model.fuse_unk = true;
  parts.model.byte_fallback = true;
  return LlamaTokenizer(assemble(arguments, std::move(parts)));
}

std::unique_ptr<Tokenizer> LlamaTokenizer::clone() const {
  return std::make_unique<LlamaTokenizer>(*this);
}

}  // namespace instructblip
