// LlamaConfig: the language model LLaMA (Vicuna). Mirrors transformers' configuration_llama.py.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "instructblip/configuration/rope_parameters.h"
#include "instructblip/configuration/text_config.h"

namespace instructblip {

/// Defaults: those of transformers (LLaMA-7B).
class INSTRUCTBLIP_EXPORT LlamaConfig : public TextConfigOf<LlamaConfig> {
 public:
  static constexpr std::string_view kModelType = "llama";

  Index hidden_size = 4096;
  /// Width inside the feed-forward layers.
  Index intermediate_size = 11008;
  Index num_hidden_layers = 32;
  Index num_attention_heads = 32;
  /// If less than num_attention_heads, several query heads share a key-value head. Unset:
  /// num_attention_heads.
  std::optional<Index> num_key_value_heads;
  /// Width of one head. Unset: hidden_size / num_attention_heads.
  std::optional<Index> head_dim;
  /// Activation function of the gate.
  std::string hidden_act = "silu";
  Index max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  RopeParameters rope_parameters;
  /// Whether the q, k, v and o projections have biases.
  bool attention_bias = false;
  /// Whether the gate, up and down projections have biases.
  bool mlp_bias = false;
  // Not used by this library; kept for saving.
  double initializer_range = 0.02;
  std::optional<double> attention_dropout = 0.0;
  std::optional<Index> pretraining_tp = 1;
  bool use_cache = true;

  LlamaConfig() {
    vocab_size = 32000;
    bos_token_id = 1;
    eos_token_id = {2};
    tie_word_embeddings = false;
  }

  Index resolved_num_key_value_heads() const {
    return num_key_value_heads.value_or(num_attention_heads);
  }
  Index resolved_head_dim() const {
    return head_dim.value_or(num_attention_heads > 0 ? hidden_size / num_attention_heads : 0);
  }

  Index get_hidden_size() const override { return hidden_size; }
  std::optional<Index> get_max_position_embeddings() const override {
    return max_position_embeddings;
  }
  bool is_decoder_only() const override { return true; }

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

}  // namespace instructblip
