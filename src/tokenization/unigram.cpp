// Unigram: the segmentation with the largest sum of log-probabilities (Viterbi).
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "tokenization/byte_trie.h"
#include "tokenization/models.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();
constexpr double kUnknownPenalty = 10.0;

/// The best segmentation of the text up to a byte.
struct Node {
  std::int64_t id = 0;
  double score = 0;
  std::size_t begin = kNowhere;  ///< of its last token
};

class Unigram : public Model {
 public:
  Unigram(ModelDescription description, const std::string& where) : Model(std::move(description)) {
    const ScoredTokens& pieces = description_.pieces;
    if (description_.unk_id && to_size(*description_.unk_id) >= pieces.size()) {
      throw TokenizerError(where + ": unk_id is " + std::to_string(*description_.unk_id) +
                           ", but the vocabulary has " + std::to_string(pieces.size()) + " tokens");
    }
    double minimum = std::numeric_limits<double>::infinity();
    for (std::size_t id = 0; id < pieces.size(); ++id) {
      const auto& [token, score] = pieces[id];
      description_.vocabulary.add(token, static_cast<std::int64_t>(id));
      trie_.insert(token, static_cast<std::int64_t>(id));
      minimum = std::min(minimum, score);
    }
    unknown_score_ = minimum - kUnknownPenalty;
  }

  std::size_t size() const override { return description_.pieces.size(); }

  void tokenize(std::string_view piece, std::vector<std::int64_t>& ids) const override {
    const std::vector<Node> best = best_paths(piece);
    std::vector<std::pair<std::size_t, std::size_t>> tokens;  // from last to first
    std::size_t unknown_end = kNowhere;                       // of unknown tokens, which are fused
    for (std::size_t end = piece.size(); end > 0;) {
      const Node& node = best[end];
      if (description_.unk_id && node.id == *description_.unk_id) {
        if (unknown_end == kNowhere) unknown_end = end;
      } else {
        if (unknown_end != kNowhere) tokens.emplace_back(end, unknown_end);
        unknown_end = kNowhere;
        tokens.emplace_back(node.begin, end);
      }
      end = node.begin;
    }
    if (unknown_end != kNowhere) tokens.emplace_back(0, unknown_end);
    for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
      append_ids(piece.substr(token->first, token->second - token->first), ids);
    }
  }

  std::string to_json() const override {
    std::string json = "{\n    \"type\": \"Unigram\",\n    \"unk_id\": ";
    json += description_.unk_id ? std::to_string(*description_.unk_id) : "null";
    json += ",\n    \"vocab\": [";
    for (std::size_t i = 0; i < description_.pieces.size(); ++i) {
      const auto& [token, score] = description_.pieces[i];
      json +=
          (i == 0 ? "\n" : ",\n") + ("      [" + json_text(token)) + ", " + json_text(score) + "]";
    }
    return json +
           "\n    ],\n    \"byte_fallback\": " + (description_.byte_fallback ? "true" : "false") +
           "\n  }";
  }

 private:
  std::vector<Node> best_paths(std::string_view piece) const {
    std::vector<Node> best(piece.size() + 1);
    for (std::size_t begin = 0; begin < piece.size();) {
      const double so_far = best[begin].score;
      const std::size_t character = unicode::sequence_length(piece[begin]);
      bool has_character = false;
      const auto reach = [&](std::size_t length, std::int64_t id, double score) {
        Node& node = best[begin + length];
        if (node.begin == kNowhere || score + so_far > node.score)
          node = {id, score + so_far, begin};
      };
      trie_.prefixes(piece.substr(begin), [&](std::size_t length, std::int64_t id) {
        reach(length, id, at(description_.pieces, id).second);
        has_character = has_character || length == character;
      });
      if (!has_character) reach(character, unknown(), unknown_score_);
      begin += character;
    }
    return best;
  }

  void append_ids(std::string_view token, std::vector<std::int64_t>& ids) const {
    if (const auto id = vocabulary().find(token)) {
      ids.push_back(*id);
      return;
    }
    if (description_.byte_fallback) {
      std::vector<std::int64_t> bytes;
      for (const char byte : token) {
        const auto id = vocabulary().find(byte_token(static_cast<unsigned char>(byte)));
        if (id) bytes.push_back(*id);
      }
      if (bytes.size() == token.size()) {
        ids.insert(ids.end(), bytes.begin(), bytes.end());
        return;
      }
    }
    ids.push_back(unknown());
  }

  std::int64_t unknown() const {
    if (!description_.unk_id) {
      throw TokenizerError(
          "Unigram: a character is not in the vocabulary, and the model has no unk_id");
    }
    return *description_.unk_id;
  }

  ByteTrie trie_;
  double unknown_score_ = 0;
};

}  // namespace

std::shared_ptr<const Model> make_unigram(ModelDescription description, const std::string& where) {
  return std::make_shared<Unigram>(std::move(description), where);
}

}  // namespace instructblip::tokenization
