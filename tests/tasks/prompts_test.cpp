#include "instructblip/tasks/prompts.h"

#include <gtest/gtest.h>

#include <set>

#include "instructblip/core/error.h"
#include "support/expect_error.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using testing::expect_error;

TEST(Prompts, TasksHaveTheirPromptsByName) {
  EXPECT_EQ(task_preset("okvqa").prompt, "Question: {} Short Answer:");
  EXPECT_EQ(task_preset("gqa").prompt, "Question: {} Short answer:");
  EXPECT_EQ(task_preset("nocaps").prompt, "A short image caption.");
  EXPECT_EQ(task_preset("flickr30k").prompt, "A short image description:");
  EXPECT_EQ(task_preset("vatex_caption").prompt, "a short description");
  std::set<std::string_view> names;
  for (const TaskPreset& task : task_presets()) EXPECT_TRUE(names.insert(task.name).second);
  expect_error<InputError>([] { task_preset("chess"); }, {"chess", "okvqa", "textvqa"});
}

TEST(Prompts, CaptionTasksAreDecodedAsInLavis) {
  for (const char* name : {"coco_caption", "nocaps", "flickr30k", "msvd_caption"}) {
    const TaskPreset& task = task_preset(name);
    EXPECT_EQ(task.num_beams, 5);
    EXPECT_EQ(task.max_len, 80);
    EXPECT_EQ(task.min_len, 10);
    EXPECT_EQ(task.length_penalty, 1.0);
    EXPECT_EQ(task.repetition_penalty, 1.15);
  }
}

TEST(Prompts, ShortAnswerTasksHaveNoLengthPenalty) {
  for (const char* name : {"okvqa", "msrvtt_qa", "gqa", "textvqa", "vsr"}) {
    const TaskPreset& task = task_preset(name);
    EXPECT_EQ(task.num_beams, 5);
    EXPECT_EQ(task.max_len, 10);
    EXPECT_EQ(task.min_len, 1);
    EXPECT_FALSE(task.length_penalty);
    EXPECT_EQ(task.repetition_penalty, 1.5);
  }
  EXPECT_EQ(task_preset("msvd_qa").max_len, 30);
  EXPECT_EQ(task_preset("modelnet40").max_len, 3);
  EXPECT_EQ(task_preset("modelnet40").length_penalty, -1.0);
}

TEST(Prompts, PromptsAreFilledWithAQuestionAndItsParts) {
  const auto filled = [](const char* task, const PromptParts& parts) {
    return build_prompt(task_preset(task).prompt, parts);
  };
  EXPECT_EQ(filled("iconqa", {.question = "which?", .choices = {"red", "blue"}}),
            "Question: which? Options: (a) red (b) blue. Short answer:");
  EXPECT_EQ(filled("textvqa", {.question = "who?", .ocr_tokens = {"a", "b"}}),
            "OCR tokens: a, b. Question: who? Short answer:");
  EXPECT_EQ(filled("scienceqa", {.question = "why?", .choices = {"x", "y"}, .context = "facts"}),
            "context: facts. Question: why? Options: (a) x (b) y. Answer:");
  EXPECT_EQ(filled("visual_dialog", {.question = "now?", .history = "q: a? a: b"}),
            "dialog history: q: a? a: b\nQuestion: now? Short answer:");
  EXPECT_EQ(filled("vsr", {.question = "The cat is left."}),
            "Based on the image, is this statement true or false? \"The cat is left.\" Answer:");
  EXPECT_EQ(filled("hateful_memes", {.question = "hi"}),
            "This is an image with: \"hi\" written on it. Is it hateful? Answer:");
}

TEST(Prompts, InstructionTemplatesEqualThoseOfThePaper) {
  EXPECT_EQ(instruction_templates("caption").size(), 13u);
  EXPECT_EQ(instruction_templates("vqa").size(), 10u);
  EXPECT_EQ(instruction_templates("vqg").size(), 6u);
  for (const char* task : {"vqa", "vqg"}) {
    for (const std::string_view text : instruction_templates(task)) {
      EXPECT_EQ(prompt_places(text), 1) << text;
    }
  }
  expect_error<InputError>([] { instruction_templates("chess"); }, {"caption, vqa, vqg"});
}

TEST(Prompts, PlacesAreFilledInOrder) {
  EXPECT_EQ(fill_prompt("Q: {} A: {}!", {"one", "two", "three"}), "Q: one A: two!");
  EXPECT_EQ(fill_prompt("{}{}", {"{}", "x"}), "{}x");
  EXPECT_EQ(fill_prompt("plain", {}), "plain");
  expect_error<InputError>([] { fill_prompt("{} {}", {"one"}); }, {"2 places", "1 values"});
}

TEST(Prompts, OcrTokensAreTheFirstThirty) {
  std::vector<std::string> tokens(31, "t");
  tokens[29] = "last";
  tokens[30] = "beyond";
  const std::string joined = join_ocr_tokens(tokens);
  EXPECT_TRUE(joined.ends_with("t, last"));
  EXPECT_EQ(join_ocr_tokens({}), "");
  EXPECT_EQ(build_prompt("OCR tokens: {}. Question: {} Short answer:",
                         {.question = "who?", .ocr_tokens = {"a", "b"}}),
            "OCR tokens: a, b. Question: who? Short answer:");
  EXPECT_EQ(build_prompt("Text: {}", {.ocr_tokens = {"a", "b"}}), "Text: a, b");
}

TEST(Prompts, ChoicesAreLettered) {
  EXPECT_EQ(build_prompt("Question: {} Options: {}. Short answer:",
                         {.question = "which?", .choices = {"red", "blue"}}),
            "Question: which? Options: (a) red (b) blue. Short answer:");
  EXPECT_NO_THROW(list_choices(std::vector<std::string>(26, "x")));
  expect_error<InputError>([] { list_choices(std::vector<std::string>(27, "x")); }, {"27", "26"});
  expect_error<InputError>([] { build_prompt("{} {}", {.question = "which?"}); }, {"choices"});
}

TEST(Prompts, PrefixesAreInLavisOrder) {
  EXPECT_EQ(
      build_prompt(
          "Question: {}",
          {.question = "q?", .context = "facts", .history = "q: a? a: b", .caption = "a dog"}),
      "This image has the caption \"a dog\". dialog history: q: a? a: b\ncontext: facts. "
      "Question: q?");
  EXPECT_EQ(build_prompt("", {.question = "raw {} text"}), "raw {} text");
}

TEST(TextProcessors, QuestionsAndCaptionsEqualPythonsResults) {
  const testing::Fixture fixture("answers/text_processors");
  const std::vector<std::string> texts = fixture.texts("texts");
  for (const Index words : {0, 1, 2, 50}) {
    const auto questions = fixture.texts("question." + std::to_string(words));
    const auto captions = fixture.texts("caption." + std::to_string(words));
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(pre_question(texts[i], words), questions[i]) << "of \"" << texts[i] << "\"";
      EXPECT_EQ(pre_caption(texts[i], words), captions[i]) << "of \"" << texts[i] << "\"";
    }
  }
  EXPECT_EQ(pre_question(texts[0]), fixture.texts("question.50")[0]);
}

TEST(TextProcessors, WhiteSpaceIsThatOfPython) {
  const Tensor fixture = testing::Fixture("answers/text_processors")["white_space"];
  const auto span = fixture.span<std::int64_t>();
  const std::set<std::int64_t> white_space(span.begin(), span.end());
  for (std::int64_t c = 0; c < 0x110000; ++c) {
    if (c == 0x20 || (c >= 0xd800 && c < 0xe000)) continue;
    std::string character;
    if (c < 0x80) {
      character = {static_cast<char>(c)};
    } else {
      for (int shift = c < 0x800 ? 6 : c < 0x10000 ? 12 : 18; shift >= 0; shift -= 6) {
        const int mark = !character.empty() ? 0x80 : c < 0x800 ? 0xc0 : c < 0x10000 ? 0xe0 : 0xf0;
        character += static_cast<char>(mark | ((c >> shift) & 0x3f));
      }
    }
    const bool joined = pre_caption("x" + character + character + "x") == "x x";
    const bool mark = std::string_view(".!\"()*#:;~").find(character) != std::string_view::npos;
    EXPECT_EQ(joined, mark || white_space.contains(c)) << c;
  }
}

TEST(TextProcessors, InvalidTextIsAnError) {
  expect_error<InputError>([] { pre_question("ab\xff"); }, {"UTF-8", "2"});
  expect_error<InputError>([] { pre_caption("\xc3"); }, {"UTF-8"});
  expect_error<InputError>([] { pre_caption("a", -1); }, {"max_words", "-1"});
}

}  // namespace
}  // namespace instructblip
