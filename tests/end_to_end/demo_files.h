// The demo models, their images and the answers written by examples/demo_model/make_answers.py. In
// the comments of this folder, the reference is transformers 5.24.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>

#include "instructblip/instructblip.h"

namespace instructblip::testing {

inline const std::filesystem::path kAssets =
    std::filesystem::path(INSTRUCTBLIP_SOURCE_DIR) / "examples/assets";
/// The folder of the answers: the repository's, or that in the environment variable
/// INSTRUCTBLIP_DEMO_ANSWERS.
inline const std::filesystem::path kDemoAnswers = [] {
  const char* other = std::getenv("INSTRUCTBLIP_DEMO_ANSWERS");
  return other ? std::filesystem::path(other)
               : std::filesystem::path(INSTRUCTBLIP_SOURCE_DIR) / "tests/end_to_end/fixtures/demo";
}();

/// The demo model's folder. `decoder` is llama, opt or t5.
inline std::filesystem::path demo_folder(const std::string& decoder) {
  return kAssets / ("instructblip-demo" + (decoder == "llama" ? "" : "-" + decoder));
}

/// A value from a line of answers_*.json or predictions.json. Each line has one object; its values
/// are plain strings, lists of strings or numbers, and booleans.
inline std::string field(const std::string& line, const std::string& name) {
  std::smatch match;
  const std::regex pattern("\"" + name + R"re(": (?:"([^"\\]*)"|\[([^\]]*)\]|(true|false)))re");
  if (!std::regex_search(line, match, pattern)) {
    throw std::runtime_error("no " + name + " in " + line);
  }
  return match[1].matched ? match[1] : match[2].matched ? match[2] : match[3];
}

inline std::vector<std::string> matches_of(const std::string& list, const std::regex& item) {
  std::vector<std::string> found;
  for (auto i = std::sregex_iterator(list.begin(), list.end(), item); i != std::sregex_iterator();
       ++i) {
    found.push_back(i->str(i->size() - 1));
  }
  return found;
}

inline std::vector<std::int64_t> ids_of(const std::string& list) {
  std::vector<std::int64_t> ids;
  for (const std::string& id : matches_of(list, std::regex(R"(-?\d+)"))) {
    ids.push_back(std::stoll(id));
  }
  return ids;
}

inline std::vector<double> numbers_of(const std::string& list) {
  std::vector<double> numbers;
  for (const std::string& number : matches_of(list, std::regex(R"([^, ]+)"))) {
    numbers.push_back(std::stod(number));
  }
  return numbers;
}

inline std::vector<std::string> strings_of(const std::string& list) {
  return matches_of(list, std::regex("\"([^\"]*)\""));
}

/// The lines that contain an object.
inline std::vector<std::string> demo_lines(const std::string& name) {
  std::ifstream file(kDemoAnswers / name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.find('{') != std::string::npos) lines.push_back(line);
  }
  return lines;
}

/// The demo model, which is loaded once.
struct Demo {
  InstructBlipProcessor processor;
  InstructBlipForConditionalGeneration model;
};

inline const Demo& demo(const std::string& decoder = "llama") {
  static std::map<std::string, Demo> loaded;
  const auto found = loaded.find(decoder);
  if (found != loaded.end()) return found->second;
  const std::filesystem::path folder = demo_folder(decoder);
  Demo demo{
      InstructBlipProcessor::from_pretrained(folder),
      InstructBlipForConditionalGeneration::from_pretrained(folder, {.dtype = DType::Float32})};
  return loaded.emplace(decoder, std::move(demo)).first->second;
}

}  // namespace instructblip::testing
