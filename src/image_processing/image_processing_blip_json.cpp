// Reads and writes preprocessor_config.json, and the `image_processor` of processor_config.json.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "core/json_reader.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/image_processing/image_processing_blip.h"

namespace instructblip {

struct BlipImageProcessor::Given {
  Json keys;

  static BlipImageProcessor read(const JsonValue& given);
};

namespace {

constexpr const char* kClassName = "BlipImageProcessor";
constexpr const char* kVideoClasses = "InstructBlipVideo";  // ...ImageProcessor, ...VideoProcessor

bool read_bool(const JsonValue& value) { return !value.is_null() && value.as<bool>(); }

Index read_length(const JsonValue& value) { return value.whole_number(1, Index{1} << 40); }

double read_number(const JsonValue& value) { return value.as<double>(); }

std::vector<double> read_numbers(const JsonValue& value) {
  if (!value.is_list()) return {value.as<double>()};
  if (value.size() == 0) value.expected("a number or a list of numbers, one per channel");
  return value.as<std::vector<double>>();
}

struct SizeField {
  const char* name;
  std::optional<Index> SizeDict::*field;
};
constexpr SizeField kSizeFields[] = {
    {"height", &SizeDict::height},
    {"width", &SizeDict::width},
    {"longest_edge", &SizeDict::longest_edge},
    {"shortest_edge", &SizeDict::shortest_edge},
    {"max_height", &SizeDict::max_height},
    {"max_width", &SizeDict::max_width},
    {"min_pixels", &SizeDict::min_pixels},
    {"max_pixels", &SizeDict::max_pixels},
};

bool is_known_combination(const SizeDict& s) {
  int fields = 0;
  for (const SizeField& f : kSizeFields) fields += (s.*f.field).has_value();
  if (fields == 1) return s.shortest_edge || s.longest_edge;
  return fields == 2 && ((s.height && s.width) || (s.shortest_edge && s.longest_edge) ||
                         (s.max_height && s.max_width) || (s.min_pixels && s.max_pixels));
}

SizeDict read_size(const JsonValue& value, bool default_to_square) {
  if (value.json().is_number_integer()) {
    const Index side = read_length(value);
    if (default_to_square) return {.height = side, .width = side};
    return {.shortest_edge = side};
  }
  if (value.is_list() && value.size() == 2) {
    return {.height = read_length(value.at(0)), .width = read_length(value.at(1))};
  }
  const char* kExpected =
      "a whole number, [height, width], or an object with height and width, shortest_edge, "
      "shortest_edge and longest_edge, or max_height and max_width";
  if (!value.is_object()) value.expected(kExpected);
  SizeDict size;
  for (const auto& [key, item] : value.items()) {
    const auto* field = std::find_if(std::begin(kSizeFields), std::end(kSizeFields),
                                     [&key = key](const SizeField& f) { return key == f.name; });
    if (field == std::end(kSizeFields)) value.expected(kExpected);
    if (!item.is_null()) size.*field->field = read_length(item);
  }
  if (!is_known_combination(size)) value.expected(kExpected);
  return size;
}

Json write_size(const SizeDict& size) {
  Json object = Json::object();
  for (const SizeField& f : kSizeFields) {
    if (size.*f.field) object[f.name] = *(size.*f.field);
  }
  return object;
}

Resampling read_resampling(const JsonValue& value) {
  if (!value.json().is_number_integer() || value.json() < 0 || value.json() > 5) {
    value.expected("a number from 0 to 5 (nearest, lanczos, bilinear, bicubic, box, hamming)");
  }
  return static_cast<Resampling>(value.as<Index>());
}

/// Reads a key if it is present; null unsets the field.
template <class T, class Read>
void assign(const JsonValue& object, const char* key, std::optional<T>& field, Read read) {
  if (const auto found = object.get(key)) {
    field = read(*found);
  } else if (object.find(key) != nullptr) {
    field.reset();
  }
}

void assign(const JsonValue& object, const char* key, bool& field) {
  if (object.find(key) != nullptr) field = read_bool(object.at(key));
}

}  // namespace

BlipImageProcessor BlipImageProcessor::Given::read(const JsonValue& given) {
  BlipImageProcessor processor;
  const auto size = [&](const JsonValue& value) {
    const bool names_square = given.find("default_to_square") != nullptr;
    return read_size(value, !names_square || read_bool(given.at("default_to_square")));
  };
  const auto square_size = [](const JsonValue& value) { return read_size(value, true); };
  assign(given, "do_convert_rgb", processor.do_convert_rgb);
  assign(given, "do_resize", processor.do_resize);
  assign(given, "size", processor.size, size);
  assign(given, "resample", processor.resample, read_resampling);
  assign(given, "do_center_crop", processor.do_center_crop);
  assign(given, "crop_size", processor.crop_size, square_size);
  assign(given, "do_rescale", processor.do_rescale);
  assign(given, "rescale_factor", processor.rescale_factor, read_number);
  assign(given, "do_normalize", processor.do_normalize);
  assign(given, "image_mean", processor.image_mean, read_numbers);
  assign(given, "image_std", processor.image_std, read_numbers);
  assign(given, "do_pad", processor.do_pad);
  assign(given, "pad_size", processor.pad_size, square_size);
  for (const std::string key : {"image_processor_type", "video_processor_type"}) {
    const auto type = given.get(key.c_str());
    if (!type || !type->is_string()) continue;
    const auto name = type->as<std::string>();
    if (name.starts_with(kClassName) || name.starts_with(kVideoClasses)) continue;
    log_warning(
        given.where() + ": \"" + key + "\" is " +
        type->json().dump(-1, ' ', true, Json::error_handler_t::replace) +
        "; missing keys get the defaults of this class, which may differ from those of that class");
  }
  if (given.get_or("do_sample_frames", false)) {
    log_warning(given.where() +
                ": \"do_sample_frames\" is true, but frames are used as the caller gives them");
  }
  Json keys = given.json();
  for (const char* dropped : {"processor_class", "feature_extractor_type"}) keys.erase(dropped);
  processor.given_ = std::make_shared<const Given>(Given{std::move(keys)});
  return processor;
}

BlipImageProcessor BlipImageProcessor::from_json(std::string_view text) {
  const Json json = parse_json(text, kClassName);
  return Given::read(JsonReader<ConfigError>(json, kClassName));
}

std::string BlipImageProcessor::to_json() const {
  const Json given = given_ ? given_->keys : Json::object();
  Json object = given;
  // A number that has not changed keeps its format in the file (60, not 60.0).
  const auto numbers = [&](const char* key, const std::optional<std::vector<double>>& values) {
    if (!values)
      object[key] = nullptr;
    else if (given.contains(key) && !given[key].is_null() &&
             read_numbers(JsonReader<ConfigError>(given[key], key)) == *values)
      return;
    else if (values->size() == 1)
      object[key] = values->front();
    else
      object[key] = *values;
  };
  const auto flag = [&](const char* key, bool value) {
    if (value || !given.contains(key) || !given[key].is_null()) object[key] = value;
  };
  // No default in the reference's class: written only if set.
  const auto optional_flag = [&](const char* key, bool value) {
    if (value || (given.contains(key) && !given[key].is_null()))
      object[key] = value;
    else
      object.erase(key);
  };
  const auto optional_size = [&](const char* key, const std::optional<SizeDict>& value) {
    if (value)
      object[key] = write_size(*value);
    else
      object.erase(key);
  };
  flag("do_convert_rgb", do_convert_rgb);
  flag("do_resize", do_resize);
  object["size"] = size ? write_size(*size) : Json();
  object["resample"] = resample ? Json(static_cast<int>(*resample)) : Json();
  optional_flag("do_center_crop", do_center_crop);
  optional_size("crop_size", crop_size);
  flag("do_rescale", do_rescale);
  numbers("rescale_factor",
          rescale_factor ? std::optional(std::vector{*rescale_factor}) : std::nullopt);
  flag("do_normalize", do_normalize);
  numbers("image_mean", image_mean);
  numbers("image_std", image_std);
  optional_flag("do_pad", do_pad);
  optional_size("pad_size", pad_size);
  object["image_processor_type"] = kClassName;
  return object.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

BlipImageProcessor BlipImageProcessor::from_pretrained(const std::filesystem::path& folder,
                                                       const std::string& modality) {
  const auto load = [](const std::filesystem::path& path) {
    const Json json = read_json_file(path);
    return Given::read(JsonReader<ConfigError>(json, path.string()));
  };
  if (is_file(folder)) return load(folder);
  const std::filesystem::path newer = folder / "processor_config.json";
  const std::filesystem::path older = folder / "preprocessor_config.json";
  const std::string section = modality + "_processor";
  if (is_file(newer)) {
    const Json json = read_json_file(newer);
    const JsonReader<ConfigError> reader(json, newer.string());
    if (reader.find(section.c_str()) != nullptr) return Given::read(reader.at(section.c_str()));
  }
  const std::filesystem::path of_video = folder / "video_preprocessor_config.json";
  if (modality == "video" && is_file(of_video)) return load(of_video);
  if (is_file(older)) return load(older);
  throw ConfigError(folder.string() + ": no " + modality +
                    " processor; expected preprocessor_config.json, or "
                    "processor_config.json with \"" +
                    section + "\"");
}

void BlipImageProcessor::save_pretrained(const std::filesystem::path& folder) const {
  write_text_file(folder / "preprocessor_config.json", to_json());
}

}  // namespace instructblip
