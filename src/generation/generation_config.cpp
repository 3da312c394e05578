#include "instructblip/generation/generation_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <type_traits>
#include <utility>

#include "core/json_reader.h"
#include "generation/resolved_config.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/generation/logits_process.h"

namespace instructblip {
namespace {

template <class T>
void read(const JsonValue& json, T& value) {
  value = json.as<T>();
}

void read(const JsonValue& json, std::int64_t& value) {
  constexpr double kExact = 9007199254740992.0;
  const double number = json.json().is_number_float() ? json.as<double>() : 0.5;
  const bool is_whole = std::trunc(number) == number && std::fabs(number) < kExact;
  value = is_whole ? static_cast<std::int64_t>(number)  // some files hold whole numbers as 20.0
                   : json.as<std::int64_t>();
}

void read(const JsonValue& json, std::vector<std::string>& value) {
  if (json.is_string()) {
    value = {json.as<std::string>()};
  } else {
    value = json.as<std::vector<std::string>>();
  }
}

void read(const JsonValue& json, EarlyStopping& value) {
  if (json.json().is_boolean()) {
    value = json.as<bool>();
  } else if (json.json() == "never") {
    value = "never";
  } else {
    json.expected("true, false or \"never\"");
  }
}

template <class T>
void read(const JsonValue& json, std::vector<T>& value);

void read(const JsonValue& json, TokenIds& value) {
  std::vector<std::int64_t> ids;
  if (json.is_list()) {
    read(json, ids);
  } else {
    read(json, ids.emplace_back());
  }
  value = std::move(ids);
}

void read(const JsonValue& json, ExponentialDecay& value) {
  if (!json.is_list() || json.size() != 2) json.expected("[start index, decay factor]");
  read(json.at(0), value.start_index);
  read(json.at(1), value.decay_factor);
}

void read(const JsonValue& json, SequenceBias& value) {
  if (!json.is_list() || json.size() != 2) json.expected("[list of ids, bias]");
  read(json.at(0), value.sequence);
  read(json.at(1), value.bias);
}

template <class T>
void read(const JsonValue& json, std::vector<T>& value) {
  value.clear();
  for (const JsonValue& element : json.elements()) read(element, value.emplace_back());
}

template <class T>
void read(const JsonValue& json, std::optional<T>& value) {
  read(json, value.emplace());
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

GenerationConfig from_parsed(const JsonValue& json) {
  GenerationConfig config;
  std::set<std::string, std::less<>> known;
  visit_fields([&](const char* name, auto member) {
    known.insert(name);
    if (const auto found = json.get(name)) read(*found, config.*member);
  });
  for (const auto& [key, value] : json.items()) {
    if (!known.contains(key) && !value.is_null()) config.other[key] = value.json().dump();
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

// Infinity means something in two fields: a sequence with a bias of -inf never occurs, and a
// max_time of inf is no limit.
void require_numbers(const GenerationConfig& config) {
  const auto check = [](const std::string& name, double value, double also_allowed = 0) {
    detail::require(std::isfinite(value) || value == also_allowed, name, "a finite number",
                    std::to_string(value));
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  visit_fields([&](const std::string& name, auto member) {
    const auto& field = config.*member;
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, std::optional<double>>) {
      check(name, field.value_or(0), name == "max_time" ? kInfinity : 0);
    } else if constexpr (std::is_same_v<Field, std::optional<ExponentialDecay>>) {
      if (field) check(name, field->decay_factor);
    } else if constexpr (std::is_same_v<Field, std::vector<SequenceBias>>) {
      for (const SequenceBias& entry : field) check(name, entry.bias, -kInfinity);
    }
  });
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
  } else {
    check("prompt_lookup_num_tokens", config.prompt_lookup_num_tokens, -1);
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
  const Json json = read_json_file(file);
  return from_parsed(JsonReader<ConfigError>(json, file.string()));
}

GenerationConfig GenerationConfig::from_json(std::string_view text) {
  const std::string where = "generation configuration";
  const Json json = parse_json(text, where);
  return from_parsed(JsonReader<ConfigError>(json, where));
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
  const auto require_positive = [&](const char* name, const std::optional<Index>& field) {
    require(field.value_or(1) > 0, "`" + std::string(name) + "` must be above 0, but is " +
                                       std::to_string(field.value_or(1)));
  };
  const Index beams = num_beams.value_or(1), returned = num_return_sequences.value_or(1);
  require(beams >= 1, "`num_beams` must be 1 or more, but is " + std::to_string(beams));
  require(returned >= 1,
          "`num_return_sequences` must be 1 or more, but is " + std::to_string(returned));
  require_positive("max_new_tokens", max_new_tokens);
  require_numbers(*this);
  require(returned == 1 || beams > 1 || do_sample.value_or(false),
          "`num_return_sequences` is " + std::to_string(returned) +
              ", but greedy search finds one answer; set `do_sample` or more `num_beams`");
  require(returned <= beams || beams == 1, "`num_return_sequences` (" + std::to_string(returned) +
                                               ") has to be smaller or equal to `num_beams` (" +
                                               std::to_string(beams) + ")");
  require_positive("prompt_lookup_num_tokens", prompt_lookup_num_tokens);
  require_positive("max_matching_ngram_size", max_matching_ngram_size);
  require_positive("num_assistant_tokens", num_assistant_tokens);
  const double threshold = assistant_confidence_threshold.value_or(0);
  require(
      threshold >= 0 && threshold <= 1,
      "`assistant_confidence_threshold` must be from 0 to 1, but is " + std::to_string(threshold));
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
  detail::check_processors(*this);
  std::string names;
  for (const std::string& name : fields_without_effect(*this)) {
    names += (names.empty() ? "`" : ", `") + name + "`";
  }
  if (!names.empty()) {
    log_warning(
        "these fields have no effect: " + names +
        " (sampling needs `do_sample`, beam search more `num_beams` than 1, drafts need 1)");
  }
}

void GenerationConfig::validate_ids(Index vocab_size) const {
  const auto check = [&](const char* name, std::span<const std::int64_t> ids) {
    for (const std::int64_t id : ids) {
      detail::require(id >= 0 && id < vocab_size, name,
                      "made of ids of the vocabulary, 0 to " + std::to_string(vocab_size - 1),
                      std::to_string(id));
    }
  };
  const auto check_one = [&](const char* name, const std::optional<std::int64_t>& id) {
    if (id) check(name, {&*id, 1});
  };
  const auto check_list = [&](const char* name, const TokenIds& ids) {
    if (ids.has_value()) check(name, *ids);
  };
  for (const auto& sequence : bad_words_ids) check("bad_words_ids", sequence);
  for (const SequenceBias& entry : sequence_bias) check("sequence_bias", entry.sequence);
  check_one("forced_bos_token_id", forced_bos_token_id);
  check_list("forced_eos_token_id", forced_eos_token_id);
  check_one("bos_token_id", bos_token_id);
  check_list("decoder_start_token_id", decoder_start_token_id);
}

}  // namespace instructblip
