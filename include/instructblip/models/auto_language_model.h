// AutoLanguageModel: creates the language model that a configuration names, like transformers'
// AutoModelForCausalLM and AutoModelForSeq2SeqLM.
//
// A new language model is one header in models/ that implements generation/language_model.h, and
// one line in src/models/auto_language_model.cpp. Its configuration class is registered by one line
// in src/configuration/text_config.cpp.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/configuration/text_config.h"
#include "instructblip/core/export.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/models/loading.h"

namespace instructblip {

struct INSTRUCTBLIP_EXPORT AutoLanguageModel {
  /// Creates the model that `config` describes from the tensors below `weights`. The caller must
  /// call `weights.finish()`. Without a head, as in InstructBlipModel, the model computes no logits
  /// and reads a checkpoint with or without a head. Throws ConfigError if the model_type is
  /// unknown.
  static std::unique_ptr<LanguageModel> from_config(const Weights& weights,
                                                    const TextConfig& config,
                                                    bool with_head = true);
  /// Loads the language model's own folder, or its part of an InstructBLIP checkpoint. Throws
  /// ConfigError or CheckpointError.
  static std::unique_ptr<LanguageModel> from_pretrained(const std::filesystem::path& path,
                                                        const LoadOptions& options = {});
  /// The known values of model_type: "llama", "opt", "t5".
  static std::vector<std::string> model_types();
};

}  // namespace instructblip
