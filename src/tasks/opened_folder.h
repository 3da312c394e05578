// The check of a folder whose parts may be loaded already.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/tasks/folder_check.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip::detail {

/// Where the check takes a folder's parts from; an Error that a function throws is a finding.
struct FolderSource {
  std::function<std::unique_ptr<ImageTextToTextConfig>()> config;
  std::function<std::shared_ptr<const Checkpoint>()> checkpoint;
  /// As in the folder: without the image token that the processor may add.
  std::function<std::unique_ptr<Tokenizer>()> tokenizer;
  /// Not called if there is no folder qformer_tokenizer or the Q-Former reads no text.
  std::function<std::unique_ptr<Tokenizer>()> qformer_tokenizer;
};

/// check_folder with the parts from `source`.
FolderReport check_opened_folder(const std::filesystem::path& folder, const FolderSource& source);

}  // namespace instructblip::detail
