#include "instructblip/generation/generation_config.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <type_traits>
#include <utility>

#include "core/json_reader.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip {
namespace {

[[noreturn]] void wrong_type(const std::string& where, const std::string& expected,
                             const Json& found) {
  throw ConfigError(where + ": expected " + expected + ", found " + found.dump().substr(0, 200));
}

template <class T>
void read(const Json& json, T& value, const std::string& where);
template <class T>
void read(const Json& json, std::vector<T>& value, const std::string& where);
void read(const Json& json, SequenceBias& value, const std::string& where);

template <class T>
void read_number(const Json& json, T& value, const std::string& where) {
  if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) wrong_type(where, "true or false", json);
    value = json.get<bool>();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!json.is_number()) wrong_type(where, "a number", json);
    value = json.get<T>();
  } else {
    bool fits = false;
    if (json.is_number_float()) {  // some files hold whole numbers as 20.0
      constexpr double kExact = 9007199254740992.0;
      const double number = json.get<double>();
      fits = std::trunc(number) == number && std::fabs(number) < kExact &&
             (std::is_signed_v<T> || number >= 0);
    } else if (json.is_number_unsigned()) {
      fits = std::in_range<T>(json.get<std::uint64_t>());
    } else if (json.is_number_integer()) {
      fits = std::in_range<T>(json.get<std::int64_t>());
    }
    if (!fits) wrong_type(where, "a whole number", json);
    value = json.get<T>();
  }
}

void read(const Json& json, std::string& value, const std::string& where) {
  if (!json.is_string()) wrong_type(where, "a text", json);
  value = json.get<std::string>();
}

template <class T>
void read(const Json& json, std::vector<T>& value, const std::string& where) {
  value.clear();
  if constexpr (std::is_same_v<T, std::string>) {
    if (json.is_string()) {
      value.push_back(json.get<std::string>());
      return;
    }
  }
  if (!json.is_array()) wrong_type(where, "a list", json);
  for (std::size_t i = 0; i < json.size(); ++i) {
    read(json[i], value.emplace_back(), where + "[" + std::to_string(i) + "]");
  }
}

void read(const Json& json, EarlyStopping& value, const std::string& where) {
  if (json.is_boolean()) {
    value = json.get<bool>();
  } else if (json == "never") {
    value = "never";
  } else {
    wrong_type(where, "true, false or \"never\"", json);
  }
}

void read(const Json& json, TokenIds& value, const std::string& where) {
  std::vector<std::int64_t> ids;
  if (json.is_array()) {
    read(json, ids, where);
  } else {
    read_number(json, ids.emplace_back(), where);
  }
  value = std::move(ids);
}

void read(const Json& json, ExponentialDecay& value, const std::string& where) {
  if (!json.is_array() || json.size() != 2) wrong_type(where, "[start index, decay factor]", json);
  read_number(json[0], value.start_index, where + "[0]");
  read_number(json[1], value.decay_factor, where + "[1]");
}

void read(const Json& json, SequenceBias& value, const std::string& where) {
  if (!json.is_array() || json.size() != 2) wrong_type(where, "[list of ids, bias]", json);
  read(json[0], value.sequence, where + "[0]");
  read_number(json[1], value.bias, where + "[1]");
}

template <class T>
void read(const Json& json, std::optional<T>& value, const std::string& where) {
  read(json, value.emplace(), where);
}

template <class T>
void read(const Json& json, T& value, const std::string& where) {
  read_number(json, value, where);
}

Json write(const std::string& value) { return value; }
Json write(bool value) { return value; }
Json write(double value) { return value; }
Json write(std::int64_t value) { return value; }
Json write(std::uint64_t value) { return value; }
Json write(const EarlyStopping& value) {
  if (value.value == EarlyStopping::Never) return "never";
  return value.value == EarlyStopping::True;
}
Json write(const ExponentialDecay& value) {
  return Json::array({value.start_index, value.decay_factor});
}
Json write(const SequenceBias& value) { return Json::array({value.sequence, value.bias}); }
Json write(const std::vector<std::int64_t>& value) { return value; }
template <class T>
Json write(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(write(value));
  return list;
}

// Whether a field is set, and its value.
template <class T>
bool is_set(const std::optional<T>& field) {
  return field.has_value();
}
template <class T>
bool is_set(const std::vector<T>& field) {
  return !field.empty();
}
bool is_set(const TokenIds& field) { return field.has_value(); }

template <class T>
Json write_field(const std::optional<T>& field) {
  return write(*field);
}
template <class T>
Json write_field(const std::vector<T>& field) {
  return write(field);
}
Json write_field(const TokenIds& field) {
  if ((*field).size() == 1) return (*field)[0];
  return *field;
}

GenerationConfig from_parsed(const Json& json, const std::string& where) {
  if (!json.is_object()) wrong_type(where, "an object", json);
  GenerationConfig config;
  std::set<std::string> known;
  visit_fields([&](const char* name, auto member) {
    known.insert(name);
    const auto found = json.find(name);
    if (found == json.end() || found->is_null()) return;
    read(*found, config.*member, where + ": \"" + name + "\"");
  });
  for (const auto& [key, value] : json.items()) {
    if (!known.contains(key) && !value.is_null()) config.other[key] = value.dump();
  }
  return config;
}

// JSON text of one value of `other`: a number above `limit`, true, or anything that is not empty.
Json other_value(const GenerationConfig& config, const std::string& key) {
  const auto found = config.other.find(key);
  if (found == config.other.end()) return nullptr;
  return parse_json<InputError>(found->second, "GenerationConfig::other[\"" + key + "\"]");
}

bool is_above(const Json& value, double limit) {
  return value.is_number() && value.get<double>() > limit;
}

bool is_on(const Json& value) {
  return !value.is_null() && value != false && !(value.is_structured() && value.empty());
}

void refuse(const std::string& fields, const std::string& what) {
  throw InputError("`" + fields + "` asks for " + what +
                   ", which this library does not have; unset it");
}

// Methods that change the answer and are not supported. Those that the reference itself keeps in
// remote code (contrastive, DoLa, group and constrained beam search) are refused by it too.
void refuse_unsupported(const GenerationConfig& config) {
  const bool beams = config.num_beams.value_or(1) > 1;
  const bool samples = config.do_sample.value_or(false);
  const auto value = [&](const char* key) { return other_value(config, key); };
  for (const char* key : {"constraints", "force_words_ids"}) {
    if (is_on(value(key))) refuse(key, "constrained beam search");
  }
  if (beams && is_above(value("num_beam_groups"), 1))
    refuse("num_beam_groups", "group beam search");
  if (beams && is_on(value("low_memory"))) refuse("low_memory", "sequential beam search");
  if (!beams && !samples && is_above(value("penalty_alpha"), 0) && config.top_k.value_or(50) > 1) {
    refuse("penalty_alpha", "contrastive search");
  }
  if (Json scale = value("guidance_scale"); scale.is_number() && scale.get<double>() != 1) {
    refuse("guidance_scale", "classifier-free guidance");
  }
  if (is_on(value("watermarking_config"))) refuse("watermarking_config", "watermarks");
  if (is_on(value("token_healing"))) refuse("token_healing", "token healing");

  const std::pair<const char*, const char*> kSingleBeam[] = {
      {"dola_layers", "DoLa decoding"},
      {"use_mtp", "assisted generation"},
      {"prompt_lookup_num_tokens", "assisted generation"},
      {"assistant_early_exit", "assisted generation"}};
  for (const auto& [key, method] : kSingleBeam) {
    if (!is_on(value(key))) continue;
    if (!beams) refuse(key, method);
    log_warning("`" + std::string(key) + "` asks for " + method +
                ", which beam search does not have; it is ignored");
  }
  for (const char* key :
       {"logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "synced_gpus",
        "assistant_model", "streamer", "negative_prompt_ids", "negative_prompt_attention_mask"}) {
    if (config.other.contains(key)) {
      throw InputError("`" + std::string(key) + "` is an argument of generate, not a field of " +
                       "GenerationConfig");
    }
  }
}

std::vector<std::string> fields_without_effect(const GenerationConfig& config) {
  std::vector<std::string> names;
  const auto check = [&](const char* name, const auto& field, double neutral) {
    if (field && static_cast<double>(*field) != neutral) names.emplace_back(name);
  };
  if (!config.do_sample.value_or(false)) {
    check("temperature", config.temperature, 1);
    check("top_p", config.top_p, 1);
    check("min_p", config.min_p, -1);
    check("top_h", config.top_h, -1);
    check("typical_p", config.typical_p, 1);
    check("top_k", config.top_k, 50);
    check("epsilon_cutoff", config.epsilon_cutoff, 0);
    check("eta_cutoff", config.eta_cutoff, 0);
  }
  if (config.num_beams.value_or(1) == 1) {
    if (config.early_stopping && *config.early_stopping != EarlyStopping(false)) {
      names.emplace_back("early_stopping");
    }
    check("length_penalty", config.length_penalty, 1);
  }
  return names;
}

}  // namespace

EarlyStopping::EarlyStopping(const char* name) : value(Never) {
  if (name == nullptr || std::string_view(name) != "never") {
    throw ConfigError("`early_stopping` has to be true, false or \"never\", but is \"" +
                      std::string(name ? name : "") + "\"");
  }
}

GenerationConfig GenerationConfig::from_pretrained(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::path file =
      std::filesystem::is_directory(path, ignored) ? path / "generation_config.json" : path;
  return from_parsed(read_json_file(file), file.string());
}

GenerationConfig GenerationConfig::from_json(std::string_view json) {
  const std::string where = "generation configuration";
  return from_parsed(parse_json(json, where), where);
}

std::string GenerationConfig::to_json() const {
  Json json = Json::object();
  for (const auto& [key, value] : other) {
    json[key] = parse_json(value, "GenerationConfig::other[\"" + key + "\"]");
  }
  visit_fields([&](const char* name, auto member) {
    const auto& field = this->*member;
    if (is_set(field)) json[name] = write_field(field);
  });
  return json.dump(2) + "\n";
}

void GenerationConfig::save_pretrained(const std::filesystem::path& folder) const {
  write_text_file(folder / "generation_config.json", to_json());
}

GenerationConfig GenerationConfig::updated(const GenerationConfig& changes) const {
  GenerationConfig result = *this;
  visit_fields([&](const char*, auto member) {
    if (is_set(changes.*member)) result.*member = changes.*member;
  });
  for (const auto& [key, value] : changes.other) result.other[key] = value;
  return result;
}

void GenerationConfig::validate() const {
  const auto require = [](bool condition, const std::string& message) {
    if (!condition) throw InputError(message);
  };
  const Index beams = num_beams.value_or(1), returned = num_return_sequences.value_or(1);
  require(beams >= 1, "`num_beams` must be 1 or more, but is " + std::to_string(beams));
  require(returned >= 1,
          "`num_return_sequences` must be 1 or more, but is " + std::to_string(returned));
  require(!max_new_tokens || *max_new_tokens > 0,
          "`max_new_tokens` must be above 0, but is " + std::to_string(max_new_tokens.value_or(0)));
  require(returned == 1 || beams > 1 || do_sample.value_or(false),
          "`num_return_sequences` is " + std::to_string(returned) +
              ", but greedy search finds one answer; set `do_sample` or more `num_beams`");
  require(returned <= beams || beams == 1, "`num_return_sequences` (" + std::to_string(returned) +
                                               ") has to be smaller or equal to `num_beams` (" +
                                               std::to_string(beams) + ")");
  const auto is_suppressed = [&](std::int64_t id) {
    return std::find(suppress_tokens.begin(), suppress_tokens.end(), id) != suppress_tokens.end();
  };
  const std::string suppressed =
      "` is also in `suppress_tokens`: no id is left where it is forced; to keep an answer from "
      "ending early use `min_new_tokens`";
  require(!forced_bos_token_id || !is_suppressed(*forced_bos_token_id),
          "`forced_bos_token_id" + suppressed);
  if (forced_eos_token_id.has_value() && !(*forced_eos_token_id).empty()) {
    const std::vector<std::int64_t>& ids = *forced_eos_token_id;
    require(!std::all_of(ids.begin(), ids.end(), is_suppressed),
            "every id of `forced_eos_token_id" + suppressed);
  }
  refuse_unsupported(*this);
  std::string names;
  for (const std::string& name : fields_without_effect(*this)) {
    names += (names.empty() ? "`" : ", `") + name + "`";
  }
  if (!names.empty()) {
    log_warning("these fields have no effect: " + names +
                " (sampling needs `do_sample`, beam search more `num_beams` than 1)");
  }
}

}  // namespace instructblip
