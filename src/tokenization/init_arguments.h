// The options of a tokenizer from the folder's files and the caller: the reference's `init_kwargs`
// (`_from_pretrained` of tokenization_utils_base.py).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_reader.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip::tokenization {

inline constexpr std::array<std::string_view, 7> kSpecialTokenRoles = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

struct InitArguments {
  std::filesystem::path folder;
  Json kwargs = Json::object();        ///< of tokenizer_config.json, updated from other files
  std::optional<Json> tokenizer_json;  ///< the file, if it exists
  std::map<std::int64_t, AddedToken> added_tokens_decoder;

  JsonReader<TokenizerError> section() const {
    return {kwargs, (folder / "tokenizer_config.json").string()};
  }
  JsonReader<TokenizerError> tokenizer_section() const {
    return {*tokenizer_json, (folder / "tokenizer.json").string()};
  }
  /// The text of a special token; nothing if the key is missing or null.
  std::optional<std::string> token(std::string_view key) const;
  void set_default(std::string_view key, Json value);
  /// The path of a required file. Throws TokenizerError if it does not exist; `needed_for` is the
  /// class that needs it.
  std::filesystem::path file(std::string_view name, std::string_view needed_for) const;
};

/// The releases read a folder differently: transformers 4 takes add_bos_token and add_eos_token
/// also beside a tokenizer.json, and calls the extra special tokens "additional_special_tokens".
enum class Release { Transformers4, Transformers5 };

InitArguments read_init_arguments(const std::filesystem::path& folder,
                                  const TokenizerOptions& options,
                                  Release release = Release::Transformers5);

/// The class that the folder's files name or, with a warning, suggest, without "Fast".
std::string class_of(const std::filesystem::path& folder);

/// "padding_side" or "truncation_side".
Side read_side(const JsonValue& section);
/// "model_max_length" or "max_len"; nothing if there is no limit.
std::optional<Index> read_model_max_length(const JsonValue& kwargs);

/// T5's number of sentinels <extra_id_0> ..., "extra_ids" (100).
std::int64_t extra_ids_of(const JsonValue& kwargs);
std::string extra_id(std::int64_t i);
/// Adds the sentinels to "additional_special_tokens" unless that has them. Returns how many it had;
/// nothing if there is no such list.
std::optional<std::int64_t> add_extra_ids(InitArguments& arguments, std::int64_t extra_ids);

/// Reads a token from JSON: a string, which is a special token, or an object.
AddedToken read_added_token(const JsonValue& section);
Json added_token_json(const AddedToken& token);
bool is_token(const Json& json);

}  // namespace instructblip::tokenization
