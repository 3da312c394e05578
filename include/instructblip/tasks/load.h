// load: a checkpoint folder's processor and model in one call.
#pragma once

#include <filesystem>

#include "instructblip/core/export.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_instructblip.h"
#include "instructblip/processing/processing_instructblip.h"

namespace instructblip {

/// A checkpoint folder's processor and model, of InstructBLIP, InstructBLIP-Video or BLIP-2.
struct InstructBlip {
  ImageTextToTextProcessor processor;
  ImageTextToTextModel model;
};

/// Loads the processor and the model from a checkpoint folder, of the classes that belong to the
/// model_type in its config.json. Checks the folder once with
/// `check_folder` and logs its findings as warnings. Answers end at the tokenizer's end of text as
/// well as at text_config's, which differ in the hub's Vicuna checkpoints. The `from_pretrained`
/// functions of the parts do neither, like those of the reference. `tokenizer` is for the language
/// model's tokenizer. Throws ConfigError, TokenizerError or CheckpointError, naming the file; a
/// folder of another family is refused by its name.
INSTRUCTBLIP_EXPORT InstructBlip load(const std::filesystem::path& folder,
                                      const LoadOptions& options = {},
                                      const TokenizerOptions& tokenizer = {});

}  // namespace instructblip
