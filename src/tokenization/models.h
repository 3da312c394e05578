// Models: the third step of a tokenizer, which converts a piece to ids. WordPiece (BERT), byte-pair
// encoding (GPT-2, LLaMA) and Unigram (T5). Mirrors the `models` of tokenizers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/json_value.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"

namespace instructblip::tokenization {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};

/// Maps tokens to ids and ids to tokens.
class Vocabulary {
 public:
  /// Replaces an earlier token with the same text.
  void add(std::string token, std::int64_t id);
  std::optional<std::int64_t> find(std::string_view token) const;
  std::optional<std::string> token(std::int64_t id) const;
  std::size_t size() const { return ids_.size(); }
  std::vector<std::pair<std::int64_t, std::string>> by_id() const;

 private:
  std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>> ids_;
  std::unordered_map<std::int64_t, std::string> tokens_;
};

using Merges = std::vector<std::pair<std::string, std::string>>;
using ScoredTokens = std::vector<std::pair<std::string, double>>;

/// Description of a model, read from a tokenizer.json or vocabulary files.
struct ModelDescription {
  enum class Kind { WordPiece, Bpe, Unigram };
  Kind kind = Kind::Bpe;
  Vocabulary vocabulary;  ///< WordPiece, BPE
  Merges merges;          ///< BPE: in descending priority
  ScoredTokens pieces;    ///< Unigram: token and log-probability by id

  std::optional<std::string> unk_token;
  std::optional<std::int64_t> unk_id;           ///< Unigram
  std::string continuing_subword_prefix;        ///< WordPiece "##", BPE ""
  std::string end_of_word_suffix;               ///< BPE
  std::int64_t max_input_chars_per_word = 100;  ///< WordPiece
  bool fuse_unk = false;                        ///< BPE
  bool byte_fallback = false;                   ///< BPE, Unigram
  bool ignore_merges = false;                   ///< BPE
};

/// Reads a token's id: 0 ... 2^32 - 1.
std::int64_t read_id(const JsonValue& value);
/// Reads the "model" of a tokenizer.json.
ModelDescription read_model(const JsonValue& section);

/// Converts pieces to ids. Immutable.
class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of one piece of valid UTF-8.
  virtual void tokenize(std::string_view piece, std::vector<std::int64_t>& ids) const = 0;
  /// The model as the "model" of a tokenizer.json.
  virtual std::string to_json() const = 0;

  const ModelDescription& description() const { return description_; }
  const Vocabulary& vocabulary() const { return description_.vocabulary; }
  virtual std::size_t size() const { return vocabulary().size(); }

 protected:
  explicit Model(ModelDescription description) : description_(std::move(description)) {}
  ModelDescription description_;
};

/// Creates a model. Throws TokenizerError that starts with `where` if a merge needs a token that is
/// not in the vocabulary.
std::shared_ptr<const Model> make_model(ModelDescription description, const std::string& where);

std::shared_ptr<const Model> make_word_piece(ModelDescription description);
std::shared_ptr<const Model> make_bpe(ModelDescription description, const std::string& where);
std::shared_ptr<const Model> make_unigram(ModelDescription description, const std::string& where);

/// The token of a byte: "<0x0A>".
std::string byte_token(unsigned char byte);
/// A text or number as JSON.
std::string json_text(std::string_view text);
std::string json_text(double number);
/// {"token": id, ...} in the order of ids, one per line.
std::string vocabulary_json(const Vocabulary& vocabulary);

}  // namespace instructblip::tokenization
