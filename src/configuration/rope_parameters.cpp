#include "instructblip/configuration/rope_parameters.h"

#include "configuration/config_io.h"

namespace instructblip {
namespace {

// longrope: one factor per pair of columns of a head.
void check_factors(const std::string& place, const char* key, const std::vector<double>& factors,
                   Index head_dim) {
  if (factors.empty()) {
    throw ConfigError(place + ": \"" + key + "\" is missing; rope_type \"longrope\" needs it");
  }
  if (std::ssize(factors) != head_dim / 2) {
    throw ConfigError(place + ": \"" + key + "\" must have " + std::to_string(head_dim / 2) +
                      " numbers (head_dim / 2), found " + std::to_string(factors.size()));
  }
  for (const double factor : factors) detail::check_positive(place, key, factor);
}

}  // namespace

bool detail::has_original_length(std::string_view rope_type) {
  return rope_type == "llama3" || rope_type == "yarn" || rope_type == "longrope";
}

void RopeParameters::check(const std::string& where, Index head_dim,
                           Index max_position_embeddings) const {
  detail::check_size(where, "head_dim", head_dim);
  if (head_dim % 2 != 0) {
    throw ConfigError(where +
                      ": \"head_dim\" must be even, because RoPE rotates pairs of columns; found " +
                      std::to_string(head_dim));
  }
  detail::check_positions(where, "max_position_embeddings", max_position_embeddings);
  const std::string place = where + ": rope_parameters";
  if (rope_type != "default" && rope_type != "linear" && rope_type != "dynamic" &&
      !detail::has_original_length(rope_type)) {
    throw ConfigError(place + ": \"rope_type\" must be one of default, linear, dynamic, yarn, " +
                      "longrope, llama3; found \"" + rope_type + "\"");
  }
  detail::check_positive(place, "rope_theta", rope_theta);
  if (rope_type == "default") return;
  const auto need = [&](const char* key, const std::optional<double>& value) {
    if (!value) {
      throw ConfigError(place + ": \"" + key + "\" is missing; rope_type \"" + rope_type +
                        "\" needs it");
    }
    detail::check_positive(place, key, *value);
  };
  if (rope_type != "longrope" || factor) need("factor", factor);
  // The reference ignores it for "default" and fails for the other types.
  const auto partial = other.find("partial_rotary_factor");
  if (partial != other.end() && parse_json(partial->second, place) != Json(1.0)) {
    throw ConfigError(place + ": \"partial_rotary_factor\" must be 1, found " + partial->second);
  }
  if (!detail::has_original_length(rope_type)) return;
  if (original_max_position_embeddings) {
    detail::check_positions(place, "original_max_position_embeddings",
                            *original_max_position_embeddings);
  }
  if (rope_type == "yarn") {
    // 0 means the default, as in the reference.
    if (beta_fast && *beta_fast != 0) need("beta_fast", beta_fast);
    if (beta_slow && *beta_slow != 0) need("beta_slow", beta_slow);
  }
  if (rope_type == "longrope") {
    check_factors(place, "short_factor", short_factor, head_dim);
    check_factors(place, "long_factor", long_factor, head_dim);
  }
  if (rope_type != "llama3") return;
  need("low_freq_factor", low_freq_factor);
  need("high_freq_factor", high_freq_factor);
  if (*high_freq_factor == *low_freq_factor) {
    throw ConfigError(place + ": \"low_freq_factor\" and \"high_freq_factor\" must differ");
  }
}

}  // namespace instructblip
