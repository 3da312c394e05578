// The check of a folder whose checkpoint may be open already.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/tasks/folder_check.h"

namespace instructblip::detail {

/// check_folder with the checkpoint that `open` returns; an Error that it throws is a finding.
FolderReport check_opened_folder(const std::filesystem::path& folder,
                                 const std::function<std::shared_ptr<const Checkpoint>()>& open);

}  // namespace instructblip::detail
