// Folders with quantised weights among the fixtures.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>

#include "instructblip/models/modeling_instructblip.h"
#include "support/fixtures.h"
#include "support/log_capture.h"

namespace instructblip::testing {

// The model in the fixture folder NAME has the logits of NAME/expected, to `tolerance` times the
// largest of them, and loads without a warning.
inline void expect_logits_of_quantized_folder(const std::string& name, float tolerance) {
  const LogCapture log;
  const auto model = InstructBlipForConditionalGeneration::from_pretrained(
      fixtures_folder() / name, {.dtype = DType::Float32});
  const Fixture fixture(name + "/expected");
  const Tensor pixels = fixture["pixel_values"], ids = fixture["input_ids"],
               mask = fixture["attention_mask"], questions = fixture["qformer_input_ids"],
               question_mask = fixture["qformer_attention_mask"];
  const bool is_t5 = fixture.has("decoder_input_ids");
  const Tensor decoder_ids = is_t5 ? fixture["decoder_input_ids"] : Tensor();
  InstructBlipInputs inputs{.pixel_values = pixels,
                            .qformer_input_ids = questions,
                            .qformer_attention_mask = question_mask,
                            .input_ids = ids,
                            .attention_mask = mask};
  if (is_t5) inputs.decoder_input_ids = decoder_ids;
  const Tensor logits = model.forward(inputs).logits;
  const Tensor expected = fixture["logits"];
  ASSERT_EQ(logits.shape(), expected.shape());
  float largest = 0, difference = 0;
  for (Index i = 0; i < logits.size(); ++i) {
    const float value = expected.data<float>()[i];
    largest = std::max(largest, std::abs(value));
    difference = std::max(difference, std::abs(logits.data<float>()[i] - value));
  }
  ::testing::Test::RecordProperty("difference", std::to_string(difference / largest));
  EXPECT_LT(difference, tolerance * largest);
  EXPECT_TRUE(log.messages().empty()) << log.messages()[0];
}

}  // namespace instructblip::testing
