// WordPiece: the longest token that is a prefix of the word, then the longest "##" token of the
// rest, and so on.
#include <string>

#include "tokenization/models.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

class WordPiece : public Model {
 public:
  explicit WordPiece(ModelDescription description) : Model(std::move(description)) {}

  void tokenize(std::string_view piece, std::vector<std::int64_t>& ids) const override {
    const auto most = to_size(description_.max_input_chars_per_word);
    if (piece.size() > most && unicode::length(piece) > most) {
      ids.push_back(unknown());
      return;
    }
    const std::size_t before = ids.size();
    std::string candidate;
    for (std::size_t begin = 0; begin < piece.size();) {
      std::size_t end = piece.size();
      for (; end > begin; end = unicode::previous(piece, end)) {
        candidate = begin > 0 ? description_.continuing_subword_prefix : "";
        candidate += piece.substr(begin, end - begin);
        if (const auto id = vocabulary().find(candidate)) {
          ids.push_back(*id);
          break;
        }
      }
      if (end == begin) {
        ids.resize(before);
        ids.push_back(unknown());
        return;
      }
      begin = end;
    }
  }

  std::string to_json() const override {
    return "{\n    \"type\": \"WordPiece\",\n    \"unk_token\": " +
           json_text(*description_.unk_token) + ",\n    \"continuing_subword_prefix\": " +
           json_text(description_.continuing_subword_prefix) +
           ",\n    \"max_input_chars_per_word\": " +
           std::to_string(description_.max_input_chars_per_word) +
           ",\n    \"vocab\": " + vocabulary_json(vocabulary()) + "\n  }";
  }

 private:
  std::int64_t unknown() const {
    const auto id = vocabulary().find(*description_.unk_token);
    if (!id) {
      throw TokenizerError(
          "WordPiece: a word is not in the vocabulary, and neither is the unknown token \"" +
          *description_.unk_token + "\"");
    }
    return *id;
  }
};

}  // namespace

std::shared_ptr<const Model> make_word_piece(ModelDescription description) {
  if (!description.unk_token) description.unk_token = "[UNK]";
  return std::make_shared<WordPiece>(std::move(description));
}

}  // namespace instructblip::tokenization
