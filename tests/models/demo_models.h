// The demo models, and what two of them are compared by.
#pragma once

#include <filesystem>
#include <string>

#include "instructblip/models/modeling_instructblip.h"

namespace instructblip::testing {

/// The folder of the demo model with this decoder: "llama", "opt" or "t5".
inline std::filesystem::path demo_model(const std::string& decoder) {
  return std::filesystem::path(INSTRUCTBLIP_SOURCE_DIR) / "examples/assets" /
         ("instructblip-demo" + (decoder == "llama" ? "" : "-" + decoder));
}

/// The logits of two short prompts about noise.
inline Tensor some_logits(const InstructBlipForConditionalGeneration& model) {
  const InstructBlipConfig& config = model.config();
  Tensor pixels(DType::Float32,
                {2, 3, config.vision_config.image_size, config.vision_config.image_size});
  unsigned state = 1;
  for (float& value : pixels.span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  }
  const Index queries = config.num_query_tokens;
  Tensor ids(DType::Int64, {2, queries + 4}), questions(DType::Int64, {2, 3});
  Index i = 0;
  for (std::int64_t& id : ids.span<std::int64_t>()) {
    id = i % (queries + 4) < queries ? config.image_token_index.value() : 5 + i % 90;
    ++i;
  }
  for (std::int64_t& id : questions.span<std::int64_t>()) id = 3 + ++i % 20;
  const Tensor answers(std::vector<std::int64_t>{0, 7, 9, 0, 8, 4}, {2, 3});
  InstructBlipInputs inputs{
      .pixel_values = pixels, .qformer_input_ids = questions, .input_ids = ids};
  if (!config.use_decoder_only_language_model()) inputs.decoder_input_ids = answers;
  return model.forward(inputs).logits;
}

}  // namespace instructblip::testing
