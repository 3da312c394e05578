// Byte-pair encoding: starts with the characters of a piece and merges neighbours in the order of
// the merge ranks.
#include <array>
#include <queue>
#include <string>
#include <unordered_map>

#include "tokenization/models.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

constexpr std::int64_t kNone = -1;

struct Merge {
  std::int64_t rank, id;
};

/// A token of the piece, in a doubly linked list. `length` 0: merged into its predecessor.
struct Symbol {
  std::int64_t id, previous, next;
  std::size_t length;
};

struct Candidate {
  std::int64_t rank, position, id;
  bool operator<(const Candidate& other) const {  // top of the queue: lowest rank, then leftmost
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

class Bpe : public Model {
 public:
  Bpe(ModelDescription description, const std::string& where) : Model(std::move(description)) {
    for (std::size_t rank = 0; rank < description_.merges.size(); ++rank) {
      const auto& [left, right] = description_.merges[rank];
      const std::string& prefix = description_.continuing_subword_prefix;
      if (right.size() < prefix.size()) {
        throw TokenizerError(where + ": the right token \"" + right + "\" of merge " +
                             std::to_string(rank) + " is shorter than the prefix \"" + prefix +
                             "\"");
      }
      const std::int64_t a = id_of(left, rank, where), b = id_of(right, rank, where);
      const std::int64_t merged = id_of(left + right.substr(prefix.size()), rank, where);
      merges_[key(a, b)] = {static_cast<std::int64_t>(rank), merged};
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      byte_ids_[byte] = vocabulary().find(byte_token(static_cast<unsigned char>(byte)));
    }
    if (description_.unk_token) unknown_ = vocabulary().find(*description_.unk_token);
  }

  void tokenize(std::string_view piece, std::vector<std::int64_t>& ids) const override {
    if (piece.empty()) return;
    if (description_.ignore_merges) {
      if (const auto id = vocabulary().find(piece)) {
        ids.push_back(*id);
        return;
      }
    }
    std::vector<Symbol> symbols = characters(piece);
    merge(symbols);
    for (const Symbol& symbol : symbols) {
      if (symbol.length != 0) ids.push_back(symbol.id);
    }
  }

  std::string to_json() const override {
    const auto text = [](const std::string& value) {
      return value.empty() ? "\"\"" : json_text(value);
    };
    const auto flag = [](bool value) { return value ? "true" : "false"; };
    std::string json = "{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ";
    json += description_.unk_token ? json_text(*description_.unk_token) : "null";
    json += ",\n    \"continuing_subword_prefix\": " + text(description_.continuing_subword_prefix);
    json += ",\n    \"end_of_word_suffix\": " + text(description_.end_of_word_suffix);
    json += std::string(",\n    \"fuse_unk\": ") + flag(description_.fuse_unk);
    json += std::string(",\n    \"byte_fallback\": ") + flag(description_.byte_fallback);
    json += std::string(",\n    \"ignore_merges\": ") + flag(description_.ignore_merges);
    json += ",\n    \"vocab\": " + vocabulary_json(vocabulary()) + ",\n    \"merges\": [";
    for (std::size_t i = 0; i < description_.merges.size(); ++i) {
      const auto& [left, right] = description_.merges[i];
      json +=
          (i == 0 ? "\n" : ",\n") + ("      [" + json_text(left)) + ", " + json_text(right) + "]";
    }
    return json + "\n    ]\n  }";
  }

 private:
  static std::uint64_t key(std::int64_t left, std::int64_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
  }

  std::int64_t id_of(const std::string& token, std::size_t rank, const std::string& where) const {
    const auto id = vocabulary().find(token);
    if (!id) {
      throw TokenizerError(where + ": merge " + std::to_string(rank) + " needs the token \"" +
                           token + "\", which is not in the vocabulary");
    }
    return *id;
  }

  std::vector<Symbol> characters(std::string_view piece) const {
    std::vector<Symbol> symbols;
    symbols.reserve(piece.size());
    const auto add = [&](std::int64_t id, std::size_t length) {
      const auto position = static_cast<std::int64_t>(symbols.size());
      if (!symbols.empty()) symbols.back().next = position;
      symbols.push_back({id, position - 1, kNone, length});
    };
    std::size_t unknown_length = 0;  // of unknown characters before the next symbol
    std::string text;
    for (std::size_t begin = 0, end = 0; begin < piece.size(); begin = end) {
      end = begin + unicode::sequence_length(piece[begin]);
      const std::string_view character = piece.substr(begin, end - begin);
      text = begin > 0 ? description_.continuing_subword_prefix : "";
      text += character;
      if (end == piece.size()) text += description_.end_of_word_suffix;
      if (const auto id = vocabulary().find(text)) {
        if (unknown_length != 0) add(*unknown_, unknown_length);
        unknown_length = 0;
        add(*id, character.size());
      } else if (has_bytes(text)) {
        // As in the reference, pending unknown characters follow these bytes.
        for (const char byte : text) add(*byte_ids_[static_cast<unsigned char>(byte)], 1);
      } else if (description_.unk_token) {
        require_unknown();
        if (unknown_length != 0 && !description_.fuse_unk) {
          add(*unknown_, unknown_length);
          unknown_length = 0;
        }
        unknown_length += character.size();
      }
    }
    if (unknown_length != 0) add(*unknown_, unknown_length);
    return symbols;
  }

  bool has_bytes(std::string_view text) const {
    if (!description_.byte_fallback) return false;
    for (const char byte : text) {
      if (!byte_ids_[static_cast<unsigned char>(byte)]) return false;
    }
    return true;
  }

  void require_unknown() const {
    if (!unknown_) {
      throw TokenizerError(
          "BPE: a character is not in the vocabulary, and neither is the unknown token \"" +
          *description_.unk_token + "\"");
    }
  }

  const Merge* find_merge(std::int64_t left, std::int64_t right) const {
    const auto found = merges_.find(key(left, right));
    return found == merges_.end() ? nullptr : &found->second;
  }

  void merge(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate> queue;
    const auto at = [&](std::int64_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
    const auto propose = [&](std::int64_t left) {
      if (left == kNone || at(left).next == kNone) return;
      if (const Merge* merge = find_merge(at(left).id, at(at(left).next).id)) {
        queue.push({merge->rank, left, merge->id});
      }
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) propose(static_cast<std::int64_t>(i));
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      Symbol& left = at(top.position);
      if (left.length == 0 || left.next == kNone) continue;
      Symbol& right = at(left.next);
      const Merge* now = find_merge(left.id, right.id);
      if (now == nullptr || now->id != top.id) continue;  // outdated: a neighbour has merged since
      left.id = top.id;
      left.length += right.length;
      left.next = right.next;
      right.length = 0;
      if (left.next != kNone) at(left.next).previous = top.position;
      propose(left.previous);
      propose(top.position);
    }
  }

  std::unordered_map<std::uint64_t, Merge> merges_;
  std::array<std::optional<std::int64_t>, 256> byte_ids_;
  std::optional<std::int64_t> unknown_;
};

}  // namespace

std::shared_ptr<const Model> make_bpe(ModelDescription description, const std::string& where) {
  return std::make_shared<Bpe>(std::move(description), where);
}

}  // namespace instructblip::tokenization
