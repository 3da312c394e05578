// check_folder: the contents of a checkpoint folder and any inconsistencies. It reads only the
// configuration files and the headers of the weights, in well under a second.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// One inconsistency and its remedy.
struct FolderFinding {
  enum class Severity {
    Warning,  // answers may not be as intended
    Error,    // loading or generating fails
  };
  Severity severity = Severity::Warning;
  /// Name of the file in the folder, such as "config.json".
  std::string file;
  std::string problem;
  /// What to do, mostly the exact line to add or change. May be empty.
  std::string remedy;
  /// Whether `load` (tasks/load.h) reports or resolves the problem by itself.
  bool settled_by_load = false;
};

/// "FILE: PROBLEM. Change: REMEDY"
INSTRUCTBLIP_EXPORT std::string to_string(const FolderFinding& finding);

/// Number of parameters, their size in the checkpoint, and about that in memory after loading them
/// with LoadOptions::dtype unset.
struct StoredSize {
  Index parameters = 0;
  std::size_t bytes = 0;
  std::size_t memory_bytes = 0;
};

/// The tensors of one part of the model ("vision_model", "qformer", "language_model", ...).
struct FolderPart {
  std::string name;
  Index tensors = 0;
  StoredSize total;
  /// By the type's name in the file, such as "BF16"; of quantised matrices with their scales, by
  /// the name of the quantisation, such as "int4-g128".
  std::map<std::string, StoredSize> by_type;
};

/// The result of check_folder.
struct FolderReport {
  std::filesystem::path folder;
  /// Null if config.json cannot be read.
  std::shared_ptr<const ImageTextToTextConfig> config;
  /// The safetensors files with the weights.
  std::vector<std::filesystem::path> weight_files;
  /// How the weights are quantised: "compressed-tensors pack-quantized", "bitsandbytes nf4",
  /// "gptq",
  /// ...; empty: not.
  std::string quantization;
  std::vector<FolderPart> parts;
  StoredSize total;
  /// The PEFT adapter that `load` merges, if any.
  std::optional<AdapterInfo> adapter;
  std::vector<FolderFinding> findings;

  /// True if no finding is an error.
  bool is_usable() const;
};

/// Reads the folder's configuration, tokenizers, processor, generation settings and weight headers,
/// and compares them: missing files, missing or misshapen tensors, num_query_tokens, the image
/// token, vocabulary sizes, image sizes, and the BOS, EOS and padding ids. A file that cannot be
/// read is reported as a finding. `adapter`: as in LoadOptions. Throws ConfigError only if the path
/// is not a folder.
INSTRUCTBLIP_EXPORT FolderReport check_folder(
    const std::filesystem::path& folder, const std::optional<std::filesystem::path>& adapter = {});

}  // namespace instructblip
