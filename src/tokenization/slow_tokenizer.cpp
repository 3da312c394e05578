#include "instructblip/tokenization/slow_tokenizer.h"

#include <map>
#include <utility>

#include "core/json_reader.h"
#include "instructblip/core/error.h"
#include "tokenization/pretrained_tokenizer.h"

namespace instructblip {

using namespace tokenization;

namespace {

class SlowLlamaTokenizer : public PreTrainedTokenizer {
 public:
  SlowLlamaTokenizer(InitArguments& arguments, const SubwordModelFactory& make)
      : PreTrainedTokenizer(arguments, "tokenizer.model", make) {
    arguments.set_default("unk_token", "<unk>");
    arguments.set_default("bos_token", "<s>");
    arguments.set_default("eos_token", "</s>");
    init(arguments, {});
    const JsonValue kwargs = arguments.section();
    if (kwargs.get_or<bool>("add_bos_token", true)) {
      before_ = require_special_token_id("bos_token", arguments);
    }
    if (kwargs.get_or<bool>("add_eos_token", false)) {
      after_ = require_special_token_id("eos_token", arguments);
    }
  }

  std::string_view class_name() const override { return "LlamaTokenizer"; }
  Index num_special_tokens_to_add() const override {
    return before_.has_value() + after_.has_value();
  }
  std::unique_ptr<Tokenizer> clone() const override {
    return std::make_unique<SlowLlamaTokenizer>(*this);
  }

 protected:
  std::vector<std::int64_t> add_special_tokens_to(std::vector<std::int64_t> ids) const override {
    if (before_) ids.insert(ids.begin(), *before_);
    if (after_) ids.push_back(*after_);
    return ids;
  }

  std::string convert_tokens_to_string(std::vector<std::string> tokens) const override {
    if (tokens[0].starts_with(kSpaceMark) && add_prefix_space_)
      tokens[0].erase(0, kSpaceMark.size());
    std::string text;
    std::vector<std::string> pieces;
    bool after_special = false;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (is_special(tokens[i])) {
        if (!after_special && i != 0 && legacy_) text += ' ';
        text += model_->decode(std::exchange(pieces, {})) + tokens[i];
        after_special = true;
      } else {
        if (after_special && i == 1 && add_prefix_space_ && !tokens[i].starts_with(kSpaceMark)) {
          text += ' ';
        }
        pieces.push_back(tokens[i]);
        after_special = false;
      }
    }
    return text + model_->decode(pieces);
  }

 private:
  std::optional<std::int64_t> before_, after_;
};

class SlowT5Tokenizer : public PreTrainedTokenizer {
 public:
  SlowT5Tokenizer(InitArguments& arguments, const SubwordModelFactory& make,
                  const std::string& file_name)
      : PreTrainedTokenizer(arguments, file_name, make) {
    arguments.set_default("eos_token", "</s>");
    arguments.set_default("unk_token", "<unk>");
    arguments.set_default("pad_token", "<pad>");
    const std::int64_t extra_ids = extra_ids_of(arguments.section());
    arguments.set_default("extra_ids", extra_ids);
    const std::int64_t given = add_extra_ids(arguments, extra_ids).value_or(extra_ids);
    std::map<std::int64_t, AddedToken> sentinels;
    for (std::int64_t i = 0; i < given; ++i) {
      sentinels[model_->size() - 1 + extra_ids - i] = {.content = extra_id(i),
                                                       .lstrip = true,
                                                       .rstrip = true,
                                                       .normalized = false,
                                                       .special = true};
    }
    init(arguments, std::move(sentinels));
    eos_ = require_special_token_id("eos_token", arguments);
  }

  std::string_view class_name() const override { return "T5Tokenizer"; }
  Index num_special_tokens_to_add() const override { return 1; }
  std::unique_ptr<Tokenizer> clone() const override {
    return std::make_unique<SlowT5Tokenizer>(*this);
  }

 protected:
  std::vector<std::int64_t> add_special_tokens_to(std::vector<std::int64_t> ids) const override {
    if (ids.empty() || ids.back() != eos_) ids.push_back(eos_);
    return ids;
  }

  std::string convert_tokens_to_string(std::vector<std::string> tokens) const override {
    if (tokens[0].starts_with(kSpaceMark) && add_prefix_space_)
      tokens[0].erase(0, kSpaceMark.size());
    std::string text;
    std::vector<std::string> pieces;
    bool after_special = false;
    for (const std::string& token : tokens) {
      if (!is_special(token)) {
        pieces.push_back(token);
        after_special = false;
        continue;
      }
      if (!after_special) text += ' ';
      text += model_->decode(std::exchange(pieces, {})) + token;
      after_special = true;
    }
    return stripped(text + model_->decode(pieces), true, true);
  }

 private:
  std::int64_t eos_ = 0;
};

}  // namespace

SubwordModel::~SubwordModel() = default;

std::unique_ptr<Tokenizer> load_slow_tokenizer(const std::filesystem::path& folder,
                                               const TokenizerOptions& options,
                                               const SubwordModelFactory& make_model) {
  require_folder<TokenizerError>(folder);
  const std::string name = class_of(folder);
  const bool has_llama = is_file(folder / "tokenizer.model"),
             has_t5 = is_file(folder / "spiece.model");
  if (name != "LlamaTokenizer" && name != "T5Tokenizer") {
    throw TokenizerError(folder.string() + ": its tokenizer is a " + name +
                         "; sentencepiece is for LlamaTokenizer and T5Tokenizer");
  }
  if (name == "LlamaTokenizer" ? !has_llama : !has_t5 && !has_llama) {
    throw TokenizerError(folder.string() + ": has no " +
                         (name == "LlamaTokenizer" ? "tokenizer.model" : "spiece.model") +
                         ", which sentencepiece needs; copy it from the checkpoint, or unset "
                         "`TokenizerOptions::loader` to use the tokenizer of tokenizer.json");
  }
  InitArguments arguments = read_init_arguments(folder, options, Release::Transformers4);
  if (name == "LlamaTokenizer") return std::make_unique<SlowLlamaTokenizer>(arguments, make_model);
  return std::make_unique<SlowT5Tokenizer>(arguments, make_model,
                                           has_t5 ? "spiece.model" : "tokenizer.model");
}

}  // namespace instructblip
