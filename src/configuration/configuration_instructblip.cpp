#include "instructblip/configuration/configuration_instructblip.h"

#include "configuration/config_io.h"

namespace instructblip {
namespace {

// Fields of both the vision tower and the Q-Former.
template <class Config, class Visitor>
void encoder_fields(Config& config, Visitor& visit) {
  visit("hidden_size", config.hidden_size);
  visit("intermediate_size", config.intermediate_size);
  visit("num_hidden_layers", config.num_hidden_layers);
  visit("num_attention_heads", config.num_attention_heads);
  visit("hidden_act", config.hidden_act);
  visit("layer_norm_eps", config.layer_norm_eps);
  visit("initializer_range", config.initializer_range);
}

template <class Config>
void check_encoder(const std::string& where, const Config& config) {
  detail::check_size(where, "hidden_size", config.hidden_size);
  detail::check_size(where, "intermediate_size", config.intermediate_size);
  detail::check_layers(where, "num_hidden_layers", config.num_hidden_layers);
  detail::check_size(where, "num_attention_heads", config.num_attention_heads);
  detail::check_divides(where, "num_attention_heads", config.num_attention_heads, "hidden_size",
                        config.hidden_size);
  detail::check_activation(where, "hidden_act", config.hidden_act);
  detail::check_positive(where, "layer_norm_eps", config.layer_norm_eps);
}

template <class Config, class Visitor>
void vision_fields(Config& config, Visitor& visit) {
  encoder_fields(config, visit);
  visit("qkv_bias", config.qkv_bias);
  visit("attention_dropout", config.attention_dropout);
}

template <class Config, class Visitor>
void qformer_fields(Config& config, Visitor& visit) {
  encoder_fields(config, visit);
  visit("vocab_size", config.vocab_size);
  visit("max_position_embeddings", config.max_position_embeddings);
  visit("pad_token_id", config.pad_token_id);
  visit("cross_attention_frequency", config.cross_attention_frequency);
  visit("encoder_hidden_size", config.encoder_hidden_size);
  visit("hidden_dropout_prob", config.hidden_dropout_prob);
  visit("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
}

// A height and width in pixels: one number or a pair of equal numbers.
void read_side(detail::ConfigReader& reader, const char* key, Index& value) {
  const auto found = reader.find(key);
  if (!found) return;
  if (!found->is_list()) {
    value = found->as<Index>();
    return;
  }
  const auto sides = found->as<std::vector<Index>>();
  if (sides.size() != 2 || sides[0] != sides[1]) {
    found->expected("a whole number or a pair of equal numbers");
  }
  value = sides[0];
}

}  // namespace

void InstructBlipVisionConfig::read(detail::ConfigReader& reader) {
  vision_fields(*this, reader);
  read_side(reader, "image_size", image_size);
  read_side(reader, "patch_size", patch_size);
}

void InstructBlipVisionConfig::write(detail::ConfigWriter& writer) const {
  vision_fields(*this, writer);
  writer("image_size", image_size);
  writer("patch_size", patch_size);
}

void InstructBlipVisionConfig::check(const std::string& where) const {
  check_encoder(where, *this);
  detail::check_range(where, "image_size", image_size, 1, 1 << 16);
  detail::check_range(where, "patch_size", patch_size, 1, image_size);
}

void InstructBlipQFormerConfig::read(detail::ConfigReader& reader) {
  qformer_fields(*this, reader);
}

void InstructBlipQFormerConfig::write(detail::ConfigWriter& writer) const {
  qformer_fields(*this, writer);
}

void InstructBlipQFormerConfig::check(const std::string& where) const {
  check_encoder(where, *this);
  detail::check_size(where, "vocab_size", vocab_size);
  detail::check_positions(where, "max_position_embeddings", max_position_embeddings);
  detail::check_size(where, "cross_attention_frequency", cross_attention_frequency);
  detail::check_size(where, "encoder_hidden_size", encoder_hidden_size);
}

InstructBlipConfig InstructBlipConfig::from_vision_qformer_text_configs(
    const InstructBlipVisionConfig& vision_config, const InstructBlipQFormerConfig& qformer_config,
    const TextConfigHolder& text_config) {
  InstructBlipConfig config;
  config.vision_config = vision_config;
  config.qformer_config = qformer_config;
  config.qformer_config.encoder_hidden_size = vision_config.hidden_size;
  config.text_config = text_config;
  config.validate();
  return config;
}

void InstructBlipConfig::read(detail::ConfigReader& reader) {
  read_all(reader, vision_config, qformer_config);
}

}  // namespace instructblip
