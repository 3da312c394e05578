// Shared by the example programs: flags, messages and exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "instructblip/instructblip.h"

namespace examples {

/// Exit codes: 0 = success, 1 = an error, described in one line on stderr, 2 = invalid flags.
enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2 };

/// The flags of every program that loads a model.
struct ModelFlags {
  std::filesystem::path model;
  std::optional<std::filesystem::path> adapter;
  std::string dtype = "bfloat16";
  std::string activations = "float32";
  std::string weights = "none";
  std::filesystem::path cache = instructblip::default_cache_folder();
  std::string tokenizer = "auto";
  int threads = 0;
  bool quiet = false;
  bool timings = false;
  bool memory_map = true;
  bool prefetch = true;

  instructblip::TokenizerOptions tokenizer_options() const;
};

/// Adds --model, --threads, --adapter, --dtype, --weights, --cache, --no-cache, --activations,
/// --tokenizer, --no-mmap, --no-prefetch, --timings, --quiet and --version.
void add_model_flags(CLI::App& app, ModelFlags& flags);

/// Adds --weights, a recipe of quantization_recipe.
CLI::Option* add_weights_flag(CLI::App& app, ModelFlags& flags, const std::string& description);

/// Adds a flag for each field of GenerationConfig that can be set on a command line. Its name is
/// that of the field, with dashes: --max-new-tokens 64 --num-beams 5. The fields are validated
/// while the flags are parsed.
void add_generation_flags(CLI::App& app, instructblip::GenerationConfig& config);

/// For CLI::Option::check: "" if the text is a whole number that T can hold, otherwise what is
/// wrong. CLI11 itself takes -1 and numbers that are too large for a large number.
template <class T>
std::string check_whole_number(const std::string& text) {
  T number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && stop == end) return "";
  return text + " is not a whole number from " + std::to_string(std::numeric_limits<T>::min()) +
         " to " + std::to_string(std::numeric_limits<T>::max());
}

/// For CLI::Option::check: "" if the text is a number of at least `least`, otherwise what is wrong.
template <int least>
std::string check_at_least(const std::string& text) {
  double number = 0;
  if (!CLI::detail::lexical_cast(text, number)) return text + " is not a number";
  return number < least ? text + " is below " + std::to_string(least) : "";
}

/// For CLI::Option::check: "" if the text is UTF-8, otherwise what is wrong with it.
std::string check_text(const std::string& text);

/// A message of the library with flags in place of fields: "`num_beams`" becomes "--num-beams".
std::string with_flag_names(std::string_view message);

/// Parses the command line, in which flags may have underscores, and runs `body`. An exception
/// becomes one line on stderr. Returns an exit code. CLI::ParseError stands for an invalid flag.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

/// The same for a program that loads a model: sets the number of threads, checks the environment
/// variables of the library, and logs warnings to stderr, each once and none with --quiet.
int run_program(CLI::App& app, int argc, char** argv, const ModelFlags& flags,
                const std::function<void()>& body);

/// Loads the folder. Shows size, progress and time on stderr if that is a terminal, and says there
/// that quantised weights were written to --cache, unless --quiet is given. `config`: the
/// options of the answers; ids outside the model's vocabulary are an invalid flag, which is found
/// before the weights are read.
instructblip::InstructBlip load_model(const ModelFlags& flags,
                                      const instructblip::GenerationConfig& config = {});
/// The same for a folder that compares images and texts.
instructblip::ImageTextRetrieval load_retrieval_model(const ModelFlags& flags);

}  // namespace examples
