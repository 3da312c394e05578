#include "instructblip/configuration/image_text_to_text_config.h"

#include "configuration/config_io.h"
#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/configuration/configuration_instructblipvideo.h"

namespace instructblip {
namespace {

template <class Config, class Visitor>
void whole_model_fields(Config& config, Visitor& visit) {
  visit.part("text_config", config.text_config);
  visit("num_query_tokens", config.num_query_tokens);
  visit((config.modality() + "_token_index").c_str(), config.image_token_index);
  visit("initializer_factor", config.initializer_factor);
  visit("initializer_range", config.initializer_range);
}

struct WholeModelType {
  std::string_view name;
  std::unique_ptr<ImageTextToTextConfig> (*make)();
};

template <class Config>
constexpr WholeModelType whole_model_type() {
  return {Config::kModelType,
          []() -> std::unique_ptr<ImageTextToTextConfig> { return std::make_unique<Config>(); }};
}

// One line per model.
constexpr WholeModelType kWholeModelTypes[] = {
    whole_model_type<InstructBlipConfig>(),
    whole_model_type<Blip2Config>(),
    whole_model_type<InstructBlipVideoConfig>(),
};

}  // namespace

ImageTextToTextConfig::ImageTextToTextConfig() = default;
ImageTextToTextConfig::ImageTextToTextConfig(const ImageTextToTextConfig&) = default;
ImageTextToTextConfig& ImageTextToTextConfig::operator=(const ImageTextToTextConfig&) = default;
ImageTextToTextConfig::~ImageTextToTextConfig() = default;

bool ImageTextToTextConfig::writes_text() const {
  const auto found = other.find("architectures");
  return found == other.end() ||
         (found->second.find("ForImageTextRetrieval") == std::string::npos &&
          found->second.find("WithProjection") == std::string::npos);
}

void ImageTextToTextConfig::read_all(detail::ConfigReader& reader, InstructBlipVisionConfig& vision,
                                     InstructBlipQFormerConfig& qformer) {
  const JsonValue& json = reader.json();
  const std::string type = json.get_or<std::string>("model_type", std::string(model_type()));
  if (type != model_type() && !json.has("vision_config") && !json.has("qformer_config")) {
    json.fail("\"model_type\" is \"" + type + "\", and there is neither \"vision_config\" nor " +
              "\"qformer_config\": this is not an InstructBLIP checkpoint");
  }
  reader.part("vision_config", vision);
  reader.part("qformer_config", qformer);
  whole_model_fields(*this, reader);
  reader((modality() + "_token_id").c_str(), image_token_index);
  reader.find("use_decoder_only_language_model");
  qformer.encoder_hidden_size = vision.hidden_size;
}

void ImageTextToTextConfig::write(detail::ConfigWriter& writer) const {
  writer.part("vision_config", vision());
  writer.part("qformer_config", qformer());
  whole_model_fields(*this, writer);
  writer("use_decoder_only_language_model", use_decoder_only_language_model());
}

void ImageTextToTextConfig::check(const std::string& where) const {
  const auto section = [&](const char* key) { return where + ", " + key; };
  detail::check_part(section("vision_config"), vision());
  detail::check_part(section("qformer_config"), qformer());
  detail::check_part(section("text_config"), *text_config);
  detail::check_range(where, "num_query_tokens", num_query_tokens, 1, 1 << 16);
  if (qformer().encoder_hidden_size != vision().hidden_size) {
    throw ConfigError(where +
                      ": qformer_config's \"encoder_hidden_size\" must be vision_config's "
                      "\"hidden_size\", " +
                      std::to_string(vision().hidden_size) + "; found " +
                      std::to_string(qformer().encoder_hidden_size));
  }
}

std::unique_ptr<ImageTextToTextConfig> load_image_text_to_text_config(
    const std::filesystem::path& path) {
  const detail::ConfigSource source = detail::open_config(path, "", "");
  const JsonValue json = source.json();
  json.require_object();
  const auto name =
      json.get_or<std::string>("model_type", std::string(InstructBlipConfig::kModelType));
  std::string known;
  for (const WholeModelType& type : kWholeModelTypes) {
    if (type.name == name) {
      std::unique_ptr<ImageTextToTextConfig> config = type.make();
      detail::ConfigReader(json).run(*config);
      return config;
    }
    known += (known.empty() ? "\"" : "\" or \"") + std::string(type.name);
  }
  json.fail("\"model_type\" is \"" + name + "\", expected " + known +
            "\": this is not an InstructBLIP or BLIP-2 checkpoint");
}

}  // namespace instructblip
