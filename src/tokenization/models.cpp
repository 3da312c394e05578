#include "tokenization/models.h"

#include <algorithm>
#include <limits>

#include "core/json_reader.h"

namespace instructblip::tokenization {
namespace {

void read_vocabulary(const JsonValue& section, ModelDescription& description) {
  if (section.is_list()) {
    std::int64_t id = 0;
    for (const JsonValue& entry : section.elements()) {
      const bool has_score = entry.is_list() && entry.size() > 0;
      description.vocabulary.add((has_score ? entry.at(0) : entry).as<std::string>(), id++);
    }
    return;
  }
  for (const auto& [token, id] : section.items()) description.vocabulary.add(token, read_id(id));
}

void read_merges(const JsonValue& section, ModelDescription& description) {
  for (const JsonValue& entry : section.elements()) {
    if (entry.is_list()) {
      if (entry.size() != 2) entry.expected("two tokens");
      description.merges.emplace_back(entry.at(0).as<std::string>(), entry.at(1).as<std::string>());
      continue;
    }
    const std::string pair = entry.as<std::string>();
    const std::size_t space = pair.find(' ');
    if (space == std::string::npos || pair.find(' ', space + 1) != std::string::npos) {
      entry.expected("two tokens with a space between them");
    }
    description.merges.emplace_back(pair.substr(0, space), pair.substr(space + 1));
  }
}

void read_pieces(const JsonValue& section, ModelDescription& description) {
  for (const JsonValue& entry : section.elements()) {
    if (entry.size() != 2) entry.expected("a token and its score");
    description.pieces.emplace_back(entry.at(0).as<std::string>(), entry.at(1).as<double>());
  }
}

std::string model_type(const JsonValue& section) {
  if (const auto type = section.get("type")) return type->as<std::string>();
  if (section.get("merges")) return "BPE";
  return section.get("unk_id") ? "Unigram" : "WordPiece";
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

std::int64_t read_id(const JsonValue& value) {
  return value.whole_number(0, std::numeric_limits<std::uint32_t>::max());
}

ModelDescription read_model(const JsonValue& section) {
  ModelDescription description;
  const std::string type = model_type(section);
  if (type == "Unigram") {
    description.kind = ModelDescription::Kind::Unigram;
    read_pieces(section.at("vocab"), description);
    if (const auto id = section.get("unk_id")) description.unk_id = read_id(*id);
  } else if (type == "BPE") {
    description.kind = ModelDescription::Kind::Bpe;
    read_vocabulary(section.at("vocab"), description);
    if (const auto merges = section.get("merges")) read_merges(*merges, description);
    if (const auto dropout = section.get("dropout"); dropout && dropout->as<double>() != 0) {
      dropout->fail("dropout is not supported, because it makes ids random; remove it");
    }
  } else if (type == "WordPiece") {
    description.kind = ModelDescription::Kind::WordPiece;
    read_vocabulary(section.at("vocab"), description);
    if (const auto most = section.get("max_input_chars_per_word")) {
      description.max_input_chars_per_word = most->whole_number(0);
    }
  } else {
    section.fail("the model \"" + type + "\" is not supported; BPE, Unigram and WordPiece are");
  }
  const bool word_piece = description.kind == ModelDescription::Kind::WordPiece;
  if (const auto token = section.get("unk_token")) description.unk_token = token->as<std::string>();
  if (word_piece && !description.unk_token) description.unk_token = "[UNK]";
  description.continuing_subword_prefix =
      section.get_or<std::string>("continuing_subword_prefix", word_piece ? "##" : "");
  description.end_of_word_suffix = section.get_or<std::string>("end_of_word_suffix", "");
  description.fuse_unk = section.get_or<bool>("fuse_unk", false);
  description.byte_fallback = section.get_or<bool>("byte_fallback", false);
  description.ignore_merges = section.get_or<bool>("ignore_merges", false);
  return description;
}

std::shared_ptr<const Model> make_model(ModelDescription description, const std::string& where) {
  switch (description.kind) {
    case ModelDescription::Kind::WordPiece: return make_word_piece(std::move(description));
    case ModelDescription::Kind::Bpe: return make_bpe(std::move(description), where);
    case ModelDescription::Kind::Unigram: return make_unigram(std::move(description), where);
  }
  throw TokenizerError(where + ": the model has an unknown kind");
}

std::string byte_token(unsigned char byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
}

std::string json_text(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string json_text(double number) { return Json(number).dump(); }

std::string vocabulary_json(const Vocabulary& vocabulary) {
  std::string json = "{";
  for (const auto& [id, token] : vocabulary.by_id()) {
    json += json.size() == 1 ? "\n" : ",\n";
    json += "      " + json_text(token) + ": " + std::to_string(id);
  }
  return json + "\n    }";
}

}  // namespace instructblip::tokenization
