// Opt-in: a real checkpoint against the outputs published for it.
//   INSTRUCTBLIP_REAL_MODEL   folder of instructblip-vicuna-7b or instructblip-flan-t5-xl
//   INSTRUCTBLIP_REAL_IMAGE   LAVIS' docs/_static/Confusing-Pictures.jpg
#include <cstdlib>

#include "instructblip/instructblip.h"

namespace instructblip {
namespace {

TEST(RealCheckpointTest, AnswersAsPublished) {
  const char* folder = std::getenv("INSTRUCTBLIP_REAL_MODEL");
  const char* picture = std::getenv("INSTRUCTBLIP_REAL_IMAGE");
  if (folder == nullptr || picture == nullptr) {
    GTEST_SKIP() << "set INSTRUCTBLIP_REAL_MODEL and INSTRUCTBLIP_REAL_IMAGE to run it";
  }
  const auto processor = InstructBlipProcessor::from_pretrained(folder);
  const auto model = InstructBlipForConditionalGeneration::from_pretrained(folder);
  const BatchFeature inputs = processor({Image::open(std::filesystem::path(picture))},
                                        {"What is unusual about this image?"});
  const bool is_vicuna = model.config().use_decoder_only_language_model();

  // Beginnings only: the published ids come from 8-bit or bfloat16 weights on another device.
  const auto greedy =
      model.generate(inputs, {.max_new_tokens = 30, .eos_token_id = is_vicuna ? 2 : 1});
  const std::string text = processor.decode(greedy.new_tokens()[0], {.skip_special_tokens = true});
  EXPECT_NE(
      text.find(is_vicuna ? "The unusual aspect of this image is that a man is ironing clothes"
                          : "iron"),
      std::string::npos)
      << text;

  const auto beams = model.generate(inputs, {.max_length = 256,
                                             .min_length = 1,
                                             .num_beams = 5,
                                             .repetition_penalty = 1.5,
                                             .length_penalty = 1.0,
                                             .eos_token_id = is_vicuna ? 2 : 1});
  const std::string beam_text =
      processor.decode(beams.new_tokens()[0], {.skip_special_tokens = true});
  const std::string beginning =
      is_vicuna ? "The unusual aspect of this image is that a man is ironing clothes on the back "
                  "of a yellow"
                : "The unusual image depicts a man ironing clothes on the back of a yellow van";
  EXPECT_NE(beam_text.find(beginning), std::string::npos) << beam_text;
}

}  // namespace
}  // namespace instructblip
