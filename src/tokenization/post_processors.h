// Post-processors: the fourth step of a tokenizer, which adds special tokens to the ids of a text.
// Mirrors the `processors` of tokenizers, for single texts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/json_value.h"

namespace instructblip::tokenization {

class PostProcessor {
 public:
  /// Adds nothing.
  PostProcessor() = default;
  /// Reads the "post_processor" of a tokenizer.json. Throws TokenizerError that names an
  /// unsupported component.
  explicit PostProcessor(const JsonValue& section);

  /// A special token, or a text ("$A", "$B") if `id` is unset; `type` is its token type id.
  struct Item {
    std::string token;
    std::optional<std::int64_t> id;
    int type = 0;
  };
  /// The JSON of a TemplateProcessing for a single text and for a pair.
  static Json template_processing(const std::vector<Item>& single, const std::vector<Item>& pair);

  std::vector<std::int64_t> process(std::vector<std::int64_t> ids) const;
  std::int64_t added() const { return added_; }

 private:
  /// The ids of a special token, or nothing in the position of the text.
  using Template = std::vector<std::optional<std::vector<std::int64_t>>>;

  void read(const JsonValue& section);
  void read_template(const JsonValue& section);

  std::vector<Template> steps_;
  std::int64_t added_ = 0;
};

}  // namespace instructblip::tokenization
