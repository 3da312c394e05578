// What the example programs share: flags, messages, exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include "instructblip/instructblip.h"

namespace examples {

/// Exit codes: 0 done, 1 something was wrong with the input (one line on stderr), 2 wrong flags.
enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2 };

/// Flags of every program that loads a model.
struct ModelFlags {
  std::filesystem::path model;
  std::string dtype = "bfloat16";
  int threads = 0;
  bool quiet = false;

  instructblip::DType compute_dtype() const;
};

/// Adds --model, --dtype, --threads, --quiet.
void add_model_flags(CLI::App& app, ModelFlags& flags);

/// Adds one flag for every field of GenerationConfig that a command line can express, named as the
/// field with dashes: --max-new-tokens 64 --num-beams 5.
void add_generation_flags(CLI::App& app, instructblip::GenerationConfig& config);

/// Parses the command line, sets threads and the log (warnings on stderr unless --quiet, each once)
/// and runs `body`; errors become one line on stderr and an exit code.
int run_program(CLI::App& app, int argc, char** argv, const ModelFlags& flags,
                const std::function<void()>& body);

/// Loads the folder, with progress on stderr if that is a terminal.
instructblip::InstructBlip load_model(const ModelFlags& flags);

/// Asks one question about an encoded picture and writes the answer to stdout, streamed as it is
/// made (with beams or several answers: when they are done). `cancelled`: see GenerateCallbacks.
instructblip::GenerateOutput answer(const instructblip::InstructBlip& loaded,
                                    const instructblip::VisionFeatures& features,
                                    const std::string& question,
                                    const instructblip::GenerationConfig& config,
                                    const std::atomic<bool>* cancelled = nullptr);

/// Seconds of prompt and steps, on stderr.
void print_timings(const instructblip::GenerateOutput& output);

/// Without white space at both ends.
std::string trimmed(const std::string& text);

/// Wall-clock time since it was made.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace examples
