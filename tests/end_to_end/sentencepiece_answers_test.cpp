// vqa --tokenizer sentencepiece, with a .model file of the T5 demo's pieces.
#ifdef INSTRUCTBLIP_VQA

#include <gtest/gtest.h>

#include <bit>
#include <cstdio>

#include "end_to_end/demo_files.h"
#include "support/temporary_folder.h"

namespace instructblip::testing {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The scores of a unigram tokenizer.json, in the order of the ids: the lines with nothing but a
// number that follow a piece.
std::vector<float> scores_of(const std::filesystem::path& tokenizer_json) {
  std::vector<float> scores;
  std::ifstream file(tokenizer_json);
  std::string before;
  for (std::string line; std::getline(file, line); before = line) {
    const std::size_t begin = line.find_first_not_of(' ');
    if (begin == line.npos || line.find_first_not_of("-0123456789.e", begin) != line.npos) continue;
    if (before.ends_with("\",")) scores.push_back(std::stof(line.substr(begin)));
  }
  return scores;
}

// Fields of a protocol buffer.
std::string integer(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string integer_field(unsigned number, std::uint64_t value) {
  return integer(number << 3) + integer(value);
}
std::string bytes_field(unsigned number, const std::string& bytes) {
  return integer(number << 3 | 2) + integer(bytes.size()) + bytes;
}
std::string float_field(unsigned number, float value) {
  std::string bytes = integer(number << 3 | 5);
  for (int shift = 0; shift < 32; shift += 8) {
    bytes += static_cast<char>(std::bit_cast<std::uint32_t>(value) >> shift);
  }
  return bytes;
}

// The .model file (a ModelProto of sentencepiece) of these pieces.
std::string model_file(const Tokenizer& tokenizer, const std::vector<float>& scores) {
  constexpr std::uint64_t kNormal = 1, kUnknown = 2, kControl = 3, kUnigram = 1;
  std::string proto;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto id = static_cast<std::int64_t>(i);
    const std::uint64_t type = id == tokenizer.unk_token_id() ? kUnknown
                               : id == tokenizer.pad_token_id() || id == tokenizer.eos_token_id()
                                   ? kControl
                                   : kNormal;
    proto += bytes_field(1, bytes_field(1, tokenizer.convert_ids_to_tokens(id).value()) +
                                float_field(2, scores[i]) + integer_field(3, type));
  }
  const std::string trainer = integer_field(3, kUnigram);
  const std::string normalizer = bytes_field(1, "identity");
  return proto + bytes_field(2, trainer) + bytes_field(3, normalizer);
}

// What vqa writes to stdout about the demo's picture. Empty if it fails.
std::string answer(const std::filesystem::path& model, const std::string& tokenizer) {
  const std::string command = std::string(INSTRUCTBLIP_VQA) + " --quiet --model '" +
                              model.string() + "' --image '" + (kAssets / "scene.png").string() +
                              "' --tokenizer " + tokenizer + " 'what colour is the ring?'";
  std::FILE* output = ::popen(command.c_str(), "r");
  if (output == nullptr) throw std::runtime_error("cannot run " + command);
  std::string text;
  for (int c = std::fgetc(output); c != EOF; c = std::fgetc(output)) text += static_cast<char>(c);
  return ::pclose(output) == 0 ? text : "";
}

TEST(SentencePieceAnswers, EqualThoseOfTheDefaultTokenizer) {
  const TemporaryFolder folder;
  const auto tokenizer_json = folder.path() / "tokenizer.json";
  std::filesystem::copy(demo_folder("t5"), folder.path(), std::filesystem::copy_options::recursive);
  const auto tokenizer = AutoTokenizer::from_pretrained(folder.path());
  const std::vector<float> scores = scores_of(tokenizer_json);
  ASSERT_EQ(static_cast<Index>(scores.size()), tokenizer->vocab_size());
  folder.write("spiece.model", model_file(*tokenizer, scores));

  const std::string expected = answer(folder.path(), "auto");
  EXPECT_EQ(expected, "what colour is the ring?\n  red\n");
  EXPECT_EQ(answer(folder.path(), "sentencepiece"), expected);

  // It needs the .model file alone.
  std::filesystem::rename(tokenizer_json, folder.path() / "kept");
  folder.write("tokenizer.json", std::regex_replace(read_text(folder.path() / "kept"),
                                                    std::regex("Unigram"), "Other"));
  EXPECT_EQ(answer(folder.path(), "auto"), "");
  EXPECT_EQ(answer(folder.path(), "sentencepiece"), expected);
}

}  // namespace
}  // namespace instructblip::testing

#endif
