// What a checkpoint folder holds, and what disagrees in it: from the configuration files and the
// headers of the weights alone, in well under a second.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// One thing that is wrong, and the line that cures it.
struct FolderFinding {
  enum class Severity {
    Warning,  // answers may differ from what is meant
    Error,    // loading or answering fails
  };
  Severity severity = Severity::Warning;
  /// Name of the file in the folder: "config.json".
  std::string file;
  std::string problem;
  /// The exact line to add or change, or what to do; may be empty.
  std::string remedy;
  /// Whether `load` (tasks/load.h) finds it out by itself, or settles it.
  bool settled_by_load = false;
};

/// "config.json: PROBLEM. REMEDY"
INSTRUCTBLIP_EXPORT std::string to_string(const FolderFinding& finding);

/// How much of something a checkpoint stores.
struct StoredSize {
  Index parameters = 0;
  std::size_t bytes = 0;
};

/// The tensors of one part of the model ("vision_model", "qformer", "language_model", ...).
struct FolderPart {
  std::string name;
  Index tensors = 0;
  StoredSize total;
  std::map<std::string, StoredSize> by_type;  // "BF16" -> ...
};

/// What `check_folder` found.
struct FolderReport {
  std::filesystem::path folder;
  /// Absent if config.json cannot be read.
  std::optional<InstructBlipConfig> config;
  /// Safetensors files that hold the weights.
  std::vector<std::filesystem::path> weight_files;
  std::vector<FolderPart> parts;
  StoredSize total;
  std::vector<FolderFinding> findings;

  /// No finding is an error.
  bool is_usable() const;
};

/// Reads the folder's configuration, tokenizers, processor, generation settings and the headers of
/// its weights, and compares them: missing files, missing or misshapen tensors, num_query_tokens,
/// the image token, vocabulary sizes, picture sizes, beginning, end and padding ids. What cannot be
/// read becomes a finding; only a path that is no folder throws ConfigError.
INSTRUCTBLIP_EXPORT FolderReport check_folder(const std::filesystem::path& folder);

}  // namespace instructblip
