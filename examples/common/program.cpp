#include "program.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <set>

#ifdef EXAMPLES_HAVE_SENTENCEPIECE
#include "instructblip/tokenization/sentencepiece_tokenizer.h"
#endif

namespace examples {

using namespace instructblip;

DType ModelFlags::compute_dtype() const {
  return dtype == "float32" ? DType::Float32 : DType::BFloat16;
}

TokenizerOptions ModelFlags::tokenizer_options() const {
  TokenizerOptions options;
#ifdef EXAMPLES_HAVE_SENTENCEPIECE
  if (tokenizer == "sentencepiece") options.loader = SentencePieceTokenizer::from_pretrained;
#endif
  return options;
}

namespace {

// A valid --tokenizer gives "", as CLI11 has it.
std::string check_tokenizer(const std::string& name) {
#ifndef EXAMPLES_HAVE_SENTENCEPIECE
  if (name == "sentencepiece") {
    return "this build has no sentencepiece component: install libsentencepiece-dev and configure "
           "with -DINSTRUCTBLIP_WITH_SENTENCEPIECE=ON";
  }
#endif
  return name == "auto" || name == "sentencepiece" ? "" : "expected auto or sentencepiece";
}

}  // namespace

void add_model_flags(CLI::App& app, ModelFlags& flags) {
  app.set_version_flag("--version", [] { return build_info(); });
  app.add_option("--model", flags.model, "checkpoint folder")->required()->type_name("FOLDER");
  app.add_option("--dtype", flags.dtype, "type of the weights in memory")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--tokenizer", flags.tokenizer,
                 "auto: as transformers 5; sentencepiece: as transformers 4 with use_fast=False "
                 "and LAVIS")
      ->check(check_tokenizer)
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--threads", flags.threads, "number of threads (default: all processors)")
      ->check(CLI::Range(1, 4096));
  app.add_flag("--quiet", flags.quiet, "show no warnings and no progress");
}

int run_program(CLI::App& app, int argc, char** argv, const ModelFlags& flags,
                const std::function<void()>& body) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  } catch (const std::exception& error) {  // of build_info
    std::cerr << "error: " << error.what() << '\n';
    return kFailed;
  }
  if (!flags.quiet) {
    // Shared, because the library copies the callback.
    const auto shown = std::make_shared<std::set<std::string, std::less<>>>();
    set_log_callback([shown](std::string_view message) {
      if (shown->emplace(message).second) std::cerr << "warning: " << message << '\n';
    });
  }
  try {
    if (flags.threads > 0) set_num_threads(flags.threads);
    body();
    if (!std::cout.flush()) throw InputError("standard output cannot be written");
    return kDone;
  } catch (const std::exception& error) {
    std::cout.flush();
    std::cerr << "error: " << error.what() << '\n';
    return kFailed;
  }
}

namespace {

// Erases the progress from the terminal's line, even if loading fails.
struct ClearedLine {
  bool is_shown;
  ~ClearedLine() {
    if (is_shown) std::fprintf(stderr, "\r             \r");
  }
};

}  // namespace

InstructBlip load_model(const ModelFlags& flags) {
  const bool show = !flags.quiet && isatty(STDERR_FILENO) != 0;
  const ClearedLine line{show};
  LoadOptions options{.dtype = flags.compute_dtype()};
  if (show) {
    options.progress = [](const Progress& progress) {
      std::fprintf(stderr, "\rloading %3d %%", static_cast<int>(100 * progress.fraction()));
    };
  }
  return load(flags.model, options, flags.tokenizer_options());
}

GenerateOutput answer(const InstructBlip& loaded, const VisionFeatures& features,
                      const std::string& question, const GenerationConfig& config,
                      const std::atomic<bool>* cancelled) {
  const BatchFeature text = loaded.processor({}, {question}, {.num_images = 1});
  GenerateCallbacks callbacks{.tokenizer = &loaded.processor.tokenizer(), .cancelled = cancelled};
  const DecodeOptions decoding{.skip_special_tokens = true};
  if (config.num_beams.value_or(1) > 1 || config.num_return_sequences.value_or(1) > 1) {
    GenerateOutput output = loaded.model.generate(text, config, features, callbacks);
    for (const std::string& line : loaded.processor.batch_decode(output.new_tokens(), decoding)) {
      std::cout << "  " << trimmed(line) << '\n';
    }
    return output;
  }
  bool begun = false;
  TextStreamer streamer(
      loaded.processor.tokenizer(),
      [&begun](std::string_view piece) {
        // The first token often begins with a space.
        if (!begun) piece.remove_prefix(std::min(piece.find_first_not_of(' '), piece.size()));
        if (piece.empty()) return true;
        std::cout << (begun ? "" : "  ") << piece << std::flush;
        begun = true;
        return true;
      },
      true, decoding);
  callbacks.streamer = &streamer;
  GenerateOutput output = loaded.model.generate(text, config, features, callbacks);
  std::cout << '\n';
  return output;
}

void print_timings(const GenerateOutput& output) {
  const GenerationTimings& timings = output.timings;
  std::fprintf(stderr, "prompt %.3f s, %zu steps of %.4f s (standard deviation %.4f s)\n",
               timings.prompt_seconds, timings.step_seconds.size(), timings.mean_step_seconds(),
               timings.stddev_step_seconds());
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

}  // namespace examples
