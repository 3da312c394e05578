// Lists a checkpoint folder's contents and any inconsistencies, from the headers of its files
// alone:
//   inspect FOLDER [--adapter FOLDER]
// Exit code: 0 if the folder can be used, 1 if it cannot, 2 for invalid arguments.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/tasks/folder_check.h"
#include "program.h"
#include "report.h"

namespace {

using namespace instructblip;

void print_row(const std::string& part, const std::string& type, const StoredSize& size) {
  std::printf("  %-22s %-14s %12s %12s %12s\n", part.c_str(), type.c_str(),
              examples::scaled(static_cast<double>(size.parameters), "").c_str(),
              examples::scaled(static_cast<double>(size.bytes), "B").c_str(),
              examples::scaled(static_cast<double>(size.memory_bytes), "B").c_str());
}

void print_config(const ImageTextToTextConfig& config) {
  const InstructBlipVisionConfig& vision = config.vision();
  const InstructBlipQFormerConfig& qformer = config.qformer();
  const TextConfig& text = *config.text_config;
  std::cout << "model            " << config.model_type() << "\n"
            << "vision tower     " << vision.num_hidden_layers << " layers of "
            << vision.hidden_size << ", pictures of " << vision.image_size << " pixels, patches of "
            << vision.patch_size << "\n"
            << "Q-Former         " << qformer.num_hidden_layers << " layers of "
            << qformer.hidden_size << ", " << config.num_query_tokens << " query tokens\n"
            << "language model   " << text.model_type() << " of " << text.get_hidden_size()
            << ", vocabulary " << text.vocab_size << "\n";
}

void print_weights(const FolderReport& report) {
  std::cout << "weights          " << report.weight_files.size()
            << (report.weight_files.size() == 1 ? " file" : " files");
  if (!report.quantization.empty()) std::cout << ", quantised (" << report.quantization << ")";
  std::cout << "\n";
  if (report.parts.empty()) return;
  std::printf("  %-22s %-14s %12s %12s %12s\n", "part", "type", "parameters", "bytes", "in memory");
  for (const FolderPart& part : report.parts) {
    for (const auto& [type, size] : part.by_type) print_row(part.name, type, size);
  }
  print_row("total", "", report.total);
}

// "LoRA of rank 8 in 64 modules, 2 whole tensors; for Salesforce/instructblip-vicuna-7b"
void print_adapter(const AdapterInfo& adapter) {
  std::cout << "adapter          ";
  if (adapter.modules > 0) {
    std::cout << (adapter.is_dora ? "DoRA" : "LoRA") << " of rank " << adapter.least_rank;
    if (adapter.greatest_rank != adapter.least_rank) std::cout << " to " << adapter.greatest_rank;
    std::cout << " in " << adapter.modules << (adapter.modules == 1 ? " module" : " modules");
  }
  if (adapter.tensors > 0) {
    std::cout << (adapter.modules > 0 ? ", " : "") << adapter.tensors
              << (adapter.tensors == 1 ? " whole tensor" : " whole tensors");
  }
  if (!adapter.base_model_name_or_path.empty()) {
    std::cout << "; for " << adapter.base_model_name_or_path;
  }
  std::cout << "\n";
}

// Prints the findings and the warnings that were logged meanwhile. Consecutive findings with the
// same remedy share one line for it.
void print_findings(const FolderReport& report, const std::set<std::string>& logged) {
  if (report.findings.empty() && logged.empty()) {
    std::cout << "no problems found\n";
  }
  for (const std::string& message : logged) std::cout << "warning  " << message << "\n";
  for (std::size_t i = 0; i < report.findings.size(); ++i) {
    const FolderFinding& finding = report.findings[i];
    const bool is_error = finding.severity == FolderFinding::Severity::Error;
    std::cout << (is_error ? "error    " : "warning  ") << finding.file << ": " << finding.problem
              << "\n";
    const bool is_last =
        i + 1 == report.findings.size() || report.findings[i + 1].remedy != finding.remedy;
    if (!finding.remedy.empty() && is_last) std::cout << "         -> " << finding.remedy << "\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Lists a checkpoint folder's contents and any inconsistencies.");
  std::filesystem::path folder;
  std::optional<std::filesystem::path> adapter;
  bool whole_config = false;
  app.add_option("folder", folder, "folder with config.json, weights and tokenizers")->required();
  app.add_option("--adapter", adapter,
                 "folder of a LoRA adapter (PEFT); default: the one in the folder, if any")
      ->type_name("FOLDER");
  app.add_flag("--config", whole_config, "also print the whole configuration");
  app.set_version_flag("--version", [] { return build_info(); });
  return examples::run_program(app, argc, argv, [&] {
    std::set<std::string> logged;
    set_log_callback([&](std::string_view message) { logged.emplace(message); });
    const FolderReport report = check_folder(folder, adapter);
    set_log_callback({});
    std::cout << "folder           " << folder.string() << "\n";
    if (report.config) print_config(*report.config);
    print_weights(report);
    if (report.adapter) print_adapter(*report.adapter);
    print_findings(report, logged);
    if (whole_config && report.config) std::cout << report.config->to_json() << "\n";
    return report.is_usable() ? examples::kDone : examples::kFailed;
  });
}
