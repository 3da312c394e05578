// The configuration of a whole model that reads images and text and writes text: what
// InstructBlipConfig, InstructBlipVideoConfig and Blip2Config have in common.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/configuration/pretrained_config.h"
#include "instructblip/configuration/text_config.h"

namespace instructblip {

class InstructBlipVisionConfig;
class InstructBlipQFormerConfig;

/// Base of the classes named above, which add `vision_config` and `qformer_config`, each of its own
/// type. Defaults: those of transformers.
class INSTRUCTBLIP_EXPORT ImageTextToTextConfig : public PretrainedConfig {
 public:
  ~ImageTextToTextConfig() override;

  /// Read as OPT if a file names no model_type.
  TextConfigHolder text_config{OPTConfig()};
  /// Query tokens of the Q-Former: the number of prompt positions per image.
  Index num_query_tokens = 32;
  /// The id of the placeholders that image features replace. `image_token_id` in a file is the same
  /// attribute and takes precedence. Unset in checkpoints from before transformers 4.46. (See
  /// `modality` for the names in files.)
  std::optional<std::int64_t> image_token_index;
  // Not used by this library; kept for saving.
  double initializer_factor = 1.0;
  double initializer_range = 0.02;

  /// `vision_config` and `qformer_config` of the derived class.
  virtual const InstructBlipVisionConfig& vision() const = 0;
  virtual const InstructBlipQFormerConfig& qformer() const = 0;
  /// Whether the class that a file names under "architectures" writes text. Those of BLIP-2's first
  /// stage, which have the same model_type, compare images and texts.
  bool writes_text() const;
  /// Whether the Q-Former reads a text with each image, for which there is a tokenizer of its own.
  virtual bool qformer_reads_text() const = 0;
  /// "image" or "video": what the model reads, in the names of its placeholders (`<image>`), their
  /// id (`image_token_index`, `image_token_id`) and the pictures' settings (`image_processor`).
  virtual std::string modality() const { return "image"; }
  virtual std::unique_ptr<ImageTextToTextConfig> clone() const = 0;

  /// Depends only on the type of the language model; the key in a file is ignored.
  bool use_decoder_only_language_model() const { return text_config->is_decoder_only(); }

 protected:
  ImageTextToTextConfig();
  ImageTextToTextConfig(const ImageTextToTextConfig&);
  ImageTextToTextConfig& operator=(const ImageTextToTextConfig&);

  /// Reads all fields, and the parts into `vision` and `qformer`.
  void read_all(detail::ConfigReader& reader, InstructBlipVisionConfig& vision,
                InstructBlipQFormerConfig& qformer);
  void write(detail::ConfigWriter& writer) const override;
  void check(const std::string& where) const override;
};

/// Reads the configuration of the class that the file at `path`, or the config.json of that folder,
/// names as its model_type. Throws ConfigError, naming the supported types, if it is another one.
INSTRUCTBLIP_EXPORT std::unique_ptr<ImageTextToTextConfig> load_image_text_to_text_config(
    const std::filesystem::path& path);

}  // namespace instructblip
