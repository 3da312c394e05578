// What the fuzz targets share. A target gives its input to the loaders of one kind of file. They
// may refuse it with an Error; another exception, a report of a sanitizer, and too much memory or
// time are findings.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "instructblip/core/error.h"
#include "instructblip/tokenization/tokenizer.h"
#include "support/temporary_folder.h"

namespace instructblip::fuzzing {

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The folder of this process's files.
inline const std::filesystem::path& folder() {
  static const testing::TemporaryFolder folder;
  return folder.path();
}

/// Writes the input to these files of the folder. A zero byte ends each file but the last. An empty
/// file is removed.
inline void write_files(std::string_view input, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const bool is_last = name == *(names.end() - 1);
    const std::string_view text = input.substr(0, is_last ? input.npos : input.find('\0'));
    input.remove_prefix(std::min(text.size() + 1, input.size()));
    std::filesystem::remove(folder() / name);
    if (text.empty()) continue;
    std::ofstream(folder() / name, std::ios::binary)
        .write(text.data(), static_cast<std::streamsize>(text.size()));
  }
}

/// Runs a loader, which may refuse.
template <class Body>
void run(const Body& body) {
  try {
    body();
  } catch (const Error&) {
  }
}

/// Reads a configuration. What it writes must be read as the same.
template <class Config>
void read_config(std::string_view text) {
  std::optional<Config> config;
  run([&] { config = Config::from_json(text); });
  if (!config) return;
  const std::string json = config->to_json();
  if (Config::from_json(json).to_json() != json) std::abort();
}

/// Loads the folder's tokenizer and uses it.
inline void use_tokenizer() {
  run([] {
    const auto tokenizer = AutoTokenizer::from_pretrained(folder());
    for (const char* text : {"", "a red circle, 3 signs", " \t\nÄ\u00a0犬 </s><image>x"}) {
      run([&] { tokenizer->decode(tokenizer->encode(text)); });
    }
  });
}

}  // namespace instructblip::fuzzing
