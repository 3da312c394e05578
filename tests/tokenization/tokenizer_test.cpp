#include "instructblip/tokenization/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "instructblip/core/error.h"
#include "support/crc32.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::crc32;
using testing::Fixture;
using testing::LogCapture;
using testing::TemporaryFolder;
using Ids = std::vector<std::int64_t>;

const std::vector<std::string> kFolders = {
    "bert_hub",         "bert_cased", "bert",  "opt_hub", "opt",
    "llama_legacy_hub", "llama_hub",  "llama", "t5_hub",  "t5"};

std::filesystem::path folder_of(const std::string& name) {
  return testing::fixtures_folder() / "tokenization" / name;
}

/// The older layout of BERT and OPT has the same values as the current one.
Fixture fixture_of(const std::string& name) {
  return Fixture("tokenization/" + name + (name == "bert" || name == "opt" ? "_hub" : ""));
}

std::vector<Ids> lists(const Fixture& fixture, const std::string& name) {
  const Tensor values = fixture[name].to(DType::Int64);
  const Tensor offsets = fixture[name + ".offsets"].to(DType::Int64);
  const auto begins = offsets.span<std::int64_t>();
  std::vector<Ids> all;
  for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
    all.emplace_back(values.data<std::int64_t>() + begins[i],
                     values.data<std::int64_t>() + begins[i + 1]);
  }
  return all;
}

/// The options of OPTIONS in tests/reference/tokenization.py.
const std::vector<std::pair<std::string, EncodeOptions>> kOptionCases = {
    {"longest", {.padding = PaddingStrategy::Longest}},
    {"longest_left", {.padding = PaddingStrategy::Longest, .padding_side = Side::Left}},
    {"longest_right", {.padding = PaddingStrategy::Longest, .padding_side = Side::Right}},
    {"max_length", {.padding = PaddingStrategy::MaxLength, .max_length = 12}},
    {"max_length_cut",
     {.padding = PaddingStrategy::MaxLength, .truncation = true, .max_length = 12}},
    {"multiple", {.padding = PaddingStrategy::Longest, .pad_to_multiple_of = 8}},
    {"cut", {.truncation = true, .max_length = 6}},
    {"cut_by_length_alone", {.max_length = 7}},
    {"cut_plain", {.add_special_tokens = false, .truncation = true, .max_length = 5}},
    {"cut_to_special_tokens", {.truncation = true, .max_length = 2}},
    {"max_length_zero", {.truncation = true, .max_length = 0}},
    {"not_cut", {.truncation = false, .max_length = 4}},
    {"split_special_tokens", {.split_special_tokens = true}}};

std::vector<std::string> option_texts() {
  std::string blue;
  for (int i = 0; i < 20; ++i) blue += "blue ";
  return {"", "a", "What is unusual about this image?", "the dog</s> and[SEP] the cat", blue};
}

class EveryFolder : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer = AutoTokenizer::from_pretrained(folder_of(GetParam()));
  Fixture fixture = fixture_of(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Tokenizers, EveryFolder, ::testing::ValuesIn(kFolders),
                         [](const auto& info) { return info.param; });

void expect_ids_of_the_reference(const Tokenizer& tokenizer, const Fixture& fixture) {
  const auto texts = fixture.texts("texts");
  const auto expected = lists(fixture, "ids");
  ASSERT_EQ(texts.size(), expected.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer.encode(texts[i]), expected[i]) << "text " << i << ": " << texts[i];
  }
}

TEST_P(EveryFolder, EncodesDifficultTextsAsTheReference) {
  expect_ids_of_the_reference(*tokenizer, fixture);
}

TEST(AddedTokens, IncludeWhiteSpaceAsInTheReference) {
  const Fixture fixture("tokenization/added_spaces");
  const auto texts = fixture.texts("texts");
  int cases = 0;
  for (int bits = 0; bits < 16; ++bits) {  // added_spaces in tests/reference/tokenization.py
    const std::string name = std::to_string(bits) + ".ids";
    if (!fixture.has(name)) continue;
    SCOPED_TRACE(name);
    ++cases;
    const auto tokenizer = AutoTokenizer::from_pretrained(folder_of("opt"));
    tokenizer->add_tokens({{.content = " ",
                            .lstrip = (bits & 1) != 0,
                            .rstrip = (bits & 2) != 0,
                            .normalized = false},
                           {.content = "<x>",
                            .lstrip = (bits & 4) != 0,
                            .rstrip = (bits & 8) != 0,
                            .normalized = false}});
    const auto expected = lists(fixture, name);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(tokenizer->encode(texts[i], {.add_special_tokens = false}), expected[i]) << i;
    }
  }
  EXPECT_EQ(cases, 14);
}

TEST(AddedTokens, SharedByRolesHaveTheReferencesProperties) {
  const Fixture fixture("tokenization/shared_token");
  const auto texts = fixture.texts("texts");
  for (const std::string name : {"opt", "llama_hub"}) {
    const TemporaryFolder folder;
    std::filesystem::copy(folder_of(name), folder.path());
    folder.write("tokenizer_config.json", fixture.texts(name + ".config").front());
    const auto tokenizer = AutoTokenizer::from_pretrained(folder.path());
    const auto expected = lists(fixture, name + ".ids");
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(tokenizer->encode(texts[i]), expected[i]) << name << ": " << texts[i];
    }
  }
}

TEST_P(EveryFolder, DecodesAsTheReference) {
  const auto ids = lists(fixture, "ids");
  const auto texts = fixture.texts("decoded");
  const Tensor plain = fixture["decoded_plain.crc"], clean = fixture["decoded_clean.crc"];
  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(tokenizer->decode(ids[i]), texts[i]) << "text " << i;
    const std::string without_special = tokenizer->decode(ids[i], {.skip_special_tokens = true});
    EXPECT_EQ(crc32(without_special), plain.data<std::int64_t>()[i]) << without_special;
    const std::string clean_up = tokenizer->decode(ids[i], {.clean_up_tokenization_spaces = true});
    EXPECT_EQ(crc32(clean_up), clean.data<std::int64_t>()[i]) << clean_up;
  }
  EXPECT_EQ(tokenizer->batch_decode(ids), texts);
}

TEST_P(EveryFolder, PadsAndTruncatesAsTheReference) {
  for (const auto& [name, options] : kOptionCases) {
    if (!fixture.has(name + ".ids")) {
      EXPECT_THROW((*tokenizer)(option_texts(), options), InputError) << name;
      continue;
    }
    const BatchEncoding batch = (*tokenizer)(option_texts(), options);
    EXPECT_EQ(batch.input_ids, lists(fixture, name + ".ids")) << name;
    EXPECT_EQ(batch.attention_mask, lists(fixture, name + ".mask")) << name;
  }
}

TEST_P(EveryFolder, KnowsItsSpecialTokensSizesAndSides) {
  const std::optional<std::int64_t> found[] = {tokenizer->bos_token_id(), tokenizer->eos_token_id(),
                                               tokenizer->unk_token_id(), tokenizer->sep_token_id(),
                                               tokenizer->pad_token_id(), tokenizer->cls_token_id(),
                                               tokenizer->mask_token_id()};
  const Tensor special = fixture["special_ids"], sizes = fixture["sizes"];
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(found[i].value_or(-1), special.data<std::int64_t>()[i]) << "special token " << i;
  }
  EXPECT_EQ(tokenizer->vocab_size(), sizes.data<std::int64_t>()[0]);
  EXPECT_EQ(tokenizer->size(), sizes.data<std::int64_t>()[1]);
  EXPECT_EQ(tokenizer->class_name(), fixture.metadata("class"));
  EXPECT_EQ(tokenizer->padding_side() == Side::Left ? "left" : "right",
            fixture.metadata("padding_side"));
  EXPECT_EQ(tokenizer->truncation_side() == Side::Left ? "left" : "right",
            fixture.metadata("truncation_side"));
  const Index length = std::min<Index>(tokenizer->model_max_length(), 1000000000000000000);
  EXPECT_EQ(std::to_string(length), fixture.metadata("model_max_length"));
}

TEST_P(EveryFolder, IsTheSameAfterSavingAndLoading) {
  TemporaryFolder saved;
  tokenizer->save_pretrained(saved.path() / "new");
  const auto loaded = AutoTokenizer::from_pretrained(saved.path() / "new");
  EXPECT_EQ(loaded->class_name(), tokenizer->class_name());
  EXPECT_EQ(loaded->padding_side(), tokenizer->padding_side());
  EXPECT_EQ(loaded->model_max_length(), tokenizer->model_max_length());
  EXPECT_EQ(loaded->all_special_tokens(), tokenizer->all_special_tokens());
  EXPECT_EQ(loaded->added_tokens_decoder(), tokenizer->added_tokens_decoder());
  expect_ids_of_the_reference(*loaded, fixture);
}

TEST(T5Tokenizer, StaysWithoutSentinelsAfterSavingAndLoading) {
  const TemporaryFolder folder;
  std::filesystem::copy(folder_of("t5"), folder.path());
  folder.write("tokenizer_config.json",
               R"({"tokenizer_class": "T5Tokenizer", "extra_special_tokens": []})");
  AutoTokenizer::from_pretrained(folder.path())->save_pretrained(folder.path() / "new");
  const auto loaded = AutoTokenizer::from_pretrained(folder.path() / "new");
  const Fixture fixture("tokenization/t5_without_sentinels");
  expect_ids_of_the_reference(*loaded, fixture);
  EXPECT_EQ(loaded->all_special_tokens(), fixture.texts("special"));
}

TEST_P(EveryFolder, RejectsTextThatIsNotUtf8) {
  for (const std::string bad :
       {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\x80", "ab\xf4\x90\x80\x80"}) {
    try {
      tokenizer->encode(bad);
      FAIL() << "no error";
    } catch (const TokenizerError& error) {
      EXPECT_NE(std::string(error.what()).find("at byte 2"), std::string::npos) << error.what();
    }
  }
}

TEST_P(EveryFolder, EncodesLongTextsInReasonableTime) {
  for (const std::string unit :
       {"a", " ", "\u00e9\u0301", "the dog ", "\u2581", "\u0301", "[SEP]</s>"}) {
    std::string text;
    while (text.size() < 200000) text += unit;
    EXPECT_GT(tokenizer->encode(text).size(), 0u);
  }
}

TEST_P(EveryFolder, IsThreadSafe) {
  const auto texts = fixture.texts("texts");
  const auto expected = lists(fixture, "ids");
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        if (tokenizer->encode(texts[i]) != expected[i]) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_P(EveryFolder, ReturnsOnlyIdsInTheVocabulary) {
  for (const Ids& ids : lists(fixture, "ids")) {
    for (const std::string& token : tokenizer->convert_ids_to_tokens(ids)) {
      EXPECT_TRUE(tokenizer->token_to_id(token) || !token.empty());
    }
  }
}

/// Ids of texts with every code point, which depend on normalisation and splitting.
void expect_scan(const Tokenizer& tokenizer, const std::string& name, const std::string& pattern) {
  const Tensor expected = fixture_of("scan")[name];
  const auto utf8 = [](std::uint32_t c) {
    std::string text;
    if (c < 0x80) return text += static_cast<char>(c);
    if (c < 0x800)
      return text.append({static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))});
    if (c < 0x10000) {
      return text.append({static_cast<char>(0xe0 | c >> 12),
                          static_cast<char>(0x80 | (c >> 6 & 63)),
                          static_cast<char>(0x80 | (c & 63))});
    }
    return text.append({static_cast<char>(0xf0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
                        static_cast<char>(0x80 | (c >> 6 & 63)),
                        static_cast<char>(0x80 | (c & 63))});
  };
  for (std::uint32_t block = 0; block < 0x110; ++block) {
    std::uint32_t crc = 0;
    for (std::uint32_t c = block << 12; c < (block + 1) << 12; ++c) {
      if (c >= 0xd800 && c <= 0xdfff) continue;
      std::string text;
      for (const char byte : pattern) text += byte == '@' ? utf8(c) : std::string(1, byte);
      std::vector<std::int32_t> ids;
      for (const std::int64_t id : tokenizer.encode(text))
        ids.push_back(static_cast<std::int32_t>(id));
      ids.push_back(-1);
      crc = crc32({reinterpret_cast<const char*>(ids.data()), ids.size() * 4}, crc);
    }
    EXPECT_EQ(crc, expected.data<std::int64_t>()[block])
        << "code points from " << std::hex << (block << 12);
  }
}

TEST(UnicodeScan, BertNormalizesAndCutsEveryCodePointAsTheReference) {
  expect_scan(*AutoTokenizer::from_pretrained(folder_of("scan_bert")), "bert",
              "A@\u0301\u0327b xx@ @xx");
}

TEST(UnicodeScan, Gpt2CutsAtEveryCodePointAsTheReference) {
  expect_scan(*AutoTokenizer::from_pretrained(folder_of("scan_gpt2")), "gpt2", "a@1@!@ @");
}

/// The tokenizer of scan_gpt2 with T5's character map, taken from a saved T5 tokenizer.
TEST(UnicodeScan, T5MapsEveryCodePointAsTheReference) {
  TemporaryFolder folder;
  AutoTokenizer::from_pretrained(folder_of("t5_hub"))->save_pretrained(folder.path());
  const auto read = [](const std::filesystem::path& file) {
    std::ifstream stream(file);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  const std::string saved = read(folder.path() / "tokenizer.json");
  const std::size_t begin = saved.find("{\"precompiled_charsmap\"");
  ASSERT_NE(begin, std::string::npos);
  const std::string charsmap = saved.substr(begin, saved.find('}', begin) + 1 - begin);
  std::string scan = read(folder_of("scan_gpt2") / "tokenizer.json");
  const auto replace = [&](const std::string& from, const std::string& to) {
    ASSERT_NE(scan.find(from), std::string::npos) << from;
    scan.replace(scan.find(from), from.size(), to);
  };
  replace("\"normalizer\": null", "\"normalizer\": " + charsmap);
  replace("\"ByteLevel\"", "\"WhitespaceSplit\"");
  folder.write("scan/tokenizer.json", scan);
  folder.write("scan/tokenizer_config.json", "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
  expect_scan(*AutoTokenizer::from_pretrained(folder.path() / "scan"), "t5",
              "a@ \u00aa@\u0300 @\u00aa\u0300");
}

// Loading is linear in their number: comparing each with all others would take minutes here.
TEST(AutoTokenizer, ManyAddedTokensAreLoaded) {
  constexpr int count = 100000;
  const TemporaryFolder folder;
  std::string list;
  for (int i = 0; i < count; ++i) {
    list += (list.empty() ? "\"<" : ",\"<") + std::to_string(i) + ">\"";
  }
  folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  folder.write("special_tokens_map.json", "{\"extra_special_tokens\": [" + list + "]}");
  const auto tokenizer = AutoTokenizer::from_pretrained(folder.path());
  EXPECT_EQ(tokenizer->size(), 6 + count);  // with [MASK]
}

}  // namespace
}  // namespace instructblip
