// Reads a sentencepiece .model file: a protocol buffer, of which tokenizers need the pieces, their
// scores and the map of characters. The reference does the same and leaves the segmentation to its
// own engines, so that the ids are those of a tokenizer.json; the sentencepiece library's own
// differ in places.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tokenization/init_arguments.h"
#include "tokenization/models.h"

namespace instructblip::tokenization {

struct SentencePiece {
  enum Type { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };
  std::string piece;
  float score = 0;
  int type = Normal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;
  std::string precompiled_charsmap;
};

/// Throws TokenizerError if the file cannot be read or is no such model.
SentencePieceModel read_sentencepiece_model(const std::filesystem::path& file);

/// Vocabulary by id, and every pair of tokens that together are a token, in the order of the
/// latter's ids.
void make_bpe_of(const SentencePieceModel& model, ModelDescription& description);

/// Control and user-defined pieces, which are found in the text before the model sees it.
Json special_pieces(const SentencePieceModel& model);

}  // namespace instructblip::tokenization
