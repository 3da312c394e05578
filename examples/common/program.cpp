#include "program.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <numeric>
#include <set>
#include <vector>

#include "report.h"

#ifdef EXAMPLES_HAVE_SENTENCEPIECE
#include "instructblip/tokenization/sentencepiece_tokenizer.h"
#endif

namespace examples {

using namespace instructblip;

namespace {

// The smallest number of characters to insert, delete or replace that turns `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// The flag that was meant by an unknown one: one that begins with it or is spelled much like it.
std::string likely_flag(const CLI::App& app, const std::string& unknown) {
  const std::string name = unknown.substr(0, unknown.find('='));
  std::string likely;
  std::size_t least = name.size() / 3 + 1;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& long_name : option->get_lnames()) {
      const std::string flag = "--" + long_name;
      if (name.size() > 4 && flag.starts_with(name)) return flag;
      const std::size_t distance = edit_distance(name, flag);
      if (distance >= least) continue;
      least = distance;
      likely = flag;
    }
  }
  return likely;
}

// Unknown flags are reported first: a mistyped one also makes CLI11 say that another is missing.
int report_usage(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
  for (const std::string& argument : app.remaining()) {
    if (argument.size() < 2 || argument.front() != '-') continue;
    std::cerr << "error: unknown flag " << argument;
    const std::string likely = likely_flag(app, argument);
    std::cerr << (likely.empty() ? "" : "; did you mean " + likely + "?")
              << "\nRun with --help for more information.\n";
    return kUsage;
  }
  app.exit(error);
  return kUsage;
}

// transformers writes --max_new_tokens.
std::vector<std::string> with_dashes(int argc, char** argv) {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  for (std::string& argument : arguments) {
    if (argument == "--") break;
    if (!argument.starts_with("--")) continue;
    const auto end = argument.begin() +
                     static_cast<std::ptrdiff_t>(std::min(argument.find('='), argument.size()));
    std::replace(argument.begin(), end, '_', '-');
  }
  return arguments;
}

// Flags that take no value would ignore one after =, and leave one after a space to the questions.
void require_no_values(const CLI::App& app, const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (!arguments[i].starts_with("--")) continue;
    const std::size_t equals = arguments[i].find('=');
    const std::string flag = arguments[i].substr(0, equals);
    const CLI::Option* option = app.get_option_no_throw(flag);
    if (option == nullptr || option->get_expected_max() > 0) continue;
    const std::string next =
        i + 1 < arguments.size() ? CLI::detail::to_lower(arguments[i + 1]) : "";
    if (equals != flag.npos || next == "true" || next == "false") {
      throw CLI::ArgumentMismatch(flag + " takes no value; give it alone or not at all");
    }
  }
}

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

TokenizerOptions ModelFlags::tokenizer_options() const {
  TokenizerOptions options;
#ifdef EXAMPLES_HAVE_SENTENCEPIECE
  if (tokenizer == "sentencepiece") options.loader = SentencePieceTokenizer::from_pretrained;
#endif
  return options;
}

CLI::Option* add_weights_flag(CLI::App& app, ModelFlags& flags, const std::string& description) {
  return app.add_option("--weights", flags.weights, description)
      ->check([](const std::string& name) -> std::string {
        try {
          quantization_recipe(name);
        } catch (const InputError& error) {
          return error.what();
        }
        return "";
      })
      ->type_name("RECIPE")
      ->capture_default_str();
}

void add_model_flags(CLI::App& app, ModelFlags& flags) {
  constexpr const char* kGroup = "Model and messages";
  app.add_option("-m,--model", flags.model, "checkpoint folder")
      ->required()
      ->type_name("FOLDER")
      ->envname("INSTRUCTBLIP_MODEL");
  app.add_option("-t,--threads", flags.threads, "number of threads (default: all processors)")
      ->check(CLI::Range(1, 4096));
  app.add_option("--adapter", flags.adapter,
                 "folder of a LoRA adapter (PEFT); default: the one in the model's folder, if any")
      ->type_name("FOLDER")
      ->group(kGroup);
  app.add_option("--dtype", flags.dtype, "type of the weights in memory")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str()
      ->group(kGroup);
  add_weights_flag(
      app, flags,
      "quantise while loading: none, int8, int4 (head and vision model in 8 bits), "
      "or parts, vision=int8,language=int4-g32,head=int8; a folder that is quantised needs none")
      ->group(kGroup);
  app.add_option("--cache", flags.cache,
                 "where the weights that --weights quantises are kept: the next start maps them")
      ->type_name("FOLDER")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag_callback(
         "--no-cache", [&flags] { flags.cache.clear(); }, "quantise anew, and keep nothing")
      ->group(kGroup);
  app.add_option("--activations", flags.activations,
                 "type of the activations that bfloat16 weights are multiplied with, where the CPU "
                 "multiplies bfloat16; bfloat16 is faster and rounds as PyTorch does")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--tokenizer", flags.tokenizer,
                 "auto: as transformers 5; sentencepiece: as transformers 4 with use_fast=False "
                 "and LAVIS")
      ->check(check_tokenizer)
      ->type_name("NAME")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag_callback(
         "--no-mmap", [&flags] { flags.memory_map = false; },
         "read the weights into memory instead of mapping their files, which may then change")
      ->group(kGroup);
  app.add_flag_callback(
         "--no-prefetch", [&flags] { flags.prefetch = false; },
         "read weights from the disk when they are first used: for a model larger than the memory")
      ->group(kGroup);
  app.add_flag("--timings", flags.timings, "print the time of each part on stderr")->group(kGroup);
  app.add_flag("--quiet", flags.quiet, "show no warnings and no progress")->group(kGroup);
  app.set_version_flag("--version", [] { return build_info(); })->group(kGroup);
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  try {
    std::vector<std::string> arguments = with_dashes(argc, argv);
    require_no_values(app, arguments);
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the end
    app.name(argc > 0 ? argv[0] : "");
    app.parse(std::move(arguments));
    const int code = body();
    if (!std::cout.flush()) throw InputError("standard output cannot be written");
    return code;
  } catch (const CLI::ParseError& error) {
    return report_usage(app, error);
  } catch (const std::exception& error) {
    std::cout.flush();
    std::cerr << "error: " << with_flag_names(error.what()) << '\n';
    return kFailed;
  }
}

int run_program(CLI::App& app, int argc, char** argv, const ModelFlags& flags,
                const std::function<void()>& body) {
  // Shared, because the library copies the callback.
  const auto shown = std::make_shared<std::set<std::string, std::less<>>>();
  set_log_callback([shown, &flags](std::string_view message) {
    if (flags.quiet || !shown->emplace(message).second) return;
    std::cerr << "warning: " << with_flag_names(message) << '\n';
  });
  const int code = run_program(app, argc, argv, [&] {
    if (flags.threads > 0) set_num_threads(flags.threads);
    num_threads();  // and the next: errors of environment variables come before a model is loaded
    kernel_level();
    body();
    if (flags.timings) {
      print_timing("memory",
                   scaled(peak_resident_bytes(), "B") + " at most, mapped weights included");
    }
    return kDone;
  });
  set_log_callback({});
  return code;
}

namespace {

// The file of quantised weights, and when it was written, if it exists.
struct KeptWeights {
  std::filesystem::path file;
  std::optional<std::filesystem::file_time_type> time = {};

  KeptWeights(const std::filesystem::path& folder, const LoadOptions& options)
      : file(quantization_cache_file(folder, options)) {
    std::error_code code;
    const auto written = std::filesystem::last_write_time(file, code);
    if (!code) time = written;
  }
};

// Says where quantised weights were written, or with --timings read.
void report_kept(const KeptWeights& before, const KeptWeights& now, const ModelFlags& flags) {
  if (!now.time) return;
  const bool is_new = now.time != before.time;
  std::error_code ignored;
  const auto bytes = static_cast<double>(std::filesystem::file_size(now.file, ignored));
  const std::string text = scaled(bytes, "B") + " of quantised weights ";
  if (flags.timings) {
    print_timing("cache", text + (is_new ? "written to " : "from ") + now.file.string());
  } else if (is_new && !flags.quiet) {
    std::cerr << "kept " << text << "for the next start in " << now.file.string() << '\n';
  }
}

// Calls `load` with the options that the flags stand for, and shows what it does.
template <class Load>
auto load_shown(const ModelFlags& flags, const Load& load) {
  StatusLine status(!flags.quiet);
  const Stopwatch watch;
  Index bytes = 0;
  LoadOptions options;
  options.dtype = flags.dtype == "float32" ? DType::Float32 : DType::BFloat16;
  options.activations = flags.activations == "float32" ? DType::Float32 : DType::BFloat16;
  options.quantization = quantization_recipe(flags.weights);
  options.quantization_cache = flags.cache;
  options.adapter = flags.adapter;
  options.memory_map = flags.memory_map;
  options.prefetch = flags.prefetch;
  options.progress = [&](const Progress& progress) {
    bytes = progress.total;
    if (progress.stage.starts_with("writing ")) {
      status.clear();  // the next line stays for some seconds
      return status.show(progress.stage);
    }
    status.show("loading " + bar(progress.fraction()) + " of " +
                scaled(static_cast<double>(bytes), "B") + ", " + in_whole_seconds(watch.seconds()));
  };
  const KeptWeights kept(flags.model, options);
  auto loaded = load(options);
  status.clear();
  if (flags.timings) {
    print_timing("loading",
                 in_seconds(watch.seconds()) + " for " + scaled(static_cast<double>(bytes), "B"));
  }
  report_kept(kept, KeptWeights(flags.model, options), flags);
  return loaded;
}

}  // namespace

InstructBlip load_model(const ModelFlags& flags, const GenerationConfig& config) {
  try {
    config.validate_ids(load_image_text_to_text_config(flags.model)->text_config->vocab_size);
  } catch (const InputError& error) {
    throw CLI::ValidationError(with_flag_names(error.what()));
  }
  return load_shown(flags, [&](const LoadOptions& options) {
    return load(flags.model, options, flags.tokenizer_options());
  });
}

ImageTextRetrieval load_retrieval_model(const ModelFlags& flags) {
  return load_shown(flags, [&](const LoadOptions& options) {
    return load_retrieval(flags.model, options, flags.tokenizer_options());
  });
}

}  // namespace examples
