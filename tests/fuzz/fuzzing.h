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

/// Uses every part of a tokenizer that depends on its files.
inline void use(const Tokenizer& tokenizer) {
  for (const char* text : {"", "a red circle, 3 signs", " \t\nÄ\u00a0犬 </s><image>x"}) {
    run([&] {
      const auto ids = tokenizer.encode(text);
      tokenizer.decode(ids, {.skip_special_tokens = true});
      tokenizer.decode_settled(ids);
    });
  }
  run([&] {
    const PaddingStrategy padding = PaddingStrategy::Longest;
    tokenizer({"a", "a b c"}, {.padding = padding, .truncation = true, .max_length = 3});
  });
  run([&] { tokenizer.save_pretrained(folder() / "saved"); });
}

/// Loads the folder's tokenizer and uses it.
inline void use_tokenizer() {
  run([] { use(*AutoTokenizer::from_pretrained(folder())); });
}

}  // namespace instructblip::fuzzing
