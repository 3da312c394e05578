#include "instructblip/core/quantization.h"

#include <charconv>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

constexpr Quantization kInt8{.bits = 8};
constexpr Quantization kW8A8{.bits = 8, .activation_bits = 8};
constexpr Quantization kInt4{.bits = 4, .group_size = 128};

[[noreturn]] void fail(std::string_view name) {
  throw InputError(
      "weights \"" + std::string(name) +
      "\": expected none, int8, int4, w8a8, or parts such as "
      "vision=int8,qformer=none,language=int4-g32,head=int8 (groups of 32, 64, 128, 256, 512 or "
      "1024 inputs; -zero: with zero points)");
}

// "none", "int8", "w8a8", "int4", "int4-g32" or "int4-g32-zero".
std::optional<Quantization> scheme_named(std::string_view scheme, std::string_view whole) {
  if (scheme == "none") return std::nullopt;
  if (scheme == "int8") return kInt8;
  if (scheme == "w8a8") return kW8A8;
  if (!scheme.starts_with("int4")) fail(whole);
  scheme.remove_prefix(4);
  Quantization result = kInt4;
  if (scheme.starts_with("-g")) {
    const char* const end = scheme.data() + scheme.size();
    const auto [rest, error] = std::from_chars(scheme.data() + 2, end, result.group_size);
    const Index size = result.group_size;
    if (error != std::errc() || size < 32 || size > 1024 || (size & (size - 1)) != 0) fail(whole);
    scheme = std::string_view(rest, static_cast<std::size_t>(end - rest));
  }
  if (scheme == "-zero") {
    result.symmetric = false;
  } else if (!scheme.empty()) {
    fail(whole);
  }
  return result;
}

}  // namespace

QuantizationRecipe quantization_recipe(std::string_view name) {
  if (name == "none") return {};
  if (name == "int8") return {.vision_model = kInt8, .language_model = kInt8};
  if (name == "w8a8") return {.vision_model = kW8A8, .language_model = kInt8};
  if (name == "int4") {
    return {.vision_model = kInt8, .language_model = kInt4, .lm_head = kInt8};
  }
  QuantizationRecipe recipe;
  std::string_view rest = name;
  while (true) {
    const std::string_view part = rest.substr(0, rest.find(','));
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) fail(name);
    const std::optional<Quantization> scheme = scheme_named(part.substr(equals + 1), name);
    const std::string_view which = part.substr(0, equals);
    if (which == "vision") {
      recipe.vision_model = scheme;
    } else if (which == "qformer") {
      recipe.qformer = scheme;
    } else if (which == "language") {
      recipe.language_model = scheme;
    } else if (which == "head") {
      recipe.lm_head = scheme;
    } else {
      fail(name);
    }
    if (part.size() == rest.size()) return recipe;
    rest.remove_prefix(part.size() + 1);
  }
}

std::string to_string(const std::optional<Quantization>& quantization) {
  if (!quantization) return "none";
  if (quantization->activation_bits == 8) return "w8a8";
  std::string name = quantization->codebook.empty() ? "int" + std::to_string(quantization->bits)
                                                    : std::string(quantization->codebook);
  if (quantization->group_size != 0) name += "-g" + std::to_string(quantization->group_size);
  if (!quantization->symmetric) name += "-zero";
  return name;
}

std::string to_string(const QuantizationRecipe& recipe) {
  std::string name;
  const auto add = [&](const char* part, const std::optional<Quantization>& quantization) {
    if (quantization)
      name += (name.empty() ? "" : ",") + std::string(part) + to_string(quantization);
  };
  add("vision=", recipe.vision_model);
  add("qformer=", recipe.qformer);
  add("language=", recipe.language_model);
  add("head=", recipe.lm_head);
  return name.empty() ? "none" : name;
}

}  // namespace instructblip
