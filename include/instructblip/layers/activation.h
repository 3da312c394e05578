// The reference's names of activation functions (transformers' ACT2FN).
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "instructblip/configuration/pretrained_config.h"
#include "instructblip/core/error.h"
#include "instructblip/kernels/kernels.h"

namespace instructblip {

/// "gelu" -> Activation::Gelu. Throws ConfigError that lists the known names; `key` is the
/// configuration's key, for the message.
inline Activation activation_from_name(std::string_view name, std::string_view key = "hidden_act") {
  static constexpr std::array<std::pair<std::string_view, Activation>, 12> kKnown{{
      {"gelu", Activation::Gelu},
      {"gelu_python", Activation::Gelu},
      {"gelu_new", Activation::GeluTanh},
      {"gelu_fast", Activation::GeluTanh},
      {"gelu_accurate", Activation::GeluTanh},
      {"gelu_pytorch_tanh", Activation::GeluTanh},
      {"gelu_python_tanh", Activation::GeluTanh},
      {"quick_gelu", Activation::QuickGelu},
      {"relu", Activation::Relu},
      {"silu", Activation::Silu},
      {"swish", Activation::Silu},
      {"linear", Activation::None},
  }};
  for (const auto& [candidate, activation] : kKnown) {
    if (candidate == name) return activation;
  }
  std::string names;
  for (const std::string_view candidate : activation_names()) {
    names += (names.empty() ? "" : ", ") + std::string(candidate);
  }
  throw ConfigError(std::string(key) + " is \"" + std::string(name) + "\", expected one of " +
                    names);
}

}  // namespace instructblip
