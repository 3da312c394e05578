#include "instructblip/configuration/configuration_llama.h"

#include "configuration/config_io.h"

namespace instructblip {
namespace {

template <class Config, class Visitor>
void llama_fields(Config& config, Visitor& visit) {
  detail::text_fields(config, visit);
  visit("bos_token_id", config.bos_token_id);
  visit.unusual("is_encoder_decoder", config.is_encoder_decoder, false);
  visit("hidden_size", config.hidden_size);
  visit("intermediate_size", config.intermediate_size);
  visit("num_hidden_layers", config.num_hidden_layers);
  visit("num_attention_heads", config.num_attention_heads);
  visit("num_key_value_heads", config.num_key_value_heads);
  visit("head_dim", config.head_dim);
  visit("hidden_act", config.hidden_act);
  visit("max_position_embeddings", config.max_position_embeddings);
  visit("rms_norm_eps", config.rms_norm_eps);
  visit("attention_bias", config.attention_bias);
  visit("mlp_bias", config.mlp_bias);
  visit("tie_word_embeddings", config.tie_word_embeddings);
  visit("initializer_range", config.initializer_range);
  visit("attention_dropout", config.attention_dropout);
  visit("pretraining_tp", config.pretraining_tp);
  visit("use_cache", config.use_cache);
}

template <class Rope, class Visitor>
void rope_fields(Rope& rope, Visitor& visit) {
  visit.unusual("factor", rope.factor, {});
  visit.unusual("low_freq_factor", rope.low_freq_factor, {});
  visit.unusual("high_freq_factor", rope.high_freq_factor, {});
  visit.unusual("original_max_position_embeddings", rope.original_max_position_embeddings, {});
  visit.unusual("attention_factor", rope.attention_factor, {});
  visit.unusual("beta_fast", rope.beta_fast, {});
  visit.unusual("beta_slow", rope.beta_slow, {});
  visit.unusual("mscale", rope.mscale, {});
  visit.unusual("mscale_all_dim", rope.mscale_all_dim, {});
  visit.unusual("truncate", rope.truncate, true);
  visit.unusual("short_factor", rope.short_factor, {});
  visit.unusual("long_factor", rope.long_factor, {});
}

// rope_scaling (older files) takes precedence over rope_parameters, and the rope_theta inside
// either over the top-level one.
RopeParameters read_rope(detail::ConfigReader& config, Index max_position_embeddings) {
  RopeParameters rope;
  rope.rope_theta = config.get<double>("rope_theta").value_or(rope.rope_theta);
  const std::optional<double> partial = config.get<double>("partial_rotary_factor");
  const auto scaling = config.find("rope_scaling"), parameters = config.find("rope_parameters");
  const bool is_older = scaling && !scaling->json().empty();
  bool null_factor = false;
  if (is_older || (parameters && !parameters->is_null())) {
    detail::ConfigReader reader(is_older ? *scaling : *parameters);
    const auto older_type = reader.get<std::string>("type");
    if (older_type) rope.other["type"] = Json(*older_type).dump();
    rope.rope_type =
        reader.get<std::string>("rope_type").value_or(older_type.value_or(rope.rope_type));
    rope.rope_theta = reader.get<double>("rope_theta").value_or(rope.rope_theta);
    rope_fields(rope, reader);
    null_factor = !rope.factor && reader.find("factor");
    rope.other.merge(reader.unread());
  }
  if (partial) rope.other.emplace("partial_rotary_factor", Json(*partial).dump());
  if (detail::has_original_length(rope.rope_type)) {
    if (config.json().has("original_max_position_embeddings")) {
      rope.original_max_position_embeddings = config.get<Index>("original_max_position_embeddings");
    } else if (!rope.original_max_position_embeddings) {
      rope.original_max_position_embeddings = max_position_embeddings;
    }
  }
  // A null factor stands for the ratio of the lengths. A missing one is an error, as in the
  // reference.
  const Index original = rope.original_max_position_embeddings.value_or(0);
  if (rope.rope_type == "yarn" && null_factor && original > 0) {
    rope.factor = static_cast<double>(max_position_embeddings) / static_cast<double>(original);
  }
  return rope;
}

}  // namespace

void LlamaConfig::read(detail::ConfigReader& reader) {
  llama_fields(*this, reader);
  rope_parameters = read_rope(reader, max_position_embeddings);
}

void LlamaConfig::write(detail::ConfigWriter& writer) const {
  llama_fields(*this, writer);
  writer("head_dim", resolved_head_dim());
  writer("num_key_value_heads", resolved_num_key_value_heads());
  detail::ConfigWriter rope;
  rope("rope_type", rope_parameters.rope_type);
  rope("rope_theta", rope_parameters.rope_theta);
  rope_fields(rope_parameters, rope);
  rope.keep(rope_parameters.other);
  writer("rope_parameters", rope.json());
}

void LlamaConfig::check(const std::string& where) const {
  detail::check_size(where, "vocab_size", vocab_size);
  detail::check_size(where, "hidden_size", hidden_size);
  detail::check_size(where, "intermediate_size", intermediate_size);
  detail::check_layers(where, "num_hidden_layers", num_hidden_layers);
  detail::check_size(where, "num_attention_heads", num_attention_heads);
  const Index key_value_heads = resolved_num_key_value_heads();
  detail::check_size(where, "num_key_value_heads", key_value_heads);
  detail::check_divides(where, "num_key_value_heads", key_value_heads, "num_attention_heads",
                        num_attention_heads);
  detail::check_divides(where, "num_attention_heads", num_attention_heads, "hidden_size",
                        hidden_size);
  detail::check_size(where, "head_dim", resolved_head_dim());
  detail::check_size(where, "num_attention_heads * head_dim",
                     num_attention_heads * resolved_head_dim());
  detail::check_positive(where, "rms_norm_eps", rms_norm_eps);
  detail::check_activation(where, "hidden_act", hidden_act);
  rope_parameters.check(where, resolved_head_dim(), max_position_embeddings);
}

}  // namespace instructblip
