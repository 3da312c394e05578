// Against transformers 4.49 with use_fast=False: tests/reference/slow_tokenizers.py.
#include "instructblip/tokenization/sentencepiece_tokenizer.h"

#include <memory>
#include <random>
#include <sstream>
#include <thread>

#include "instructblip/core/error.h"
#include "instructblip/generation/streamers.h"
#include "support/crc32.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::Fixture;
using testing::TemporaryFolder;
using Ids = std::vector<std::int64_t>;

const Fixture& fixture() {
  static const Fixture slow("tokenization/slow");
  return slow;
}

std::vector<std::string> cases() {
  std::istringstream stream(fixture().metadata("cases"));
  return {std::istream_iterator<std::string>(stream), {}};
}

std::filesystem::path source_folder(const std::string& name) {
  return testing::fixtures_folder() / "tokenization" / name;
}

std::int64_t checksum(std::string_view bytes) {
  return static_cast<std::int32_t>(testing::crc32(bytes));
}

std::int64_t checksum(const Ids& ids) {
  const std::vector<std::int32_t> values(ids.begin(), ids.end());
  return checksum({reinterpret_cast<const char*>(values.data()), values.size() * 4});
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

class SlowCase : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (const char* file : {"tokenizer.model", "spiece.model"}) {
      const auto model = source_folder(fixture().metadata(name + ".source")) / file;
      if (std::filesystem::exists(model)) std::filesystem::copy(model, folder.path() / file);
    }
    const auto files = fixture().texts(name + ".files");
    for (std::size_t i = 0; i < files.size(); i += 2) folder.write(files[i], files[i + 1]);
    TokenizerOptions options{.loader = SentencePieceTokenizer::from_pretrained};
    if (const std::string pad = fixture().metadata(name + ".pad_token"); !pad.empty()) {
      options.pad_token = pad;
    }
    tokenizer = AutoTokenizer::from_pretrained(folder.path(), options);
    if (fixture().metadata(name + ".image") == "1") {
      tokenizer->add_tokens({{.content = "<image>", .normalized = false, .special = true}}, true);
    }
  }

  Ids values(const std::string& tensor) const {
    const Tensor all = fixture()[name + "." + tensor].to(DType::Int64);
    return {all.data<std::int64_t>(), all.data<std::int64_t>() + all.size()};
  }

  const std::string name = GetParam();
  const std::vector<std::string> texts = fixture().texts("texts");
  TemporaryFolder folder;
  std::unique_ptr<Tokenizer> tokenizer;
};

INSTANTIATE_TEST_SUITE_P(Slow, SlowCase, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param; });

void expect_ids(const Tokenizer& tokenizer, const std::vector<std::string>& texts, const Ids& ids,
                const Ids& tokens) {
  ASSERT_EQ(texts.size(), ids.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Ids found = tokenizer.encode(texts[i]);
    const std::string pieces = joined(tokenizer.convert_ids_to_tokens(found));
    EXPECT_EQ(checksum(found), ids[i]) << "text " << i << ": " << texts[i] << "\n" << pieces;
    EXPECT_EQ(checksum(pieces), tokens[i]) << "text " << i << ": " << texts[i] << "\n" << pieces;
  }
}

TEST_P(SlowCase, EncodesAsTheReference) {
  expect_ids(*tokenizer, texts, values("ids"), values("tokens"));
}

TEST_P(SlowCase, DecodesAsTheReference) {
  std::vector<Ids> all;
  for (const std::string& text : texts) all.push_back(tokenizer->encode(text));
  for (const Ids& ids : fixture().lists(name + ".random_ids")) all.push_back(ids);
  const Ids normal = values("decoded"), plain = values("plain.decoded"),
            clean = values("clean.decoded");
  ASSERT_EQ(all.size(), normal.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(i);
    const std::string text = tokenizer->decode(all[i]);
    EXPECT_EQ(checksum(text), normal[i]) << text;
    const std::string without_special = tokenizer->decode(all[i], {.skip_special_tokens = true});
    EXPECT_EQ(checksum(without_special), plain[i]) << without_special;
    const std::string clean_up = tokenizer->decode(all[i], {.clean_up_tokenization_spaces = true});
    EXPECT_EQ(checksum(clean_up), clean[i]) << clean_up;
  }
}

TEST_P(SlowCase, PadsAndTruncatesAsTheReference) {
  if (!tokenizer->pad_token()) {
    tokenizer->add_special_token("pad_token",
                                 {.content = *tokenizer->eos_token(), .normalized = false});
  }
  const BatchEncoding batch = (*tokenizer)(
      {"", "a", "What is unusual about this image?", "the dog</s> and[SEP] the cat",
       "blue blue blue blue blue blue blue blue blue blue blue blue blue blue blue blue blue blue "
       "blue blue ",
       "cat </s>"},
      {.padding = PaddingStrategy::Longest, .truncation = true, .max_length = 9});
  EXPECT_EQ(batch.input_ids, fixture().lists(name + ".batch"));
  Ids mask;
  for (const auto& row : batch.attention_mask) mask.insert(mask.end(), row.begin(), row.end());
  EXPECT_EQ(mask, values("batch_mask"));
}

TEST_P(SlowCase, KnowsItsSpecialTokensAndSizes) {
  EXPECT_EQ(tokenizer->class_name(), fixture().metadata(name + ".class"));
  EXPECT_EQ(tokenizer->padding_side() == Side::Left ? "left" : "right",
            fixture().metadata(name + ".padding_side"));
  EXPECT_EQ((Ids{tokenizer->vocab_size(), tokenizer->size()}), values("sizes"));
  EXPECT_EQ(tokenizer->all_special_ids(), values("all_special_ids"));
  const std::optional<std::int64_t> found[] = {tokenizer->bos_token_id(), tokenizer->eos_token_id(),
                                               tokenizer->unk_token_id(), tokenizer->sep_token_id(),
                                               tokenizer->pad_token_id(), tokenizer->cls_token_id(),
                                               tokenizer->mask_token_id()};
  const Ids special = values("special_ids");
  for (std::size_t i = 0; i < 7; ++i) {
    if (i == 4 && !tokenizer->pad_token()) continue;  // the maker of the fixture sets one
    EXPECT_EQ(found[i].value_or(-1), special[i]) << i;
  }
  const auto contents = fixture().texts(name + ".added");
  const Ids flags = values("added_flags");
  const auto added = tokenizer->added_tokens_decoder();
  ASSERT_EQ(added.size(), contents.size());
  for (std::size_t i = 0; i < added.size(); ++i) {
    const auto& [id, token] = added[i];
    const Ids all = {id,           token.single_word, token.lstrip,
                     token.rstrip, token.normalized,  token.special};
    EXPECT_EQ(token.content, contents[i]);
    EXPECT_EQ(all, Ids(flags.begin() + static_cast<Index>(6 * i),
                       flags.begin() + static_cast<Index>(6 * i + 6)))
        << token.content;
  }
}

TEST_P(SlowCase, IsTheSameAfterSavingAndLoading) {
  tokenizer->save_pretrained(folder.path() / "new");
  const auto loaded = SentencePieceTokenizer::from_pretrained(folder.path() / "new");
  EXPECT_EQ(loaded->class_name(), tokenizer->class_name());
  EXPECT_EQ(loaded->all_special_tokens(), tokenizer->all_special_tokens());
  EXPECT_EQ(loaded->added_tokens_decoder(), tokenizer->added_tokens_decoder());
  EXPECT_EQ(loaded->model_max_length(), tokenizer->model_max_length());
  expect_ids(*loaded, texts, values("ids"), values("tokens"));
}

TEST_P(SlowCase, StreamedPiecesFormTheText) {
  std::vector<Ids> all = fixture().lists(name + ".random_ids");
  Ids long_row;  // of which the streamer forgets the beginning
  for (const Ids& ids : all) long_row.insert(long_row.end(), ids.begin(), ids.end());
  for (const std::string& text : texts) all.push_back(tokenizer->encode(text));
  all.push_back(long_row);
  for (const bool skips : {true, false}) {
    for (const Ids& ids : all) {
      const DecodeOptions options{.skip_special_tokens = skips};
      std::string streamed;
      TextStreamer streamer(
          *tokenizer,
          [&](std::string_view piece) {
            streamed += piece;
            return true;
          },
          false, options);
      for (const std::int64_t id : ids) streamer.put(Tensor(Ids{id}, {1}));
      streamer.end();
      EXPECT_EQ(streamed, tokenizer->decode(ids, options)) << "skips " << skips;
    }
  }
}

TEST_P(SlowCase, IsThreadSafeAndACopyHasItsOwnTokens) {
  const auto copy = tokenizer->clone();
  copy->add_tokens({{.content = "zzz"}});
  EXPECT_EQ(copy->size(), tokenizer->size() + 1);
  EXPECT_EQ(tokenizer->token_to_id("zzz"), std::nullopt);
  const Ids expected = values("ids");
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const Ids ids = tokenizer->encode(texts[i]);
        if (checksum(ids) != expected[i]) ++wrong[t];
        tokenizer->decode(ids);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(SentencePieceTokenizer, FollowsTheTokenizerInterface) {
  const auto tokenizer = SentencePieceTokenizer::from_pretrained(source_folder("llama_hub"));
  EXPECT_TRUE(tokenizer->has_byte_tokens());
  EXPECT_EQ(tokenizer->token_text(*tokenizer->token_to_id("<0xE9>")), "\xE9");
  EXPECT_EQ(tokenizer->token_text(*tokenizer->token_to_id("\u2581dog")), " dog");
  EXPECT_EQ(tokenizer->decode({999999}), "");
  EXPECT_EQ(tokenizer->decode({}), "");
  EXPECT_EQ(tokenizer->convert_ids_to_tokens(999999), std::nullopt);
  EXPECT_EQ(tokenizer->convert_tokens_to_ids("no such token"), tokenizer->unk_token_id());
  EXPECT_THROW(tokenizer->decode({-1}), InputError);
  EXPECT_THROW(tokenizer->encode("a\xff"), TokenizerError);
  EXPECT_THROW(tokenizer->add_tokens({{.content = "\xff"}}), TokenizerError);
}

std::string loading_error(const std::filesystem::path& folder) {
  try {
    SentencePieceTokenizer::from_pretrained(folder);
  } catch (const TokenizerError& error) {
    return error.what();
  }
  return "no error";
}

TEST(SentencePieceTokenizer, ErrorsNameTheFileAndTheRemedy) {
  const auto expect_contains = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect_contains(loading_error(source_folder("opt_hub")), "its tokenizer is a GPT2Tokenizer");
  expect_contains(loading_error(source_folder("llama")), "has no tokenizer.model");
  expect_contains(loading_error(source_folder("t5")), "has no spiece.model");
  expect_contains(loading_error(source_folder("none")), "no such folder");
  TemporaryFolder folder;
  folder.write("tokenizer.model", "not a model");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer"})");
  expect_contains(loading_error(folder.path()), "tokenizer.model: not a sentencepiece model");
  std::filesystem::copy(source_folder("llama_hub") / "tokenizer.model",
                        folder.path() / "tokenizer.model",
                        std::filesystem::copy_options::overwrite_existing);
  folder.write("tokenizer_config.json",
               R"({"tokenizer_class": "LlamaTokenizer", "bos_token": null})");
  expect_contains(loading_error(folder.path()), "a LlamaTokenizer needs a bos_token");
}

TEST(SentencePieceTokenizer, DamagedModelsNeverCrash) {
  std::ifstream stream(source_folder("llama_hub") / "tokenizer.model", std::ios::binary);
  const std::string model(std::istreambuf_iterator<char>(stream), {});
  std::mt19937 random(7);
  for (int i = 0; i < 100; ++i) {
    std::string bytes = model;
    if (i % 5 == 0) bytes.resize(random() % bytes.size());
    for (int j = 0; j < i % 40 && !bytes.empty(); ++j) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    TemporaryFolder folder;
    folder.write("tokenizer.model", bytes);
    folder.write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer"})");
    try {
      const auto tokenizer = SentencePieceTokenizer::from_pretrained(folder.path());
      tokenizer->decode(tokenizer->encode("What is this? \u00aa\u0300\ufb01 \u4e2d\u6587 </s>"));
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace instructblip
