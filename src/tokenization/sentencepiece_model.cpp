#include "tokenization/sentencepiece_model.h"

#include <bit>
#include <cstring>
#include <string_view>

#include "instructblip/core/log.h"
#include "tokenization/init_arguments.h"
#include "tokenization/unicode.h"

namespace instructblip::tokenization {
namespace {

/// Reads the wire format of protocol buffers: fields with a number, a wire type and a value.
class Message {
 public:
  Message(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  struct Field {
    std::uint64_t number = 0;
    std::uint64_t kind = 0;   ///< 0 integer, 1 eight bytes, 2 bytes with a length, 5 four bytes
    std::uint64_t value = 0;  ///< kinds 0, 1 and 5
    std::string_view bytes;   ///< kind 2
  };

  /// False at the end.
  bool next(Field& field) {
    if (offset_ == bytes_.size()) return false;
    const std::uint64_t tag = integer();
    field = {tag >> 3, tag & 7, 0, {}};
    if (field.number == 0) fail();
    switch (field.kind) {
      case 0: field.value = integer(); break;
      case 1: field.value = fixed(8); break;
      case 2: field.bytes = take(integer()); break;
      case 5: field.value = fixed(4); break;
      default: fail();
    }
    return true;
  }

 private:
  [[noreturn]] void fail() const {
    throw TokenizerError(file_ + ": not a sentencepiece model, or damaged (at byte " +
                         std::to_string(offset_) + " of a message of " +
                         std::to_string(bytes_.size()) + ")");
  }
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - offset_) fail();
    const std::string_view taken = bytes_.substr(offset_, static_cast<std::size_t>(count));
    offset_ += static_cast<std::size_t>(count);
    return taken;
  }
  std::uint64_t fixed(std::size_t count) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(count).data(), count);
    return value;
  }
  std::uint64_t integer() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail();
  }

  std::string_view bytes_;
  const std::string& file_;
  std::size_t offset_ = 0;
};

SentencePiece read_piece(std::string_view bytes, const std::string& file, std::size_t id) {
  SentencePiece piece;
  Message message(bytes, file);
  for (Message::Field field; message.next(field);) {
    if (field.number == 1 && field.kind == 2) piece.piece = field.bytes;
    if (field.number == 2 && field.kind == 5) {
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    }
    if (field.number == 3 && field.kind == 0) piece.type = static_cast<int>(field.value & 0xff);
  }
  if (unicode::first_invalid_byte(piece.piece)) {
    throw TokenizerError(file + ": piece " + std::to_string(id) + " is not UTF-8");
  }
  return piece;
}

void read_trainer_spec(Message message, SentencePieceModel& model) {
  for (Message::Field field; message.next(field);) {
    if (field.kind != 0) continue;
    if (field.number == 3) model.model_type = static_cast<int>(field.value & 0xff);
    if (field.number == 24) model.treat_whitespace_as_suffix = field.value != 0;
    if (field.number == 35) model.byte_fallback = field.value != 0;
  }
}

void read_normalizer_spec(Message message, SentencePieceModel& model) {
  for (Message::Field field; message.next(field);) {
    if (field.number == 2 && field.kind == 2) model.precompiled_charsmap = field.bytes;
    if (field.kind != 0) continue;
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5) model.escape_whitespaces = field.value != 0;
  }
}

}  // namespace

SentencePieceModel read_sentencepiece_model(const std::filesystem::path& file) {
  const std::string bytes = read_text_file<TokenizerError>(file), name = file.string();
  SentencePieceModel model;
  Message message(bytes, name);
  for (Message::Field field; message.next(field);) {
    if (field.kind != 2) continue;
    if (field.number == 1) {
      model.pieces.push_back(read_piece(field.bytes, name, model.pieces.size()));
    } else if (field.number == 2) {
      read_trainer_spec(Message(field.bytes, name), model);
    } else if (field.number == 3) {
      read_normalizer_spec(Message(field.bytes, name), model);
    }
  }
  if (model.pieces.empty())
    throw TokenizerError(name + ": contains no pieces; is it a sentencepiece model?");
  return model;
}

void warn_of_ignored_settings(const SentencePieceModel& model, SentencePieceModel::Type engine,
                              const std::filesystem::path& file) {
  const bool is_bpe = engine == SentencePieceModel::Bpe;
  std::string ignored;
  const auto note = [&](const std::string& setting) {
    ignored += (ignored.empty() ? "" : ", ") + setting;
  };
  const auto check = [&](const char* name, bool found, bool used) {
    if (found != used) note(std::string(name) + (found ? " = true" : " = false"));
  };
  if (model.model_type != engine) note("model_type = " + std::to_string(model.model_type));
  check("byte_fallback", model.byte_fallback, is_bpe);
  check("treat_whitespace_as_suffix", model.treat_whitespace_as_suffix, false);
  check("add_dummy_prefix", model.add_dummy_prefix, true);
  check("remove_extra_whitespaces", model.remove_extra_whitespaces, !is_bpe);
  check("escape_whitespaces", model.escape_whitespaces, true);
  if (is_bpe && !model.precompiled_charsmap.empty()) note("its character map");
  if (ignored.empty()) return;
  log_warning(file.string() + ": " + (is_bpe ? "LlamaTokenizer" : "T5Tokenizer") + " ignores " +
              ignored +
              ", as in transformers 5, so ids may differ from those of the training. The component "
              "sentencepiece obeys all settings (tokenization/sentencepiece_tokenizer.h)");
}

void make_bpe_of(const SentencePieceModel& model, ModelDescription& description) {
  description.kind = ModelDescription::Kind::Bpe;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    description.vocabulary.add(model.pieces[id].piece, static_cast<std::int64_t>(id));
  }
  for (const auto& [id, token] : description.vocabulary.by_id()) {
    for (std::size_t end = 0; end < token.size();) {
      end += unicode::sequence_length(token[end]);
      if (end == token.size()) break;
      const std::string left = token.substr(0, end), right = token.substr(end);
      if (description.vocabulary.find(left) && description.vocabulary.find(right)) {
        description.merges.emplace_back(left, right);
      }
    }
  }
}

Json special_pieces(const SentencePieceModel& model) {
  Json tokens = Json::array();
  for (const SentencePiece& piece : model.pieces) {
    if (piece.type != SentencePiece::Control && piece.type != SentencePiece::UserDefined) continue;
    tokens.push_back(added_token_json({.content = piece.piece,
                                       .normalized = false,
                                       .special = piece.type == SentencePiece::Control}));
  }
  return tokens;
}

}  // namespace instructblip::tokenization
