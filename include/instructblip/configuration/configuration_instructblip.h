// InstructBlipConfig and its parts. Mirrors transformers' configuration_instructblip.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/configuration/pretrained_config.h"
#include "instructblip/configuration/text_config.h"

namespace instructblip {

/// The vision tower, a ViT. Defaults: that of Salesforce/instructblip-flan-t5-xl.
class INSTRUCTBLIP_EXPORT InstructBlipVisionConfig : public ConfigOf<InstructBlipVisionConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblip_vision_model";
  static constexpr std::string_view kSection = "vision_config";

  Index hidden_size = 1408;
  /// Width inside the feed-forward layers.
  Index intermediate_size = 6144;
  Index num_hidden_layers = 39;
  Index num_attention_heads = 16;
  /// Pixels of a side of the (square) picture.
  Index image_size = 224;
  /// Pixels of a side of one patch.
  Index patch_size = 14;
  std::string hidden_act = "gelu";
  double layer_norm_eps = 1e-6;
  /// Whether the joint projection to query, key and value has a bias.
  bool qkv_bias = true;
  // Not used here; kept for the file.
  double attention_dropout = 0.0;
  double initializer_range = 1e-10;

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

/// The Q-Former: a BERT whose queries look at the picture, given the instruction. Defaults: the
/// reference's.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerConfig : public ConfigOf<InstructBlipQFormerConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblip_qformer";
  static constexpr std::string_view kSection = "qformer_config";

  /// Words of the Q-Former's own tokenizer.
  Index vocab_size = 30522;
  Index hidden_size = 768;
  Index num_hidden_layers = 12;
  Index num_attention_heads = 12;
  /// Width inside the feed-forward layers.
  Index intermediate_size = 3072;
  std::string hidden_act = "gelu";
  /// Longest instruction, in ids.
  Index max_position_embeddings = 512;
  double layer_norm_eps = 1e-12;
  std::optional<std::int64_t> pad_token_id = 0;
  /// Every n-th layer, from the first on, has cross-attention to the picture.
  Index cross_attention_frequency = 2;
  /// Width of the vision tower's states. Inside an InstructBlipConfig always vision_config's.
  Index encoder_hidden_size = 1408;
  // Not used here; kept for the file.
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  double initializer_range = 0.02;

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

/// The whole model. Defaults: the reference's, with default parts.
class INSTRUCTBLIP_EXPORT InstructBlipConfig : public ConfigOf<InstructBlipConfig> {
 public:
  static constexpr std::string_view kModelType = "instructblip";

  InstructBlipVisionConfig vision_config;
  InstructBlipQFormerConfig qformer_config;
  /// OPT where a file does not say.
  TextConfigHolder text_config{OPTConfig()};
  /// Query tokens of the Q-Former: what one picture becomes in the prompt.
  Index num_query_tokens = 32;
  /// The id whose places in the prompt the image features take. `image_token_id` in a file is the
  /// same attribute and wins. Unset in checkpoints from before transformers 4.46.
  std::optional<std::int64_t> image_token_index;
  // Not used here; kept for the file.
  double initializer_factor = 1.0;
  double initializer_range = 0.02;

  /// The parts put together; the Q-Former's encoder_hidden_size follows the vision tower.
  static InstructBlipConfig from_vision_qformer_text_configs(
      const InstructBlipVisionConfig& vision_config,
      const InstructBlipQFormerConfig& qformer_config, const TextConfigHolder& text_config);

  /// Follows from the kind of language model, whatever a file says.
  bool use_decoder_only_language_model() const { return text_config->is_decoder_only(); }

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

}  // namespace instructblip
