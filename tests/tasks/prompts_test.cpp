#include "instructblip/tasks/prompts.h"

#include <gtest/gtest.h>

#include <set>

#include "instructblip/core/error.h"
#include "support/expect_error.h"

namespace instructblip {
namespace {

using testing::expect_error;

TEST(Prompts, TasksHaveTheirPromptsByName) {
  EXPECT_EQ(task_preset("okvqa").prompt, "Question: {} Short Answer:");
  EXPECT_EQ(task_preset("okvqa").length_penalty, -1);
  EXPECT_EQ(task_preset("coco_caption").prompt, "A short image caption.");
  EXPECT_EQ(task_preset("coco_caption").max_len, 80);
  EXPECT_EQ(task_preset("coco_caption").min_len, 10);
  EXPECT_EQ(task_preset("modelnet40").max_len, 3);
  std::set<std::string_view> names;
  for (const TaskPreset& task : task_presets()) EXPECT_TRUE(names.insert(task.name).second);
  expect_error<InputError>([] { task_preset("chess"); }, {"chess", "okvqa", "textvqa"});
}

TEST(Prompts, InstructionTemplatesAreThePapers) {
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

TEST(Prompts, WhatComesInFrontIsInLavisOrder) {
  EXPECT_EQ(
      build_prompt(
          "Question: {}",
          {.question = "q?", .context = "facts", .history = "q: a? a: b", .caption = "a dog"}),
      "This image has the caption \"a dog\". dialog history: q: a? a: b\ncontext: facts. "
      "Question: q?");
  EXPECT_EQ(build_prompt("", {.question = "raw {} text"}), "raw {} text");
}

}  // namespace
}  // namespace instructblip
