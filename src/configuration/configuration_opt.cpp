#include "instructblip/configuration/configuration_opt.h"

#include "configuration/config_io.h"

namespace instructblip {
namespace {

template <class Config, class Visitor>
void opt_fields(Config& config, Visitor& visit) {
  detail::text_fields(config, visit);
  visit("bos_token_id", config.bos_token_id);
  visit.unusual("is_encoder_decoder", config.is_encoder_decoder, false);
  visit("hidden_size", config.hidden_size);
  visit("num_hidden_layers", config.num_hidden_layers);
  visit("ffn_dim", config.ffn_dim);
  visit("max_position_embeddings", config.max_position_embeddings);
  visit("do_layer_norm_before", config.do_layer_norm_before);
  visit("_remove_final_layer_norm", config.remove_final_layer_norm);
  visit("word_embed_proj_dim", config.word_embed_proj_dim);
  visit("num_attention_heads", config.num_attention_heads);
  visit("activation_function", config.activation_function);
  visit("enable_bias", config.enable_bias);
  visit("layer_norm_elementwise_affine", config.layer_norm_elementwise_affine);
  visit("tie_word_embeddings", config.tie_word_embeddings);
  visit("dropout", config.dropout);
  visit("attention_dropout", config.attention_dropout);
  visit("layerdrop", config.layerdrop);
  visit("init_std", config.init_std);
  visit("use_cache", config.use_cache);
}

}  // namespace

void OPTConfig::read(detail::ConfigReader& reader) { opt_fields(*this, reader); }

void OPTConfig::write(detail::ConfigWriter& writer) const {
  opt_fields(*this, writer);
  writer("word_embed_proj_dim", resolved_word_embed_proj_dim());
}

void OPTConfig::check(const std::string& where) const {
  detail::check_size(where, "vocab_size", vocab_size);
  detail::check_size(where, "hidden_size", hidden_size);
  detail::check_layers(where, "num_hidden_layers", num_hidden_layers);
  detail::check_size(where, "ffn_dim", ffn_dim);
  detail::check_positions(where, "max_position_embeddings", max_position_embeddings);
  detail::check_size(where, "word_embed_proj_dim", resolved_word_embed_proj_dim());
  detail::check_size(where, "num_attention_heads", num_attention_heads);
  detail::check_divides(where, "num_attention_heads", num_attention_heads, "hidden_size",
                        hidden_size);
  detail::check_activation(where, "activation_function", activation_function);
}

}  // namespace instructblip
