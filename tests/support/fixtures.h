// Values from the reference (transformers 5.24): tests/reference/fixtures/<name>.safetensors,
// written by tests/reference/make_fixtures.py.
#pragma once

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/tensor.h"

namespace instructblip::testing {

inline std::filesystem::path fixtures_folder() { return INSTRUCTBLIP_FIXTURES; }

class Fixture {
 public:
  /// `name` is relative to the fixtures' folder and has no extension: "checkpoint/types".
  explicit Fixture(std::string_view name)
      : file_(fixtures_folder() / (std::string(name) + ".safetensors")) {}

  bool has(std::string_view name) const { return file_.entries().contains(name); }
  std::vector<std::string> names() const { return file_.names(); }

  /// A copy of the tensor.
  Tensor operator[](std::string_view name) const {
    const auto found = file_.find(name);
    if (!found) {
      throw std::runtime_error(file_.path().string() + " has no tensor \"" + std::string(name) +
                               "\"");
    }
    return Tensor::copy_of(*found);
  }

  /// A text (common.text in Python).
  std::string text(std::string_view name) const {
    const Tensor bytes = (*this)[name];
    return {reinterpret_cast<const char*>(bytes.data<std::uint8_t>()),
            static_cast<std::size_t>(bytes.size())};
  }

  /// A list of texts (common.texts in Python), stored as all bytes and the offset of each text.
  std::vector<std::string> texts(std::string_view name) const {
    const std::string all = text(name);
    const Tensor offsets = (*this)[std::string(name) + ".offsets"];
    const auto begins = offsets.span<std::int64_t>();
    std::vector<std::string> texts;
    for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
      texts.push_back(all.substr(static_cast<std::size_t>(begins[i]),
                                 static_cast<std::size_t>(begins[i + 1] - begins[i])));
    }
    return texts;
  }

  /// Lists of ids (common.ids in Python), stored as all values, int32 or int64, and the offset of
  /// each list.
  std::vector<std::vector<std::int64_t>> lists(std::string_view name) const {
    const Tensor all = (*this)[name].to(DType::Int64);
    const Tensor offsets = (*this)[std::string(name) + ".offsets"].to(DType::Int64);
    const std::int64_t* values = all.data<std::int64_t>();
    std::vector<std::vector<std::int64_t>> lists;
    for (Index i = 0; i + 1 < offsets.size(); ++i) {
      lists.emplace_back(values + offsets.at<std::int64_t>({i}),
                         values + offsets.at<std::int64_t>({i + 1}));
    }
    return lists;
  }

  const std::string& metadata(std::string_view key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end()) {
      throw std::runtime_error(file_.path().string() + " has no metadata \"" + std::string(key) +
                               "\"");
    }
    return found->second;
  }

 private:
  SafetensorsFile file_;
};

}  // namespace instructblip::testing
