// Writes a checkpoint with weights of 8 or 4 bits:
//   quantize --model FOLDER --to FOLDER --weights int4
// If it is interrupted, the same command goes on where it ended.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>

#include "program.h"
#include "report.h"

namespace {

using namespace instructblip;

void print_report(const std::filesystem::path& folder, const QuantizeReport& report,
                  double seconds) {
  std::cout << folder.string() << ": " << report.quantized_matrices << " matrices quantised, "
            << examples::scaled(static_cast<double>(report.source_bytes), "B") << " -> "
            << examples::scaled(static_cast<double>(report.bytes), "B") << " in "
            << examples::counted(static_cast<std::size_t>(report.shards), "file") << ", "
            << examples::in_whole_seconds(seconds) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Writes a checkpoint with weights of 8 or 4 bits (compressed-tensors), which then "
      "loads without its original, here and in transformers.");
  examples::ModelFlags flags;
  flags.weights = "int8";
  std::filesystem::path target;
  app.add_option("--model", flags.model, "folder of the checkpoint")->required();
  app.add_option("--to", target, "folder to write, which must not exist yet")->required();
  examples::add_weights_flag(app, flags,
                             "int8, int4 (head and vision model in 8 bits), or parts, "
                             "vision=int8,qformer=int8,language=int4-g32,head=int8");
  app.add_option("--adapter", flags.adapter,
                 "folder of a LoRA adapter (PEFT) to merge first; default: the one in the model's "
                 "folder, if any; \"\": none")
      ->type_name("FOLDER");
  app.add_option("--threads", flags.threads, "number of threads; default: all cores")
      ->check(examples::check_at_least<1>);
  app.add_flag("--timings", flags.timings, "print the most memory used on stderr");
  app.add_flag("--quiet", flags.quiet, "show no warnings and no progress");
  app.set_version_flag("--version", [] { return build_info(); });
  return examples::run_program(app, argc, argv, flags, [&] {
    examples::StatusLine status(!flags.quiet);
    const examples::Stopwatch watch;
    QuantizeOptions options;
    options.adapter = flags.adapter;
    options.progress = [&](const Progress& progress) {
      status.show("quantising " + examples::bar(progress.fraction()) + " of " +
                  examples::scaled(static_cast<double>(progress.total), "B") + ", " +
                  examples::in_whole_seconds(watch.seconds()));
    };
    const QuantizeReport report =
        quantize_checkpoint(flags.model, target, quantization_recipe(flags.weights), options);
    status.clear();
    print_report(target, report, watch.seconds());
  });
}
