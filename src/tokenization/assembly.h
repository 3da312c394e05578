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

namespace instructblip {

struct TokenizersBackend::State {
  std::string class_name;
  Json normalizer_json, pre_tokenizer_json, post_processor_json, decoder_json;
  Json truncation_json, padding_json;
  std::shared_ptr<const tokenization::Normalizer> normalizer;
  std::shared_ptr<const tokenization::PreTokenizer> pre_tokenizer;
  std::shared_ptr<const tokenization::Model> model;
  tokenization::PostProcessor post_processor;
  std::shared_ptr<const tokenization::Decoder> decoder;
  tokenization::AddedVocabulary added;

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
  tokenization::ModelDescription model;
};

class TokenizerAssembly {
 public:
  /// The common part: post-processor of the file, special tokens, added tokens.
  static std::unique_ptr<TokenizersBackend::State> assemble(
      const tokenization::InitArguments& arguments, TokenizerParts parts);
  static std::unique_ptr<TokenizersBackend::State> assemble_from_tokenizer_json(
      const tokenization::InitArguments& arguments);

  /// Puts the templates of a class in place of what the file says.
  static void set_post_processor(TokenizersBackend::State& state, Json json,
                                 const std::string& where);

  /// The "model" of tokenizer.json, which must be of the kind that the class needs.
  static tokenization::ModelDescription read_model_of(const tokenization::InitArguments& arguments,
                                                      tokenization::ModelDescription::Kind kind,
                                                      const std::string& class_name);

  static std::string tokenizer_json(const TokenizersBackend::State& state);

 private:
  static void set_attributes(TokenizersBackend::State& state,
                             const tokenization::InitArguments& arguments, Side padding_side);
  static void set_special_tokens(TokenizersBackend::State& state,
                                 const tokenization::InitArguments& arguments);
  static void add_missing_tokens(TokenizersBackend::State& state,
                                 const tokenization::InitArguments& arguments);
  static void update_post_processor(TokenizersBackend::State& state, bool add_bos, bool add_eos,
                                    const std::string& where);
};

}  // namespace instructblip
