// The prompts that InstructBLIP was trained and evaluated with: the templates of the paper's
// appendix (https://arxiv.org/abs/2305.06500), and the prompts of LAVIS and its way of filling them
// in (https://github.com/salesforce/LAVIS). The model is sensitive to the wording: "Short answer:"
// gives words where "Answer:" may give digits.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// A task's name, prompt and decoding options in LAVIS' evaluation; src/tasks/prompts.cpp gives the
/// sources. "{}" in the prompt stands for the question, the text in the image and so on. If
/// length_penalty is unset, the default of predict_answers applies.
struct TaskPreset {
  std::string_view name;
  std::string_view prompt;
  Index num_beams = 5;
  Index max_len = 10;
  Index min_len = 1;
  std::optional<double> length_penalty = {};
  double repetition_penalty = 1.5;
};

/// All tasks.
INSTRUCTBLIP_EXPORT std::span<const TaskPreset> task_presets();
/// The task of that name. Throws InputError, listing the names, if there is none.
INSTRUCTBLIP_EXPORT const TaskPreset& task_preset(std::string_view name);

/// The templates of instruction tuning for a task: "caption" (13 templates), "vqa" (10; "{}" is the
/// question) or "vqg" (6; "{}" is the answer to generate a question for). Throws InputError for any
/// other task.
INSTRUCTBLIP_EXPORT std::span<const std::string_view> instruction_templates(std::string_view task);

/// Replaces each "{}" by the next of `values`. Further values are ignored, as by Python's
/// str.format. Throws InputError if there are too few values.
INSTRUCTBLIP_EXPORT std::string fill_prompt(std::string_view prompt,
                                            const std::vector<std::string>& values);
/// The number of "{}" in a prompt.
INSTRUCTBLIP_EXPORT Index prompt_places(std::string_view prompt);

/// The first 30 tokens, joined by ", ".
INSTRUCTBLIP_EXPORT std::string join_ocr_tokens(const std::vector<std::string>& tokens);
/// "(a) first (b) second". Throws InputError if there are more than 26 choices.
INSTRUCTBLIP_EXPORT std::string list_choices(const std::vector<std::string>& choices);

/// "context: CONTEXT. PROMPT", as for ScienceQA.
INSTRUCTBLIP_EXPORT std::string with_context(std::string_view prompt, std::string_view context);
/// "dialog history: HISTORY\nPROMPT", as for visual dialogue.
INSTRUCTBLIP_EXPORT std::string with_history(std::string_view prompt, std::string_view history);
/// `This image has the caption "CAPTION". PROMPT`.
INSTRUCTBLIP_EXPORT std::string with_caption(std::string_view prompt, std::string_view caption);

/// A question and what may accompany it. Empty fields are left out.
struct PromptParts {
  std::string question = {};
  std::vector<std::string> ocr_tokens = {};
  std::vector<std::string> choices = {};
  std::string context = {};
  std::string history = {};
  std::string caption = {};
};

/// Fills in a template like LAVIS. An empty template gives the question itself. Two "{}" stand for
/// OCR tokens and question or, without OCR tokens, for question and choices. One "{}" stands for
/// the question or, if that is empty, for the OCR tokens (text captions). Then context, history and
/// caption are put in front, in this order, so that the caption comes first. Throws InputError if
/// there are two "{}" but neither OCR tokens nor choices, where LAVIS raises an exception.
INSTRUCTBLIP_EXPORT std::string build_prompt(std::string_view prompt, const PromptParts& parts);

/// LAVIS' text processors `blip_question` and `blip_caption`, which its evaluations apply to
/// questions and captions. transformers and the rest of this library use texts unchanged. The text
/// is converted to lower case and cut after `max_words` words. pre_question removes the characters
/// .!"()*#:;~ and spaces at the end. pre_caption replaces these characters by spaces, then
/// collapses runs of white space and strips spaces at both ends. The result is Python's, except
/// that a capital sigma becomes the same small letter everywhere, even at the end of a word. Throws
/// InputError if the text is not UTF-8 or max_words is negative.
INSTRUCTBLIP_EXPORT std::string pre_question(std::string_view question, Index max_words = 50);
INSTRUCTBLIP_EXPORT std::string pre_caption(std::string_view caption, Index max_words = 50);

}  // namespace instructblip
