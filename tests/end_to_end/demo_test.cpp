// Compares the demo models' answers about PNG files, greedy and with five beams, with those of the
// reference, which examples/demo_model/make_answers.py writes.
#include <set>

#include "end_to_end/demo_files.h"
#include "instructblip/kernels/dispatch.h"
#include "support/compare.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::demo_lines;
using testing::field;
using testing::ids_of;
using testing::kDemoAnswers;

struct Answer {
  std::string image, question, greedy_text, beam_text;
  std::vector<std::int64_t> greedy_ids, beam_ids;
  bool near_tie = false;
};

std::vector<Answer> read_answers(const std::string& decoder) {
  std::vector<Answer> answers;
  for (const std::string& line : demo_lines("answers_" + decoder + ".json")) {
    answers.push_back({field(line, "image"), field(line, "question"), field(line, "greedy_text"),
                       field(line, "beam_text"), ids_of(field(line, "greedy_ids")),
                       ids_of(field(line, "beam_ids")), field(line, "near_tie") == "true"});
  }
  return answers;
}

/// The parameter is the decoder.
class DemoModelTest : public ::testing::TestWithParam<std::string> {
 protected:
  static const InstructBlipProcessor& processor() { return testing::demo(GetParam()).processor; }
  static const InstructBlipForConditionalGeneration& model() {
    return testing::demo(GetParam()).model;
  }
  static std::vector<Answer> answers() { return read_answers(GetParam()); }
  static std::vector<std::int64_t> ask(const Answer& answer, const GenerationConfig& config) {
    const BatchFeature inputs =
        processor()({Image::open(kDemoAnswers / answer.image)}, {answer.question});
    return model().generate(inputs, config).new_tokens()[0];
  }
};

TEST_P(DemoModelTest, GreedyAnswersEqualTheReference) {
  ASSERT_GT(answers().size(), 50u);
  for (const Answer& answer : answers()) {
    if (answer.near_tie) continue;
    const auto ids = ask(answer, {.max_new_tokens = 64});
    EXPECT_EQ(ids, answer.greedy_ids) << answer.image << ": " << answer.question;
    EXPECT_EQ(ask(answer, {.max_new_tokens = 64, .prompt_lookup_num_tokens = 10}), ids);
    EXPECT_EQ(processor().decode(ids, {.skip_special_tokens = true}), answer.greedy_text);
  }
}

TEST_P(DemoModelTest, GreedyAnswersAreTheSameOnEveryKernelLevel) {
  const std::string level = kernel_level();
  for (const std::string& other : available_kernel_levels()) {
    if (other == level) continue;
    force_kernel_level(other);
    const std::vector<Answer> all = answers();
    for (std::size_t i = 0; i < all.size(); i += 6) {  // all of them take minutes with sanitizers
      const Answer& answer = all[i];
      if (answer.near_tie) continue;
      EXPECT_EQ(ask(answer, {.max_new_tokens = 64}), answer.greedy_ids)
          << other << ", " << answer.image << ": " << answer.question;
    }
  }
  force_kernel_level(level);
}

TEST_P(DemoModelTest, BeamAnswersEqualTheReference) {
  for (const Answer& answer : answers()) {
    if (answer.near_tie) continue;
    const auto ids = ask(answer, {.max_new_tokens = 64, .num_beams = 5});
    EXPECT_EQ(ids, answer.beam_ids) << answer.image << ": " << answer.question;
    EXPECT_EQ(processor().decode(ids, {.skip_special_tokens = true}), answer.beam_text);
  }
}

TEST_P(DemoModelTest, ABatchAndAnEncodedImageGiveTheSameAnswers) {
  const std::vector<Answer> asked = answers();
  std::vector<Image> images;
  std::vector<std::string> questions;
  for (std::size_t i = 0; i < 6; ++i) {
    images.push_back(Image::open(kDemoAnswers / asked[i].image));
    questions.push_back(asked[i].question);
  }
  const BatchFeature batch = processor()(images, questions, {.padding = PaddingStrategy::Longest});
  const auto together = model().generate(batch, {.max_new_tokens = 64}).new_tokens();
  for (std::size_t i = 0; i < images.size(); ++i) {
    EXPECT_EQ(together[i], ask(asked[i], {.max_new_tokens = 64})) << questions[i];
    const VisionFeatures features = model().encode_image(processor()({images[i]}, {}).pixel_values);
    const BatchFeature text = processor()({}, {questions[i]}, {.num_images = 1});
    EXPECT_EQ(model().generate(text, {.max_new_tokens = 64}, features).new_tokens()[0],
              together[i]);
  }
}

/// A copy of the demo model's processor whose tokenizer_config.json has this padding side.
InstructBlipProcessor processor_that_pads(const std::string& decoder, const std::string& side) {
  const testing::TemporaryFolder copy;
  const auto path = copy.path() / decoder;
  std::filesystem::copy(testing::demo_folder(decoder), path,
                        std::filesystem::copy_options::recursive);
  std::ifstream stream(path / "tokenizer_config.json");
  std::string config(std::istreambuf_iterator<char>(stream), {});
  config.insert(config.find('{') + 1, "\"padding_side\": \"" + side + "\",");
  copy.write(std::filesystem::path(decoder) / "tokenizer_config.json", config);
  return InstructBlipProcessor::from_pretrained(path);
}

TEST_P(DemoModelTest, EverySampleOfABatchHasTheBitsThatItHasAlone) {
  const std::vector<Answer> asked = answers();
  std::vector<Image> images;
  std::vector<std::string> questions;
  std::set<std::size_t> lengths;
  for (std::size_t i = 0; i < 30; ++i) {
    images.push_back(Image::open(kDemoAnswers / asked[i].image));
    questions.push_back(asked[i].question);
    lengths.insert(processor().qformer_tokenizer().encode(asked[i].question).size());
  }
  ASSERT_GT(lengths.size(), 4u);
  const GenerationConfig config{.max_new_tokens = 3, .output_logits = true};
  for (const char* side : {"left", "right"}) {
    SCOPED_TRACE(side);
    const InstructBlipProcessor pads = processor_that_pads(GetParam(), side);
    const GenerateOutput together =
        model().generate(pads(images, questions, {.padding = PaddingStrategy::Longest}), config);
    for (std::size_t i = 0; i < images.size(); ++i) {
      const GenerateOutput alone = model().generate(pads(images[i], questions[i]), config);
      for (std::size_t step = 0; step < alone.logits.size(); ++step) {
        testing::expect_equal(together.logits[step].narrow(0, static_cast<Index>(i), 1),
                              alone.logits[step]);
      }
    }
  }
}

TEST_P(DemoModelTest, TheAnswerDependsOnTheInstruction) {
  const Image image = Image::open(testing::kAssets / "scene.png");
  std::map<std::string, int> given;
  for (const char* question : {"describe the image.", "how many objects are there?",
                               "what does the sign say?", "what colour is the ring?"}) {
    const auto ids = model().generate(processor()({image}, {question}), {.max_new_tokens = 64});
    ++given[processor().decode(ids.new_tokens()[0], {.skip_special_tokens = true})];
  }
  EXPECT_EQ(given.size(), 4u);
}

TEST_P(DemoModelTest, StreamedPiecesFormTheAnswer) {
  const Answer answer = answers()[2];
  std::string streamed;
  TextStreamer streamer(processor().tokenizer(),
                        [&](std::string_view piece) { return streamed += piece, true; }, true,
                        {.skip_special_tokens = true});
  const BatchFeature inputs =
      processor()({Image::open(kDemoAnswers / answer.image)}, {answer.question});
  model().generate(inputs, {.max_new_tokens = 64}, {.streamer = &streamer});
  EXPECT_EQ(streamed, answer.greedy_text);
}

INSTANTIATE_TEST_SUITE_P(Decoders, DemoModelTest, ::testing::Values("llama", "opt", "t5"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace instructblip
