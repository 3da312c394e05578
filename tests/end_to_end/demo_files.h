// The demo model, its pictures and what examples/demo_model/make_answers.py wrote about them.
#pragma once

#include <iterator>
#include <regex>

#include "instructblip/instructblip.h"

namespace instructblip::testing {

inline const std::filesystem::path kDemoModel =
    std::filesystem::path(INSTRUCTBLIP_SOURCE_DIR) / "examples/assets/instructblip-demo";
inline const std::filesystem::path kDemoAnswers =
    std::filesystem::path(INSTRUCTBLIP_SOURCE_DIR) / "tests/end_to_end/fixtures/demo";

/// A value of a line of answers.json or predictions.json, which hold one object a line, of plain
/// strings, lists of strings or numbers and truth values.
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

/// The lines that hold an object.
inline std::vector<std::string> demo_lines(const char* name) {
  std::ifstream file(kDemoAnswers / name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.find('{') != std::string::npos) lines.push_back(line);
  }
  return lines;
}

inline const InstructBlipProcessor& demo_processor() {
  static const auto processor = InstructBlipProcessor::from_pretrained(kDemoModel);
  return processor;
}

inline const InstructBlipForConditionalGeneration& demo_model() {
  static const auto model =
      InstructBlipForConditionalGeneration::from_pretrained(kDemoModel, {.dtype = DType::Float32});
  return model;
}

}  // namespace instructblip::testing
