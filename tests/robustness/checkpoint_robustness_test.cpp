// Damaged and inconsistent files: each gives an Error with a message, never a crash. Meant to be
// run with the sanitizers.
#include <random>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/checkpoint/weights.h"
#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/configuration/configuration_t5.h"
#include "instructblip/core/error.h"
#include "instructblip/processing/processing_instructblip.h"
#include "support/compare.h"
#include "support/fixtures.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::TemporaryFolder;

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::string small_file() {
  const TemporaryFolder folder;
  const Tensor one(std::vector<float>{1, 2, 3, 4}, {2, 2});
  const Tensor ids(std::vector<std::int64_t>{5}, {1});
  save_safetensors(folder.path() / "file", {{"a.b", one}, {"ids", ids}, {"last", one}});
  return bytes_of(folder.path() / "file");
}

std::string with_header(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + data;
}

// Opens the file and reads every element of its tensors. Returns whether it was accepted.
bool read_all(const std::filesystem::path& path) {
  try {
    const SafetensorsFile file(path);
    for (const auto& [name, entry] : file.entries()) {
      if (!dtype_from_safetensors(entry.dtype)) {
        EXPECT_THROW(file.find(name), CheckpointError);
      } else {
        Tensor::copy_of(file.find(name).value());
      }
    }
    return true;
  } catch (const CheckpointError& error) {
    EXPECT_GT(std::string(error.what()).size(), 20u);
    return false;
  }
}

TEST(CheckpointRobustnessTest, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = small_file();
  ASSERT_TRUE(read_all(folder.write("model.safetensors", bytes)));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(read_all(folder.write("model.safetensors", bytes.substr(0, size)))) << size;
  }
  EXPECT_FALSE(read_all(folder.write("model.safetensors", bytes + '\0')));
}

TEST(CheckpointRobustnessTest, ChangedBytesNeverReadOutsideTheFile) {
  const TemporaryFolder folder;
  const std::string bytes = small_file();
  const std::size_t header_end = bytes.size() - 40;
  for (std::size_t place = 0; place < header_end; ++place) {
    for (const char value : {'\0', '\xff', '9', '"'}) {
      std::string changed = bytes;
      changed[place] = value;
      read_all(folder.write("model.safetensors", changed));
    }
  }
}

TEST(CheckpointRobustnessTest, RandomHeadersNeverReadOutsideTheFile) {
  const TemporaryFolder folder;
  std::mt19937 random(1);
  const std::vector<std::string> pieces = {"{",
                                           "}",
                                           "[",
                                           "]",
                                           ":",
                                           ",",
                                           "\"a\"",
                                           "\"dtype\"",
                                           "\"F32\"",
                                           "\"shape\"",
                                           "[1]",
                                           "[2,2]",
                                           "[-1]",
                                           "null",
                                           "0",
                                           "4",
                                           "[0,4]",
                                           "\"U8\"",
                                           "1e308",
                                           "[4,0]",
                                           "[0,16]",
                                           "[0,1e9]",
                                           "\"\"",
                                           "true",
                                           " ",
                                           "\"data_offsets\"",
                                           "18446744073709551615",
                                           "\"__metadata__\"",
                                           "99999999999999999999999"};
  for (int round = 0; round < 500; ++round) {
    std::string header = "{\"a\":{\"dtype\":\"F32\",";
    for (int i = 0; i < 6; ++i) header += pieces[random() % pieces.size()];
    read_all(folder.write("model.safetensors", with_header(header + "}}", std::string(16, 'x'))));
  }
}

TEST(CheckpointRobustnessTest, SizesThatOverflowAreRefused) {
  const TemporaryFolder folder;
  for (const std::string shape :
       {"[4611686018427387904,4]", "[9223372036854775807]", "[9223372036854775807,2]",
        "[4294967296,4294967296]", "[0,9223372036854775807,9223372036854775807]",
        "[2305843009213693952,2]", "[9223372036854775808]"}) {
    for (const std::string dtype : {"F32", "I64", "U8", "BF16", "NEW"}) {
      for (const std::size_t size : {0, 8}) {
        const std::string header = "{\"x\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
                                   ",\"data_offsets\":[0," + std::to_string(size) + "]}}";
        EXPECT_FALSE(read_all(folder.write("x", with_header(header, std::string(size, 'x')))))
            << header;
      }
    }
  }
  for (const std::string offsets :
       {"[0,18446744073709551615]", "[18446744073709551615,8]",
        "[9223372036854775807,9223372036854775807]", "[8,0]", "[-8,0]", "[0]", "[0,4,8]", "[0,8.0]",
        "[[0],[8]]", "[null,8]", "\"08\""}) {
    const std::string header =
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + offsets + "}}";
    EXPECT_FALSE(read_all(folder.write("x", with_header(header, std::string(8, 'x'))))) << offsets;
  }
}

TEST(CheckpointRobustnessTest, DeepJsonIsRefused) {
  const TemporaryFolder folder;
  for (const std::string open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 200000; ++i) deep += open;
    EXPECT_FALSE(read_all(folder.write("x", with_header(deep, ""))));
    EXPECT_FALSE(read_all(folder.write("x", with_header("{\"a\":" + deep, ""))));
    EXPECT_THROW(InstructBlipConfig::from_json(deep), ConfigError);
    EXPECT_THROW(InstructBlipConfig::from_json("{\"a\":" + deep), ConfigError);
    folder.write("model.safetensors.index.json", "{\"weight_map\":" + deep);
    EXPECT_THROW(Checkpoint::open(folder.path()), CheckpointError);
  }
  // Deep nesting within the limit survives a round trip.
  const std::string nested = std::string(100, '[') + std::string(100, ']');
  EXPECT_EQ(LlamaConfig::from_json("{\"a\":" + nested + "}").other.at("a"), nested);
}

TEST(CheckpointRobustnessTest, DeepJsonOfAProcessorIsRefused) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  const auto load_with = [&](const char* file, const std::string& key) {
    const TemporaryFolder folder;
    const auto from = testing::fixtures_folder() / "tokenization";
    std::filesystem::copy(from / "llama", folder.path() / ".");
    std::filesystem::copy(from / "bert", folder.path() / "qformer_tokenizer");
    folder.write("preprocessor_config.json", "{}");
    folder.write(file, "{\"" + key + "\":" + deep + "}");
    InstructBlipProcessor::from_pretrained(folder.path());
  };
  EXPECT_THROW(load_with("config.json", "num_query_tokens"), ConfigError);
  EXPECT_THROW(load_with("processor_config.json", "num_query_tokens"), ConfigError);
  EXPECT_THROW(load_with("preprocessor_config.json", "size"), ConfigError);
  EXPECT_THROW(load_with("tokenizer_config.json", "padding_side"), TokenizerError);
  EXPECT_THROW(load_with("tokenizer.json", "model"), TokenizerError);
  EXPECT_THROW(load_with("qformer_tokenizer/tokenizer_config.json", "a"), TokenizerError);
}

TEST(CheckpointRobustnessTest, ADamagedIndexIsRefused) {
  const TemporaryFolder folder;
  const Tensor one(std::vector<float>{1}, {1});
  save_safetensors(folder.path() / "one.safetensors", {{"a", one}});
  const std::string index = R"({"metadata":{"total_size":4},"weight_map":{"a":"one.safetensors"}})";
  folder.write("model.safetensors.index.json", index);
  EXPECT_NO_THROW(Checkpoint::open(folder.path()));
  for (std::size_t size = 0; size < index.size(); ++size) {
    folder.write("model.safetensors.index.json", index.substr(0, size));
    EXPECT_THROW(Checkpoint::open(folder.path()), CheckpointError) << size;
  }
  for (std::size_t place = 0; place < index.size(); ++place) {
    std::string changed = index;
    changed[place] = '\xff';
    folder.write("model.safetensors.index.json", changed);
    EXPECT_THROW(Checkpoint::open(folder.path()), CheckpointError) << place;
  }
  // The shard is a folder, or the index itself.
  std::filesystem::create_directory(folder.path() / "folder");
  for (const std::string shard : {"folder", "model.safetensors.index.json", "."}) {
    folder.write("model.safetensors.index.json", R"({"weight_map":{"a":")" + shard + "\"}}");
    EXPECT_THROW(Checkpoint::open(folder.path()), CheckpointError) << shard;
  }
}

TEST(CheckpointRobustnessTest, TruncatedAndChangedConfigurationsNeverCrash) {
  const testing::Fixture fixture("configuration/files");
  for (const std::string& json : fixture.texts("instructblip.expected")) {
    for (std::size_t size = 0; size + 1 < json.size(); size += 17) {
      EXPECT_THROW(InstructBlipConfig::from_json(json.substr(0, size)), ConfigError) << size;
    }
    for (std::size_t place = 0; place < json.size(); place += 13) {
      for (const char value : {'-', '9', '"', '\xff', '}', '0'}) {
        std::string changed = json;
        changed[place] = value;
        try {
          InstructBlipConfig::from_json(changed).to_json();
        } catch (const ConfigError&) {
        }
      }
    }
  }
}

TEST(CheckpointRobustnessTest, NumbersOfAnySizeAreReadOrRefused) {
  const std::vector<std::string> values = {"0",
                                           "-1",
                                           "1e308",
                                           "1e400",
                                           "-0.0",
                                           "18446744073709551615",
                                           "9223372036854775807",
                                           "99999999999999999999999999",
                                           "2147483648",
                                           "null",
                                           "true",
                                           "\"1\"",
                                           "[]",
                                           "{}",
                                           "[1,2]"};
  const testing::Fixture fixture("configuration/files");
  const std::string llama = fixture.texts("llama.expected").at(0);
  const std::string t5 = fixture.texts("t5.expected").at(0);
  const auto replace_each = [&](const std::string& json, const auto& read) {
    for (std::size_t colon = json.find("\": "); colon != std::string::npos;
         colon = json.find("\": ", colon + 1)) {
      const std::size_t end = json.find_first_of(",\n", colon);
      for (const std::string& value : values) {
        try {
          read(json.substr(0, colon + 3) + value + json.substr(end));
        } catch (const ConfigError&) {
        }
      }
    }
  };
  replace_each(llama, [](const std::string& json) { LlamaConfig::from_json(json).to_json(); });
  replace_each(t5, [](const std::string& json) { T5Config::from_json(json).to_json(); });
}

TEST(CheckpointRobustnessTest, TextThatIsNotUtf8IsRefused) {
  EXPECT_THROW(LlamaConfig::from_json("{\"a\":\"\xff\"}"), ConfigError);
  EXPECT_THROW(LlamaConfig::from_json("{\"\xc3\":1}"), ConfigError);
  EXPECT_THROW(LlamaConfig::from_json(std::string("{\"a\":1}\0", 8)), ConfigError);
}

}  // namespace
}  // namespace instructblip
