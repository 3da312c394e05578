// Builds a tokenizer from a folder's files. Each class describes its pipeline in the format of
// tokenizer.json; the rest is shared (`TokenizersBackend.__init__` in the reference).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "instructblip/tokenization/tokenizers_backend.h"
#include "tokenization/added_vocabulary.h"
#include "tokenization/decoders.h"
#include "tokenization/init_arguments.h"
#include "tokenization/models.h"
#include "tokenization/normalizers.h"
#include "tokenization/post_processors.h"
#include "tokenization/pre_tokenizers.h"

namespace instructblip::tokenization {

struct TokenizerState {
  std::string class_name;
  Json normalizer_json, pre_tokenizer_json, post_processor_json, decoder_json;
  Json truncation_json, padding_json;
  std::shared_ptr<const Normalizer> normalizer;
  std::shared_ptr<const PreTokenizer> pre_tokenizer;
  std::shared_ptr<const Model> model;
  PostProcessor post_processor;
  std::shared_ptr<const Decoder> decoder;
  AddedVocabulary added;

  /// Role and token, in the reference's order.
  std::vector<std::pair<std::string, AddedToken>> special_tokens;
  std::vector<AddedToken> extra_special_tokens;
  Index model_max_length = Tokenizer::unlimited_length;
  Side padding_side = Side::Right;
  Side truncation_side = Side::Right;
  bool clean_up_tokenization_spaces = false;
  bool clean_up_bpe = false;
  bool split_special_tokens = false;
  Json kwargs;  ///< further keys for save_pretrained

  const AddedToken* find_special(std::string_view role) const;
};

/// The pipeline of a class.
struct TokenizerParts {
  std::string class_name;
  Side padding_side = Side::Right;
  Json normalizer, pre_tokenizer, decoder;
  ModelDescription model;
};

/// Builds the state: the pipeline, the file's post-processor, special tokens and added tokens.
std::unique_ptr<TokenizerState> assemble(const InitArguments& arguments, TokenizerParts parts);
std::unique_ptr<TokenizerState> assemble_from_tokenizer_json(const InitArguments& arguments);

/// Replaces the file's post-processor by that of a class.
void set_post_processor(TokenizerState& state, Json json, const std::string& where);

/// The "model" of tokenizer.json. Throws TokenizerError if it has another kind than the class
/// needs.
ModelDescription read_model_of(const InitArguments& arguments, ModelDescription::Kind kind,
                               const std::string& class_name);

std::string tokenizer_json(const TokenizerState& state);
/// The text of tokenizer_config.json. An unlimited length is written as the reference writes it.
std::string tokenizer_config_json(Json config, Index model_max_length);

}  // namespace instructblip::tokenization
