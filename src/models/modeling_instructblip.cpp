#include "instructblip/models/modeling_instructblip.h"

#include <utility>

#include "instructblip/models/modeling_instructblip_qformer.h"
#include "models/instructed_parts.h"

namespace instructblip {
namespace {

using InstructBlipParts = detail::InstructedPartsOf<InstructBlipConfig, InstructBlipVisionModel,
                                                    InstructBlipQFormerModel>;

const InstructBlipParts& own(const std::shared_ptr<const detail::ImageTextToTextParts>& parts) {
  return dynamic_cast<const InstructBlipParts&>(*parts);
}

}  // namespace

InstructBlipModel::InstructBlipModel(const Weights& weights, const InstructBlipConfig& config,
                                     bool with_head)
    : parts_(std::make_shared<const InstructBlipParts>(weights, config, with_head)) {}

InstructBlipModel::InstructBlipModel(std::shared_ptr<const detail::ImageTextToTextParts> parts)
    : parts_(std::move(parts)) {}

InstructBlipModel InstructBlipModel::from_pretrained(const std::filesystem::path& path,
                                                     const LoadOptions& options) {
  auto model = detail::load_model<InstructBlipModel>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

InstructBlipForConditionalGenerationModelOutput InstructBlipModel::forward(
    const InstructBlipInputs& inputs) const {
  return parts_->forward_without_logits(inputs);
}

const InstructBlipConfig& InstructBlipModel::config() const { return own(parts_).own_config; }
const InstructBlipVisionModel& InstructBlipModel::vision_model() const {
  return own(parts_).vision;
}
const InstructBlipQFormerModel& InstructBlipModel::qformer() const { return own(parts_).qformer; }
const LanguageModel& InstructBlipModel::language_model() const { return *parts_->language_model; }

InstructBlipForConditionalGeneration::InstructBlipForConditionalGeneration(
    const Weights& weights, const InstructBlipConfig& config)
    : ImageTextToTextModel(std::make_shared<const InstructBlipParts>(weights, config, true)) {}

InstructBlipForConditionalGeneration InstructBlipForConditionalGeneration::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  auto model = detail::load_model<InstructBlipForConditionalGeneration>(path, options, {""}, "");
  detail::warn_if_legacy(model.config());
  return model;
}

const InstructBlipConfig& InstructBlipForConditionalGeneration::config() const {
  return own(parts_).own_config;
}
InstructBlipModel InstructBlipForConditionalGeneration::model() const {
  return InstructBlipModel(parts_);
}

}  // namespace instructblip
