#include "instructblip/configuration/configuration_t5.h"

#include "configuration/config_io.h"

namespace instructblip {
namespace {

constexpr std::string_view kGated = "gated-";

template <class Config, class Visitor>
void t5_fields(Config& config, Visitor& visit) {
  detail::text_fields(config, visit);
  visit.unusual("bos_token_id", config.bos_token_id, {});
  visit("is_encoder_decoder", config.is_encoder_decoder);
  visit("d_model", config.d_model);
  visit("d_kv", config.d_kv);
  visit("d_ff", config.d_ff);
  visit("num_layers", config.num_layers);
  visit("num_decoder_layers", config.num_decoder_layers);
  visit("num_heads", config.num_heads);
  visit("relative_attention_num_buckets", config.relative_attention_num_buckets);
  visit("relative_attention_max_distance", config.relative_attention_max_distance);
  visit("layer_norm_epsilon", config.layer_norm_epsilon);
  visit("feed_forward_proj", config.feed_forward_proj);
  visit("dense_act_fn", config.dense_act_fn);
  visit("is_gated_act", config.is_gated_act);
  visit("scale_decoder_outputs", config.scale_decoder_outputs);
  visit("is_decoder", config.is_decoder);
  visit("dropout_rate", config.dropout_rate);
  visit("initializer_factor", config.initializer_factor);
  visit("classifier_dropout", config.classifier_dropout);
  visit("use_cache", config.use_cache);
}

}  // namespace

std::string T5Config::resolved_dense_act_fn() const {
  if (dense_act_fn) return *dense_act_fn;
  if (feed_forward_proj == "gated-gelu") return "gelu_new";
  return feed_forward_proj.substr(feed_forward_proj.find('-') + 1);
}

bool T5Config::resolved_is_gated_act() const {
  return is_gated_act.value_or(feed_forward_proj.starts_with(kGated));
}

void T5Config::read(detail::ConfigReader& reader) {
  // Whether the head is tied depends on the checkpoint; this key only affects the scaling.
  if (reader.get<bool>("tie_word_embeddings") == false) scale_decoder_outputs = false;
  t5_fields(*this, reader);
  if (!num_decoder_layers) num_decoder_layers = num_layers;
  // The names that other configurations use are accepted, too.
  reader("hidden_size", d_model);
  reader("head_dim", d_kv);
  reader("num_hidden_layers", num_layers);
  reader("num_attention_heads", num_heads);
}

void T5Config::write(detail::ConfigWriter& writer) const {
  t5_fields(*this, writer);
  writer("num_decoder_layers", resolved_num_decoder_layers());
  writer("dense_act_fn", resolved_dense_act_fn());
  writer("is_gated_act", resolved_is_gated_act());
  writer("tie_word_embeddings", true);
}

void T5Config::check(const std::string& where) const {
  detail::check_size(where, "vocab_size", vocab_size);
  detail::check_size(where, "d_model", d_model);
  detail::check_size(where, "d_kv", d_kv);
  detail::check_size(where, "d_ff", d_ff);
  detail::check_size(where, "num_heads", num_heads);
  detail::check_size(where, "num_heads * d_kv", num_heads * d_kv);
  detail::check_layers(where, "num_layers", num_layers);
  detail::check_layers(where, "num_decoder_layers", resolved_num_decoder_layers());
  // Fewer buckets or a shorter distance would cause a division by zero.
  detail::check_range(where, "relative_attention_num_buckets", relative_attention_num_buckets, 4,
                      Index{1} << 20);
  detail::check_range(where, "relative_attention_max_distance", relative_attention_max_distance,
                      relative_attention_num_buckets / 2 + 1, Index{1} << 30);
  detail::check_positive(where, "layer_norm_epsilon", layer_norm_epsilon);
  const std::size_t dash = feed_forward_proj.find('-');
  if (dash != std::string::npos && (!feed_forward_proj.starts_with(kGated) ||
                                    feed_forward_proj.find('-', dash + 1) != std::string::npos)) {
    throw ConfigError(where +
                      ": \"feed_forward_proj\" must be \"NAME\" or \"gated-NAME\", found \"" +
                      feed_forward_proj + "\"");
  }
  detail::check_activation(where, dense_act_fn ? "dense_act_fn" : "feed_forward_proj",
                           resolved_dense_act_fn());
}

}  // namespace instructblip
