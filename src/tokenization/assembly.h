// From what a folder says to a tokenizer: each class describes its pipeline in the words of a
// tokenizer.json, and the rest is common (`TokenizersBackend.__init__` in the reference).
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
  Json kwargs;  ///< what save_pretrained writes besides

  const AddedToken* find_special(std::string_view role) const;
};

/// The pipeline that a class asks for.
struct TokenizerParts {
  std::string class_name;
  Side padding_side = Side::Right;
  Json normalizer, pre_tokenizer, decoder;
  ModelDescription model;
};

/// What all classes share: post-processor of the file, special tokens, added tokens.
std::unique_ptr<TokenizerState> assemble(const InitArguments& arguments, TokenizerParts parts);
std::unique_ptr<TokenizerState> assemble_from_tokenizer_json(const InitArguments& arguments);

/// Puts the templates of a class in place of what the file says.
void set_post_processor(TokenizerState& state, Json json, const std::string& where);

/// The "model" of tokenizer.json, which must be of the kind that the class needs.
ModelDescription read_model_of(const InitArguments& arguments, ModelDescription::Kind kind,
                               const std::string& class_name);

std::string tokenizer_json(const TokenizerState& state);

}  // namespace instructblip::tokenization
