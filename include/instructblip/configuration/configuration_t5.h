// T5Config: the language model T5 (v1.0, v1.1 and Flan). Mirrors transformers' configuration_t5.py.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "instructblip/configuration/text_config.h"

namespace instructblip {

/// Defaults: those of transformers (google-t5/t5-small).
class INSTRUCTBLIP_EXPORT T5Config : public TextConfigOf<T5Config> {
 public:
  static constexpr std::string_view kModelType = "t5";

  /// Width of the hidden states (`hidden_size` in other configurations).
  Index d_model = 512;
  /// Width of one head; num_heads * d_kv may differ from d_model.
  Index d_kv = 64;
  /// Width inside the feed-forward layers.
  Index d_ff = 2048;
  /// Number of encoder layers.
  Index num_layers = 6;
  /// Unset: num_layers.
  std::optional<Index> num_decoder_layers;
  Index num_heads = 8;
  Index relative_attention_num_buckets = 32;
  /// All distances from here on share one bucket.
  Index relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;
  /// "relu" (v1.0), "gated-gelu" (v1.1, Flan), or in general "NAME" or "gated-NAME".
  std::string feed_forward_proj = "relu";
  /// Both take precedence over feed_forward_proj.
  std::optional<std::string> dense_act_fn;
  std::optional<bool> is_gated_act;
  /// Whether hidden states are scaled by d_model^-0.5 before the head. False if a file says
  /// `tie_word_embeddings: false` without this key. Whether the head is tied depends on the
  /// checkpoint, never on the configuration.
  bool scale_decoder_outputs = true;
  // Not used by this library; kept for saving.
  bool is_decoder = false;
  double dropout_rate = 0.1;
  double initializer_factor = 1.0;
  double classifier_dropout = 0.0;
  bool use_cache = true;

  T5Config() {
    vocab_size = 32128;
    eos_token_id = {1};
    pad_token_id = 0;
    is_encoder_decoder = true;
  }

  Index resolved_num_decoder_layers() const { return num_decoder_layers.value_or(num_layers); }
  /// "gated-gelu" means gelu_new.
  std::string resolved_dense_act_fn() const;
  bool resolved_is_gated_act() const;

  Index get_hidden_size() const override { return d_model; }
  std::optional<Index> get_max_position_embeddings() const override { return std::nullopt; }
  bool is_decoder_only() const override { return false; }

 private:
  void read(detail::ConfigReader& reader) override;
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

}  // namespace instructblip
