// load: a checkpoint folder in one call.
#pragma once

#include <filesystem>

#include "instructblip/core/export.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_instructblip.h"
#include "instructblip/processing/processing_instructblip.h"

namespace instructblip {

/// A checkpoint folder's processor and model.
struct InstructBlip {
  InstructBlipProcessor processor;
  InstructBlipForConditionalGeneration model;
};

/// Loads both parts of a checkpoint folder, checks the folder once (`check_folder`; findings are
/// logged as warnings) and settles what its files disagree about where one meaning is evident:
/// answers also end at the tokenizer's end of text where text_config names another (the hub's
/// Vicuna folders). `from_pretrained` of the parts does neither, like the reference. Throws
/// ConfigError, TokenizerError or CheckpointError, naming the file.
INSTRUCTBLIP_EXPORT InstructBlip load(const std::filesystem::path& folder,
                                      const LoadOptions& options = {});

}  // namespace instructblip
