// preprocessor_config.json and the `image_processor` of processor_config.json: read and written.
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
};

namespace {

constexpr const char* kClassName = "BlipImageProcessor";

[[noreturn]] void fail(const std::string& key, const std::string& expected, const Json& found) {
  throw ConfigError(std::string(kClassName) + ": \"" + key + "\" must be " + expected + ", found " +
                    found.dump(-1, ' ', true, Json::error_handler_t::replace));
}

bool read_bool(const std::string& key, const Json& value) {
  if (value.is_null()) return false;
  if (!value.is_boolean()) fail(key, "true, false or null", value);
  return value.get<bool>();
}

Index read_length(const std::string& key, const Json& value) {
  constexpr std::int64_t kLargest = std::int64_t{1} << 40;
  if (!value.is_number_integer() || value < 1 || value > kLargest) {
    fail(key, "a whole number of at least 1", value);
  }
  return value.get<Index>();
}

double read_number(const std::string& key, const Json& value) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) fail(key, "a number", value);
  return value.get<double>();
}

std::vector<double> read_numbers(const std::string& key, const Json& value) {
  if (!value.is_array()) return {read_number(key, value)};
  if (value.empty()) fail(key, "a number or a list of numbers, one per channel", value);
  std::vector<double> numbers;
  for (const Json& element : value) numbers.push_back(read_number(key, element));
  return numbers;
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

SizeDict read_size(const std::string& key, const Json& value, bool default_to_square) {
  if (value.is_number_integer()) {
    const Index side = read_length(key, value);
    if (default_to_square) return {.height = side, .width = side};
    return {.shortest_edge = side};
  }
  if (value.is_array() && value.size() == 2) {
    return {.height = read_length(key, value[0]), .width = read_length(key, value[1])};
  }
  SizeDict size;
  bool known = value.is_object();
  if (known) {
    for (const auto& item : value.items()) {
      const std::string& name = item.key();
      const auto* field = std::find_if(std::begin(kSizeFields), std::end(kSizeFields),
                                       [&](const SizeField& f) { return name == f.name; });
      known = known && field != std::end(kSizeFields);
      if (known && !item.value().is_null()) {
        size.*field->field = read_length(key + "." + name, item.value());
      }
    }
  }
  if (!known || !is_known_combination(size)) {
    fail(key,
         "a whole number, [height, width], or an object with height and width, shortest_edge, "
         "shortest_edge and longest_edge, or max_height and max_width",
         value);
  }
  return size;
}

Json write_size(const SizeDict& size) {
  Json object = Json::object();
  for (const SizeField& f : kSizeFields) {
    if (size.*f.field) object[f.name] = *(size.*f.field);
  }
  return object;
}

Resampling read_resampling(const std::string& key, const Json& value) {
  if (!value.is_number_integer() || value < 0 || value > 5) {
    fail(key, "a number from 0 to 5 (nearest, lanczos, bilinear, bicubic, box, hamming)", value);
  }
  return static_cast<Resampling>(value.get<int>());
}

/// Calls read(key, value) for a key that is there; null unsets the field.
template <class T, class Read>
void assign(const Json& object, const char* key, std::optional<T>& field, Read read) {
  const auto found = object.find(key);
  if (found == object.end()) return;
  if (found->is_null())
    field.reset();
  else
    field = read(key, *found);
}

void assign(const Json& object, const char* key, bool& field) {
  if (const auto found = object.find(key); found != object.end()) field = read_bool(key, *found);
}

Json parse(std::string_view text) {
  Json value = parse_json(text, kClassName);
  if (!value.is_object()) {
    throw ConfigError(std::string(kClassName) + ": expected a JSON object, found another value");
  }
  return value;
}

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

}  // namespace

BlipImageProcessor BlipImageProcessor::from_json(std::string_view text) {
  BlipImageProcessor processor;
  Json given = parse(text);
  const auto size = [&](const char* key, const Json& value) {
    const auto square = given.find("default_to_square");
    const bool default_to_square = square == given.end() || read_bool("default_to_square", *square);
    return read_size(key, value, default_to_square);
  };
  const auto square_size = [](const char* key, const Json& value) {
    return read_size(key, value, true);
  };
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
  const auto type = given.find("image_processor_type");
  if (type != given.end() && type->is_string() &&
      !type->get_ref<const std::string&>().starts_with(kClassName)) {
    log_warning(
        std::string(kClassName) + ": \"image_processor_type\" is " +
        type->dump(-1, ' ', true, Json::error_handler_t::replace) +
        "; keys that the file lacks get this class's defaults, which may differ from that one's");
  }
  for (const char* dropped : {"processor_class", "feature_extractor_type"}) given.erase(dropped);
  processor.given_ = std::make_shared<const Given>(Given{std::move(given)});
  return processor;
}

std::string BlipImageProcessor::to_json() const {
  const Json given = given_ ? given_->keys : Json::object();
  Json object = given;
  // A number stays as the file wrote it (60, not 60.0) where it still holds.
  const auto numbers = [&](const char* key, const std::optional<std::vector<double>>& values) {
    if (!values)
      object[key] = nullptr;
    else if (given.contains(key) && !given[key].is_null() &&
             read_numbers(key, given[key]) == *values)
      return;
    else if (values->size() == 1)
      object[key] = values->front();
    else
      object[key] = *values;
  };
  const auto flag = [&](const char* key, bool value) {
    if (value || !given.contains(key) || !given[key].is_null()) object[key] = value;
  };
  // Without a default in the reference's class: absent unless set.
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

BlipImageProcessor BlipImageProcessor::from_pretrained(const std::filesystem::path& folder) {
  const auto load = [](const std::filesystem::path& path, std::string_view key) {
    try {
      const std::string text = read_text_file(path);
      if (key.empty()) return std::optional(from_json(text));
      const Json object = parse(text);
      const auto nested = object.find(key);
      if (nested == object.end()) return std::optional<BlipImageProcessor>();
      return std::optional(from_json(nested->dump()));
    } catch (const ConfigError& error) {
      throw ConfigError(path.string() + ": " + error.what());
    }
  };
  if (is_file(folder)) return *load(folder, "");
  const std::filesystem::path newer = folder / "processor_config.json";
  const std::filesystem::path older = folder / "preprocessor_config.json";
  if (is_file(newer)) {
    if (auto processor = load(newer, "image_processor")) return *std::move(processor);
  }
  if (is_file(older)) return *load(older, "");
  throw ConfigError(folder.string() +
                    ": no image processor; expected preprocessor_config.json, or "
                    "processor_config.json with an \"image_processor\"");
}

void BlipImageProcessor::save_pretrained(const std::filesystem::path& folder) const {
  write_text_file(folder / "preprocessor_config.json", to_json());
}

}  // namespace instructblip
