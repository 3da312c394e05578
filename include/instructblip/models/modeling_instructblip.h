// InstructBLIP: a vision tower, a Q-Former that reads the instruction, and a language model.
// "InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning",
// https://arxiv.org/abs/2305.06500. Mirrors transformers'
// models/instructblip/modeling_instructblip.py; the original code is LAVIS'
// blip2_vicuna_instruct.py and blip2_t5_instruct.py.
//
// This header declares the facade; image_text_to_text_model.h has most of it. Each part has its own
// header (modeling_instructblip_vision.h, modeling_instructblip_qformer.h, modeling_llama.h, ...),
// which a program that only calls the facade need not include.
#pragma once

#include <filesystem>
#include <memory>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/models/image_text_to_text_model.h"

namespace instructblip {

class InstructBlipVisionModel;
class InstructBlipQFormerModel;

using InstructBlipInputs = ImageTextToTextInputs;

/// Vision tower, Q-Former and bare language model. Immutable; copies share the weights; safe to
/// call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipModel {
 public:
  using Config = InstructBlipConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. `with_head`: also
  /// load the language model's head, which InstructBlipForConditionalGeneration needs. Throws
  /// ConfigError if the configuration is invalid.
  InstructBlipModel(const Weights& weights, const InstructBlipConfig& config,
                    bool with_head = false);
  /// Loads the folder of an InstructBlipModel or of an InstructBlipForConditionalGeneration. (For
  /// the latter, the reference leaves an OPT or LLaMA language model random.) Throws ConfigError or
  /// CheckpointError.
  static InstructBlipModel from_pretrained(const std::filesystem::path& path,
                                           const LoadOptions& options = {});

  /// Like the reference's forward, without loss and logits. Throws InputError, naming the argument,
  /// if an argument is invalid.
  InstructBlipForConditionalGenerationModelOutput forward(const InstructBlipInputs& inputs) const;

  const InstructBlipConfig& config() const;
  const InstructBlipVisionModel& vision_model() const;
  const InstructBlipQFormerModel& qformer() const;
  const LanguageModel& language_model() const;

 private:
  friend class InstructBlipForConditionalGeneration;
  explicit InstructBlipModel(std::shared_ptr<const detail::ImageTextToTextParts> parts);

  std::shared_ptr<const detail::ImageTextToTextParts> parts_;
};

/// The whole model, which generates answers. Immutable; copies share the weights; safe to call from
/// several threads.
class INSTRUCTBLIP_EXPORT InstructBlipForConditionalGeneration : public ImageTextToTextModel {
 public:
  using Config = InstructBlipConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  InstructBlipForConditionalGeneration(const Weights& weights, const InstructBlipConfig& config);
  /// Loads a checkpoint folder. Throws ConfigError, or CheckpointError that names all missing
  /// tensors. See also `load` (tasks/load.h), which loads the processor too and checks the folder.
  static InstructBlipForConditionalGeneration from_pretrained(const std::filesystem::path& path,
                                                              const LoadOptions& options = {});

  const InstructBlipConfig& config() const;
  InstructBlipModel model() const;
};

}  // namespace instructblip
