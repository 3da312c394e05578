// Reads a sentencepiece .model file, a protocol buffer: the pieces, their scores and the character
// map. Like the reference, this library segments text with its own engines, so that ids equal those
// of a tokenizer.json; the ids of the sentencepiece library differ in places.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

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
  // Of trainer_spec and normalizer_spec.
  enum Type { Unigram = 1, Bpe = 2 };
  int model_type = Unigram;
  bool byte_fallback = false, treat_whitespace_as_suffix = false;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
};

/// Throws TokenizerError if the file cannot be read or is not such a model.
SentencePieceModel read_sentencepiece_model(const std::filesystem::path& file);

/// Logs a warning that names the settings which LlamaTokenizer (BPE) or T5Tokenizer (Unigram)
/// ignores in the reference, and here, so that ids differ from those that the file was trained for.
void warn_of_ignored_settings(const SentencePieceModel& model, SentencePieceModel::Type engine,
                              const std::filesystem::path& file);

/// Fills the vocabulary and the merges: every pair of tokens whose concatenation is a token, in the
/// order of that token's id.
void make_bpe_of(const SentencePieceModel& model, ModelDescription& description);

/// Control and user-defined pieces, which are matched in the text before the model is applied.
Json special_pieces(const SentencePieceModel& model);

}  // namespace instructblip::tokenization
