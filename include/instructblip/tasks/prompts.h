// Prompts as InstructBLIP was trained and evaluated with them: the paper's templates
// (https://arxiv.org/abs/2305.06500, appendix), LAVIS' files and how LAVIS fills them in
// (https://github.com/salesforce/LAVIS). The model is sensitive to the wording: "Short answer:"
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

/// A task by name: its prompt ("{}" is where the question, the text on the picture, ... goes) and
/// the decoding that LAVIS evaluates it with. src/tasks/prompts.cpp says where each comes from.
/// Without length_penalty: predict_answers' default for the kind of decoder.
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
/// One of them. Throws InputError that lists the names.
INSTRUCTBLIP_EXPORT const TaskPreset& task_preset(std::string_view name);

/// The templates of instruction tuning: "caption" (13), "vqa" (10, "{}" is the question) or "vqg"
/// (6, "{}" is the answer that a question is asked for). Throws InputError on another name.
INSTRUCTBLIP_EXPORT std::span<const std::string_view> instruction_templates(std::string_view task);

/// Puts `values` one after the other in the places of "{}". Values beyond the last place are left
/// out, as Python's str.format does. Throws InputError if there are too few.
INSTRUCTBLIP_EXPORT std::string fill_prompt(std::string_view prompt,
                                            const std::vector<std::string>& values);
/// How often "{}" stands in a prompt.
INSTRUCTBLIP_EXPORT Index prompt_places(std::string_view prompt);

/// The first 30 tokens, joined by ", ".
INSTRUCTBLIP_EXPORT std::string join_ocr_tokens(const std::vector<std::string>& tokens);
/// "(a) first (b) second". Throws InputError if there are more than 26.
INSTRUCTBLIP_EXPORT std::string list_choices(const std::vector<std::string>& choices);

/// "context: CONTEXT. PROMPT" (ScienceQA).
INSTRUCTBLIP_EXPORT std::string with_context(std::string_view prompt, std::string_view context);
/// "dialog history: HISTORY\nPROMPT" (visual dialogue).
INSTRUCTBLIP_EXPORT std::string with_history(std::string_view prompt, std::string_view history);
/// `This image has the caption "CAPTION". PROMPT`.
INSTRUCTBLIP_EXPORT std::string with_caption(std::string_view prompt, std::string_view caption);

/// What a question may bring along; what is empty is left out.
struct PromptParts {
  std::string question = {};
  std::vector<std::string> ocr_tokens = {};
  std::vector<std::string> choices = {};
  std::string context = {};
  std::string history = {};
  std::string caption = {};
};

/// As LAVIS builds a prompt. With an empty template: the question itself. With two places: OCR
/// tokens and question, or question and choices; with one place: OCR tokens where there is no
/// question (captions of text), else the question. Then context, history and caption are put in
/// front, in this order, so that a caption comes first. Throws InputError if two places have
/// neither OCR tokens nor choices, which LAVIS dies of.
INSTRUCTBLIP_EXPORT std::string build_prompt(std::string_view prompt, const PromptParts& parts);

/// LAVIS' `blip_question` and `blip_caption` text processors, which its evaluations give questions
/// and captions to; transformers, and all else here, takes texts as they are. Lower case without
/// any of .!"()*#:;~ (a caption has a space in its place, then runs of white space become one
/// space), without spaces at the end (a caption's at both ends), cut behind `max_words` words. As
/// Python's, but a capital sigma becomes the same letter everywhere. Throws InputError on text that
/// is not UTF-8 or on negative max_words.
INSTRUCTBLIP_EXPORT std::string pre_question(std::string_view question, Index max_words = 50);
INSTRUCTBLIP_EXPORT std::string pre_caption(std::string_view caption, Index max_words = 50);

}  // namespace instructblip
