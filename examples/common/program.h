// Shared by the example programs: flags, messages and exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include "instructblip/instructblip.h"

namespace examples {

/// Exit codes: 0 = success, 1 = an error, described in one line on stderr, 2 = invalid flags.
enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2 };

/// The flags of every program that loads a model.
struct ModelFlags {
  std::filesystem::path model;
  std::string dtype = "bfloat16";
  std::string tokenizer = "auto";
  int threads = 0;
  bool quiet = false;

  instructblip::DType compute_dtype() const;
  instructblip::TokenizerOptions tokenizer_options() const;
};

/// Adds --model, --dtype, --tokenizer, --threads, --quiet, --version.
void add_model_flags(CLI::App& app, ModelFlags& flags);

/// Adds a flag for each field of GenerationConfig that can be set on a command line. Its name is
/// that of the field, with dashes: --max-new-tokens 64 --num-beams 5.
void add_generation_flags(CLI::App& app, instructblip::GenerationConfig& config);

/// Parses the command line, sets the number of threads, logs warnings to stderr (each once, none
/// with --quiet) and runs `body`. An exception becomes one line on stderr. Returns an exit code.
int run_program(CLI::App& app, int argc, char** argv, const ModelFlags& flags,
                const std::function<void()>& body);

/// Loads the folder. Shows the progress on stderr if that is a terminal.
instructblip::InstructBlip load_model(const ModelFlags& flags);

/// Answers a question about an encoded picture on stdout. The answer is streamed; with beams or
/// several answers, it is written at the end. `cancelled`: see GenerateCallbacks.
instructblip::GenerateOutput answer(const instructblip::InstructBlip& loaded,
                                    const instructblip::VisionFeatures& features,
                                    const std::string& question,
                                    const instructblip::GenerationConfig& config,
                                    const std::atomic<bool>* cancelled = nullptr);

/// Prints the seconds of the prompt and of the steps on stderr.
void print_timings(const instructblip::GenerateOutput& output);

/// `text` without white space at both ends.
std::string trimmed(const std::string& text);

/// Measures the wall-clock time since its construction.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace examples
