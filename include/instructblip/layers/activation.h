// Activation functions by name (transformers' ACT2FN). In the comments of this folder, the
// reference is transformers 5.24.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "instructblip/configuration/pretrained_config.h"
#include "instructblip/core/error.h"
#include "instructblip/kernels/kernels.h"

namespace instructblip {

/// "gelu" -> Activation::Gelu. Throws ConfigError, listing the known names, if the name is unknown;
/// the message names `key`, the configuration key.
inline Activation activation_from_name(std::string_view name, std::string_view key = "hidden_act") {
  static constexpr std::pair<std::string_view, Activation> kFunctions[] = {
      {"gelu", Activation::Gelu}, {"gelu_new", Activation::GeluTanh},
      {"relu", Activation::Relu}, {"quick_gelu", Activation::QuickGelu},
      {"silu", Activation::Silu}, {"linear", Activation::None},
  };
  const std::string_view function = activation_function(name, key);
  for (const auto& [candidate, activation] : kFunctions) {
    if (candidate == function) return activation;
  }
  throw ConfigError("no kernel computes the activation " + std::string(function));
}

}  // namespace instructblip
