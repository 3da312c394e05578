// OPTConfig: the language model OPT. Mirrors transformers' configuration_opt.py.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "instructblip/configuration/text_config.h"

namespace instructblip {

/// Defaults: those of transformers (facebook/opt-125m).
class INSTRUCTBLIP_EXPORT OPTConfig : public TextConfigOf<OPTConfig> {
 public:
  static constexpr std::string_view kModelType = "opt";

  Index hidden_size = 768;
  Index num_hidden_layers = 12;
  /// Width inside the feed-forward layers.
  Index ffn_dim = 3072;
  /// Maximum sequence length; the position table has two more rows.
  Index max_position_embeddings = 2048;
  /// Whether layer norms precede attention and feed-forward (most sizes) or follow them (opt-350m).
  bool do_layer_norm_before = true;
  /// `_remove_final_layer_norm`: true for checkpoints without the final layer norm (before
  /// transformers 4.20).
  bool remove_final_layer_norm = false;
  /// Width of the embedding table if it differs from hidden_size (opt-350m).
  std::optional<Index> word_embed_proj_dim;
  Index num_attention_heads = 12;
  std::string activation_function = "relu";
  /// Whether the linear layers have biases.
  bool enable_bias = true;
  /// Whether the layer norms have weights.
  bool layer_norm_elementwise_affine = true;
  // Not used by this library; kept for saving.
  double dropout = 0.1;
  double attention_dropout = 0.0;
  double layerdrop = 0.0;
  double init_std = 0.02;
  bool use_cache = true;

  OPTConfig() {
    vocab_size = 50272;
    bos_token_id = 2;
    eos_token_id = {2};
    pad_token_id = 1;
  }

  Index resolved_word_embed_proj_dim() const { return word_embed_proj_dim.value_or(hidden_size); }

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
