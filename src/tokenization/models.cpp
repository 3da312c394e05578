#include "tokenization/models.h"

#include <algorithm>

namespace instructblip::tokenization {
namespace {

void read_vocabulary(const JsonSection& section, ModelDescription& description) {
  if (section.json().is_array()) {
    for (std::size_t i = 0; i < section.size(); ++i) {
      const JsonSection entry = section.at(i);
      description.vocabulary.add(
          entry.json().is_array() && entry.size() > 0 ? entry.at(0).string() : entry.string(),
          static_cast<std::int64_t>(i));
    }
    return;
  }
  if (!section.json().is_object()) section.expected("an object of tokens and ids");
  for (const auto& [token, id] : section.json().items()) {
    description.vocabulary.add(token, JsonSection(id, section.where() + ": " + token).id());
  }
}

void read_merges(const JsonSection& section, ModelDescription& description) {
  for (std::size_t i = 0; i < section.size(); ++i) {
    const JsonSection entry = section.at(i);
    if (entry.json().is_array()) {
      if (entry.size() != 2) entry.expected("two tokens");
      description.merges.emplace_back(entry.at(0).string(), entry.at(1).string());
      continue;
    }
    const std::string pair = entry.string();
    const std::size_t space = pair.find(' ');
    if (space == std::string::npos || pair.find(' ', space + 1) != std::string::npos) {
      entry.expected("two tokens with a space between them");
    }
    description.merges.emplace_back(pair.substr(0, space), pair.substr(space + 1));
  }
}

void read_pieces(const JsonSection& section, ModelDescription& description) {
  for (std::size_t i = 0; i < section.size(); ++i) {
    const JsonSection entry = section.at(i);
    if (entry.size() != 2) entry.expected("a token and its score");
    description.pieces.emplace_back(entry.at(0).string(), entry.at(1).number());
  }
}

std::string model_type(const JsonSection& section) {
  if (const auto type = section.find("type")) return type->string();
  if (section.find("merges")) return "BPE";
  return section.find("unk_id") ? "Unigram" : "WordPiece";
}

}  // namespace

void Vocabulary::add(std::string token, std::int64_t id) {
  tokens_.insert_or_assign(id, token);
  ids_.insert_or_assign(std::move(token), id);
}

std::optional<std::int64_t> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string> Vocabulary::token(std::int64_t id) const {
  const auto found = tokens_.find(id);
  if (found == tokens_.end()) return std::nullopt;
  return found->second;
}

std::vector<std::pair<std::int64_t, std::string>> Vocabulary::by_id() const {
  std::vector<std::pair<std::int64_t, std::string>> sorted;
  sorted.reserve(ids_.size());
  for (const auto& [token, id] : ids_) sorted.emplace_back(id, token);
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

ModelDescription read_model(const JsonSection& section) {
  ModelDescription description;
  const std::string type = model_type(section);
  if (type == "Unigram") {
    description.kind = ModelDescription::Kind::Unigram;
    read_pieces(section.at("vocab"), description);
    if (const auto id = section.find("unk_id")) description.unk_id = id->id();
  } else if (type == "BPE") {
    description.kind = ModelDescription::Kind::Bpe;
    read_vocabulary(section.at("vocab"), description);
    if (const auto merges = section.find("merges")) read_merges(*merges, description);
    if (const auto dropout = section.find("dropout"); dropout && dropout->number() != 0) {
      dropout->fail("dropout, which makes ids random, is not supported; remove it");
    }
  } else if (type == "WordPiece") {
    description.kind = ModelDescription::Kind::WordPiece;
    read_vocabulary(section.at("vocab"), description);
    if (const auto most = section.find("max_input_chars_per_word")) {
      description.max_input_chars_per_word = most->id();
    }
  } else {
    section.fail("the model \"" + type + "\" is not supported; BPE, Unigram and WordPiece are");
  }
  const bool word_piece = description.kind == ModelDescription::Kind::WordPiece;
  if (const auto token = section.find("unk_token")) description.unk_token = token->string();
  if (word_piece && !description.unk_token) description.unk_token = "[UNK]";
  description.continuing_subword_prefix =
      section.string("continuing_subword_prefix", word_piece ? "##" : "");
  description.end_of_word_suffix = section.string("end_of_word_suffix", "");
  description.fuse_unk = section.boolean("fuse_unk", false);
  description.byte_fallback = section.boolean("byte_fallback", false);
  description.ignore_merges = section.boolean("ignore_merges", false);
  return description;
}

std::shared_ptr<const Model> make_model(ModelDescription description, const std::string& where) {
  switch (description.kind) {
    case ModelDescription::Kind::WordPiece: return make_word_piece(std::move(description));
    case ModelDescription::Kind::Bpe: return make_bpe(std::move(description), where);
    case ModelDescription::Kind::Unigram: return make_unigram(std::move(description), where);
  }
  throw TokenizerError(where + ": unknown kind of model");
}

std::string byte_token(unsigned char byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
}

std::string json_text(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string vocabulary_json(const Vocabulary& vocabulary) {
  std::string json = "{";
  for (const auto& [id, token] : vocabulary.by_id()) {
    json += json.size() == 1 ? "\n" : ",\n";
    json += "      " + json_text(token) + ": " + std::to_string(id);
  }
  return json + "\n    }";
}

}  // namespace instructblip::tokenization
