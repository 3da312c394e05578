#include "instructblip/tokenization/tokenizers_backend.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "instructblip/core/error.h"
#include "instructblip/tokenization/tokenization_bert.h"
#include "instructblip/tokenization/tokenization_gpt2.h"
#include "instructblip/tokenization/tokenization_llama.h"
#include "instructblip/tokenization/tokenization_t5.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::LogCapture;
using testing::TemporaryFolder;
using Ids = std::vector<std::int64_t>;

std::filesystem::path tokenizer_folder(const std::string& name) {
  return testing::fixtures_folder() / "tokenization" / name;
}

std::string read(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

/// The message of the TokenizerError thrown by loading the folder.
std::string loading_error(const std::filesystem::path& folder) {
  try {
    AutoTokenizer::from_pretrained(folder);
  } catch (const TokenizerError& error) {
    return error.what();
  }
  return "no error";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(TokenizersBackend, AddedTokensGetIdsAtTheEndAndAreFoundInText) {
  BertTokenizer tokenizer = BertTokenizer::from_pretrained(tokenizer_folder("bert_hub"));
  const Index before = tokenizer.size();
  EXPECT_EQ(tokenizer.add_tokens({{.content = "<image>", .normalized = false}}, true), 1);
  EXPECT_EQ(tokenizer.add_tokens({{.content = "<image>", .normalized = false}}, true), 0);
  EXPECT_EQ(tokenizer.size(), before + 1);
  EXPECT_EQ(tokenizer.token_to_id("<image>"), before);
  EXPECT_EQ(tokenizer.encode("<image>", {.add_special_tokens = false}), Ids{before});
  EXPECT_EQ(tokenizer.decode({before, before}, {.skip_special_tokens = true}), "");
}

TEST(TokenizersBackend, ACopyKeepsItsOwnAddedTokens) {
  const BertTokenizer tokenizer = BertTokenizer::from_pretrained(tokenizer_folder("bert_hub"));
  const auto copy = tokenizer.clone();
  copy->add_special_token("image_token", {.content = "<image>", .normalized = false});
  EXPECT_EQ(copy->special_token("image_token"), "<image>");
  EXPECT_EQ(copy->size(), tokenizer.size() + 1);
  EXPECT_EQ(tokenizer.token_to_id("<image>"), std::nullopt);
  EXPECT_EQ(copy->class_name(), "BertTokenizer");
}

TEST(TokenizersBackend, TokenTextsAreBytesIfTokensAreBytes) {
  const auto gpt2 = AutoTokenizer::from_pretrained(tokenizer_folder("opt_hub"));
  const auto text_of = [](const Tokenizer& tokenizer, std::string_view token) {
    const auto id = tokenizer.token_to_id(token);
    return id ? tokenizer.token_text(*id) : std::optional<std::string>("not a token");
  };
  EXPECT_TRUE(gpt2->has_byte_tokens());
  EXPECT_EQ(text_of(*gpt2, "\u0120a"), " a");
  EXPECT_EQ(text_of(*gpt2, "\u010A"), "\n");
  EXPECT_EQ(text_of(*gpt2, "\u00E9"), "\xE9");
  EXPECT_EQ(text_of(*gpt2, "\u0143"), "\xAD");  // the last character of the alphabet
  gpt2->add_tokens({{.content = "\u0144"}, {.content = "a b"}, {.content = "\u20AC"}});
  EXPECT_EQ(text_of(*gpt2, "\u0144"), "\u0144");
  EXPECT_EQ(text_of(*gpt2, "a b"), "a b");
  EXPECT_EQ(text_of(*gpt2, "\u20AC"), "\u20AC");

  const auto llama = AutoTokenizer::from_pretrained(tokenizer_folder("llama_hub"));
  EXPECT_TRUE(llama->has_byte_tokens());
  EXPECT_EQ(text_of(*llama, "<0xE9>"), "\xE9");
  EXPECT_FALSE(AutoTokenizer::from_pretrained(tokenizer_folder("bert_hub"))->has_byte_tokens());
}

TEST(TokenizersBackend, ByteTokensDependOnTheDecoderNotOnTheClass) {
  const TemporaryFolder folder;
  AutoTokenizer::from_pretrained(tokenizer_folder("opt_hub"))->save_pretrained(folder.path());
  folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
  const auto tokenizer = AutoTokenizer::from_pretrained(folder.path());
  EXPECT_EQ(tokenizer->class_name(), "TokenizersBackend");
  EXPECT_TRUE(tokenizer->has_byte_tokens());
  EXPECT_EQ(tokenizer->token_text(*tokenizer->token_to_id("\u00E9")), "\xE9");
}

TEST(TokenizersBackend, ATokenIsAByteIfItHasTwoHexadecimalDigits) {
  const auto tokenizer = AutoTokenizer::from_pretrained(tokenizer_folder("llama_hub"));
  EXPECT_EQ(tokenizer->decode({*tokenizer->token_to_id("<0x0A>")}), "\n");
  for (const std::string token : {"<0x0a>", "<0x+A>", "<0x-1>", "<0xG0>", "<0x0G>", "<0x00A>"}) {
    const Index id = tokenizer->size();
    EXPECT_EQ(tokenizer->token_text(id), std::nullopt);
    tokenizer->add_tokens({{.content = token}});
    const std::string text = token == "<0x0a>" ? "\n" : token;
    EXPECT_EQ(tokenizer->decode({id}), text);
    EXPECT_EQ(tokenizer->token_text(id), text);
    EXPECT_EQ(tokenizer->clone()->token_text(id), text);
  }
}

TEST(TokenizersBackend, OptionsOverrideTheFolder) {
  const auto tokenizer = AutoTokenizer::from_pretrained(tokenizer_folder("llama_hub"),
                                                        {.pad_token = "<unk>",
                                                         .model_max_length = 9,
                                                         .padding_side = Side::Right,
                                                         .truncation_side = Side::Left});
  EXPECT_EQ(tokenizer->pad_token(), "<unk>");
  EXPECT_EQ(tokenizer->pad_token_id(), 0);
  EXPECT_EQ(tokenizer->model_max_length(), 9);
  EXPECT_EQ(tokenizer->padding_side(), Side::Right);
  EXPECT_EQ(tokenizer->truncation_side(), Side::Left);
  EXPECT_EQ(tokenizer->encode("a b c d e f g h i j k l m", {.truncation = true}).size(), 9u);
}

TEST(TokenizersBackend, WarnsAboutTextLongerThanTheModelsMaximum) {
  const auto tokenizer = AutoTokenizer::from_pretrained(tokenizer_folder("bert_hub"));
  std::string text;
  for (int i = 0; i < 600; ++i) text += "a ";
  LogCapture log;
  EXPECT_EQ(tokenizer->encode(text).size(), 602u);
  EXPECT_TRUE(log.contains("602 ids, more than this tokenizer's model_max_length, 512"));
}

TEST(TokenizersBackend, RejectsLengthsWithoutRoomForSpecialTokens) {
  const auto tokenizer = AutoTokenizer::from_pretrained(tokenizer_folder("bert_hub"));
  EXPECT_THROW(tokenizer->encode("a", {.truncation = true, .max_length = 1}), InputError);
  EXPECT_THROW(tokenizer->encode("a", {.max_length = -1}), InputError);
  EXPECT_THROW(tokenizer->encode("a", {.padding = PaddingStrategy::Longest,
                                       .truncation = true,
                                       .max_length = 7,
                                       .pad_to_multiple_of = 8}),
               InputError);
}

TEST(TokenizersBackend, IdsBeyondTheVocabularyAreSkippedAndNegativeIdsAreErrors) {
  const auto tokenizer = AutoTokenizer::from_pretrained(tokenizer_folder("t5"));
  EXPECT_EQ(tokenizer->decode({999999}), "");
  EXPECT_THROW(tokenizer->decode({5, -1}), InputError);
  EXPECT_EQ(tokenizer->convert_ids_to_tokens(999999), std::nullopt);
  EXPECT_THROW(tokenizer->convert_ids_to_tokens(Ids{1, 999999}), InputError);
  EXPECT_EQ(tokenizer->convert_tokens_to_ids("no such token"), tokenizer->unk_token_id());
}

TEST(TokenizersBackend, AnUnsupportedComponentIsNamed) {
  const std::string file = read(tokenizer_folder("scan_bert") / "tokenizer.json");
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string changed = file;
    const std::size_t at = changed.find(from);
    if (at == std::string::npos) return "not in the file: " + from;
    TemporaryFolder folder;
    folder.write("tokenizer.json", changed.replace(at, from.size(), to));
    folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
    return loading_error(folder.path());
  };
  expect_contains(error_with("\"BertNormalizer\"", "\"NFKC\""), "normalizer \"NFKC\"");
  expect_contains(error_with("\"BertPreTokenizer\"", "\"Digits\""), "pre-tokenizer \"Digits\"");
  expect_contains(error_with("\"BPE\"", "\"WordLevel\""), "model \"WordLevel\"");
  expect_contains(error_with("\"decoder\": null", "\"decoder\": {\"type\": \"CTC\"}"),
                  "decoder \"CTC\"");
  expect_contains(error_with("\"post_processor\": null", "\"post_processor\": {\"type\": \"X\"}"),
                  "post-processor \"X\"");
  expect_contains(error_with("\"clean_text\": true", "\"clean_text\": 3"),
                  "clean_text\": expected true or false, found 3");
  std::string nested = "{\"type\": \"BertPreTokenizer\"}";
  for (int i = 0; i < 100; ++i) {
    nested = "{\"type\": \"Sequence\", \"pretokenizers\": [" + nested + "]}";
  }
  expect_contains(error_with("\"pretokenizers\": [", "\"pretokenizers\": [" + nested + ","),
                  "nested deeper than");
}

TEST(TokenizersBackend, AMissingFileIsNamed) {
  const TemporaryFolder folder;
  expect_contains(loading_error(folder.path() / "none"), "no such folder");
  folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\"}");
  expect_contains(loading_error(folder.path()), "vocab.txt");
  folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"GPT2TokenizerFast\"}");
  expect_contains(loading_error(folder.path()), "vocab.json");
  folder.write("vocab.json", "{\"a\": 0}");
  expect_contains(loading_error(folder.path()), "merges.txt");
  folder.write("merges.txt", "#version: 0.2\na a\n");
  expect_contains(loading_error(folder.path()), "\"aa\", which is not in the vocabulary");
  folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"T5Tokenizer\"}");
  expect_contains(loading_error(folder.path()), "spiece.model");
  folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"LlamaTokenizer\"}");
  expect_contains(loading_error(folder.path()), "tokenizer.model");
  folder.write("tokenizer_config.json", "[");
  expect_contains(loading_error(folder.path()), "not valid JSON");
}

TEST(TokenizersBackend, AModelOfAnotherKindIsAnError) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", read(tokenizer_folder("llama") / "tokenizer.json"));
  folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\"}");
  expect_contains(loading_error(folder.path()), "is BPE, but a BertTokenizer has WordPiece");
}

TEST(TokenizersBackend, DamagedFilesNeverCrash) {
  std::mt19937 random(5);
  for (const auto& [from, name] : {std::pair<std::string, std::string>{"t5_hub", "spiece.model"},
                                   {"llama_hub", "tokenizer.model"},
                                   {"bert", "tokenizer.json"},
                                   {"t5", "tokenizer.json"},
                                   {"bert_cased", "tokenizer_config.json"},
                                   {"bert_hub", "vocab.txt"},
                                   {"opt_hub", "merges.txt"}}) {
    for (int i = 0; i < 25; ++i) {
      TemporaryFolder folder;
      for (const auto& entry : std::filesystem::directory_iterator(tokenizer_folder(from))) {
        std::filesystem::copy(entry.path(), folder.path() / entry.path().filename());
      }
      std::string bytes = read(folder.path() / name);
      if (i % 5 == 0) bytes.resize(random() % bytes.size());
      for (int j = 0; j < i && !bytes.empty(); ++j) {
        bytes[random() % std::min<std::size_t>(bytes.size(), i % 2 == 0 ? 2000 : bytes.size())] =
            static_cast<char>(random());
      }
      folder.write(name, bytes);
      try {
        const auto tokenizer = AutoTokenizer::from_pretrained(folder.path());
        tokenizer->decode(tokenizer->encode("What is this? \u00aa\u0300\ufb01 \u4e2d\u6587 </s>"));
      } catch (const Error&) {
      }
    }
  }
}

TEST(AutoTokenizer, GuessesTheClassWithAWarningIfNoFileNamesIt) {
  TemporaryFolder folder;
  folder.write("vocab.txt", read(tokenizer_folder("bert_hub") / "vocab.txt"));
  LogCapture log;
  EXPECT_EQ(AutoTokenizer::from_pretrained(folder.path())->class_name(), "BertTokenizer");
  EXPECT_TRUE(log.contains("no file names the tokenizer's class; using BertTokenizer"));
  TemporaryFolder llama;
  llama.write("tokenizer.json", read(tokenizer_folder("llama") / "tokenizer.json"));
  llama.write("config.json",
              "{\"model_type\": \"instructblip\", \"text_config\": {\"model_type\": \"llama\"}}");
  EXPECT_EQ(AutoTokenizer::from_pretrained(llama.path())->class_name(), "LlamaTokenizer");
}

TEST(Batches, BecomeTensorsOnlyIfRowsHaveEqualLength) {
  const Tensor tensor = to_tensor({{1, 2}, {3, 4}});
  EXPECT_EQ(tensor.shape(), (Shape{2, 2}));
  EXPECT_EQ(tensor.at<std::int64_t>({1, 0}), 3);
  EXPECT_EQ(to_tensor({}).shape(), (Shape{0, 0}));
  EXPECT_THROW(to_tensor({{1}, {2, 3}}), InputError);
  const auto tokenizer = AutoTokenizer::from_pretrained(tokenizer_folder("bert"));
  EXPECT_EQ(tokenizer->batch_decode(to_tensor({{5, 6}})).size(), 1u);
}

}  // namespace
}  // namespace instructblip
