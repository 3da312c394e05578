#include "instructblip/tokenization/tokenization_t5.h"

#include "tokenization/assembly.h"
#include "tokenization/precompiled.h"
#include "tokenization/sentencepiece_model.h"

namespace instructblip {

using namespace tokenization;

namespace {

constexpr std::int64_t kMostExtraIds = 100000;

}  // namespace

std::int64_t tokenization::extra_ids_of(const JsonValue& kwargs) {
  const auto count = kwargs.get("extra_ids");
  return count ? count->whole_number(0, kMostExtraIds) : 100;
}

std::string tokenization::extra_id(std::int64_t i) {
  return "<extra_id_" + std::to_string(i) + ">";
}

std::optional<std::int64_t> tokenization::add_extra_ids(InitArguments& arguments,
                                                        std::int64_t extra_ids) {
  Json sentinels = Json::array();
  for (std::int64_t i = 0; i < extra_ids; ++i) sentinels.push_back(extra_id(i));
  Json& tokens = arguments.kwargs["additional_special_tokens"];
  if (tokens.is_null()) {
    tokens = sentinels;
    return std::nullopt;
  }
  const JsonValue section = arguments.section().at("additional_special_tokens");
  std::int64_t found = 0;
  for (const JsonValue& token : section.elements()) {
    const std::string content = read_added_token(token).content;
    if (content.find("<extra_id_") != std::string::npos) ++found;
  }
  if (found == 0) {
    tokens.insert(tokens.end(), sentinels.begin(), sentinels.end());
  } else if (extra_ids > 0 && found != extra_ids) {
    section.fail("contains " + std::to_string(found) + " tokens <extra_id_...>, but extra_ids is " +
                 std::to_string(extra_ids));
  }
  return found;
}

namespace {

/// The file's character map, the only part of its normalizer that the class uses.
Json find_precompiled(const Json& tokenizer) {
  const auto normalizer = tokenizer.find("normalizer");
  if (normalizer == tokenizer.end() || !normalizer->is_object()) return {};
  Json list = Json::array({*normalizer});
  if (normalizer->value("type", Json()) == "Sequence")
    list = normalizer->value("normalizers", Json());
  if (!list.is_array()) return {};
  for (const Json& part : list) {
    if (part.is_object() && part.value("type", Json()) == "Precompiled" &&
        part.contains("precompiled_charsmap")) {
      return part;
    }
  }
  return {};
}

}  // namespace

T5Tokenizer T5Tokenizer::from_pretrained(const std::filesystem::path& folder,
                                         const TokenizerOptions& options) {
  InitArguments arguments = read_init_arguments(folder, options);
  arguments.set_default("eos_token", "</s>");
  arguments.set_default("unk_token", "<unk>");
  arguments.set_default("pad_token", "<pad>");
  const std::int64_t extra_ids = extra_ids_of(arguments.section());
  arguments.set_default("extra_ids", extra_ids);
  TokenizerParts parts;
  parts.class_name = "T5Tokenizer";
  const Json metaspace = {{"type", "Metaspace"},
                          {"replacement", "\u2581"},
                          {"prepend_scheme", "always"},
                          {"split", true}};
  parts.pre_tokenizer = {
      {"type", "Sequence"},
      {"pretokenizers", Json::array({Json{{"type", "WhitespaceSplit"}}, metaspace})}};
  parts.decoder = metaspace;
  if (arguments.tokenizer_json) {
    parts.model.pieces =
        read_model_of(arguments, ModelDescription::Kind::Unigram, parts.class_name).pieces;
    parts.normalizer = find_precompiled(*arguments.tokenizer_json);
  } else {
    std::filesystem::path file = folder / "spiece.model";
    if (!std::filesystem::exists(file)) {
      const bool other = std::filesystem::exists(folder / "tokenizer.model");
      file = arguments.file(other ? "tokenizer.model" : "spiece.model", parts.class_name);
    }
    const SentencePieceModel model = read_sentencepiece_model(file);
    warn_of_ignored_settings(model, SentencePieceModel::Unigram, file);
    for (const SentencePiece& piece : model.pieces) {
      parts.model.pieces.emplace_back(piece.piece, double{piece.score});
    }
    for (std::int64_t i = extra_ids; i-- > 0;) parts.model.pieces.emplace_back(extra_id(i), 0.0);
    arguments.kwargs["additional_special_tokens"] = special_pieces(model);
    if (!model.precompiled_charsmap.empty()) {
      parts.normalizer = {{"type", "Precompiled"},
                          {"precompiled_charsmap", base64_encode(model.precompiled_charsmap)}};
    }
  }
  parts.model.kind = ModelDescription::Kind::Unigram;
  parts.model.unk_id = 2;
  add_extra_ids(arguments, extra_ids);
  T5Tokenizer tokenizer(assemble(arguments, std::move(parts)));

  using Item = PostProcessor::Item;
  const auto eos_id = tokenizer.eos_token_id();
  if (!eos_id)
    throw TokenizerError(folder.string() +
                         ": a T5Tokenizer needs an eos_token; add it to tokenizer_config.json");
  const Item eos = {"</s>", eos_id, 0}, a = {"$A", std::nullopt, 0}, b = {"$B", std::nullopt, 0};
  set_post_processor(*tokenizer.state_,
                     PostProcessor::template_processing({a, eos}, {a, eos, b, eos}),
                     folder.string() + ": post_processor");
  return tokenizer;
}

std::unique_ptr<Tokenizer> T5Tokenizer::clone() const {
  return std::make_unique<T5Tokenizer>(*this);
}

}  // namespace instructblip
