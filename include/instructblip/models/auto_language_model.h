// The language models by the kind that a configuration names, as transformers'
// AutoModelForCausalLM and AutoModelForSeq2SeqLM.
//
// A new one is a file that implements generation/language_model.h and one line in
// src/models/auto_language_model.cpp.
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
  /// The model that `config` describes, from the tensors below `weights`; whoever made those calls
  /// `finish`. Without a head (`InstructBlipModel`) it gives no logits, and reads a checkpoint of
  /// the bare model as well as one with a head. Throws ConfigError for a kind that is not known.
  static std::unique_ptr<LanguageModel> from_config(const Weights& weights,
                                                    const TextConfig& config,
                                                    bool with_head = true);
  /// From its own folder or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static std::unique_ptr<LanguageModel> from_pretrained(const std::filesystem::path& path,
                                                        const LoadOptions& options = {});
  /// The kinds that are known: "llama", "opt", "t5".
  static std::vector<std::string> model_types();
};

}  // namespace instructblip
