#include "instructblip/configuration/configuration_blip_2.h"

#include "configuration/config_io.h"

namespace instructblip {

void Blip2QFormerConfig::read(detail::ConfigReader& reader) {
  InstructBlipQFormerConfig::read(reader);
  reader("qformer_text_input", use_qformer_text_input);
  reader("use_qformer_text_input", use_qformer_text_input);
}

void Blip2QFormerConfig::write(detail::ConfigWriter& writer) const {
  InstructBlipQFormerConfig::write(writer);
  writer("use_qformer_text_input", use_qformer_text_input);
}

void Blip2Config::read(detail::ConfigReader& reader) {
  read_all(reader, vision_config, qformer_config);
  reader("image_text_hidden_size", image_text_hidden_size);
  reader.find("is_encoder_decoder");  // that of text_config
}

void Blip2Config::write(detail::ConfigWriter& writer) const {
  ImageTextToTextConfig::write(writer);
  writer("image_text_hidden_size", image_text_hidden_size);
  writer.unusual("is_encoder_decoder", text_config->is_encoder_decoder, false);
}

void Blip2Config::check(const std::string& where) const {
  ImageTextToTextConfig::check(where);
  detail::check_size(where, "image_text_hidden_size", image_text_hidden_size);
}

}  // namespace instructblip
