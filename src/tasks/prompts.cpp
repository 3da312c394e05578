#include "instructblip/tasks/prompts.h"

#include <algorithm>
#include <array>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

constexpr std::string_view kPlace = "{}";
constexpr std::size_t kMostOcrTokens = 30;

// Captioning and question answering as in lavis/projects/instructblip; the rest as the paper's
// appendix words the held-out sets.
constexpr auto kTasks = std::to_array<TaskPreset>({
    {"coco_caption", "A short image caption.", 5, 80, 10, 1},
    {"nocaps", "A short image caption.", 5, 80, 10, 1},
    {"flickr30k", "A short image description:", 5, 80, 10, 1},
    {"msvd_caption", "a short description", 5, 80, 10, 1},
    {"msrvtt_caption", "a short description", 5, 80, 10, 1},
    {"vatex_caption", "a short description", 5, 80, 10, 1},
    {"okvqa", "Question: {} Short Answer:", 5, 10, 1, -1},
    {"msvd_qa", "Question: {} Short Answer:", 5, 30, 1, -1},
    {"msrvtt_qa", "Question: {} Short Answer:", 5, 10, 1, -1},
    {"gqa", "Question: {} Short answer:", 5, 10, 1, -1},
    {"vizwiz", "Question: {} Short answer:", 5, 10, 1, -1},
    {"iconqa", "Question: {} Options: {}. Short answer:", 5, 10, 1, -1},
    {"textvqa", "OCR tokens: {}. Question: {} Short answer:", 5, 10, 1, -1},
    {"scienceqa", "Question: {} Options: {}. Answer:", 5, 10, 1, -1},
    {"visual_dialog", "Question: {} Short answer:", 5, 10, 1, -1},
    {"vsr", "Based on the image, is this statement true or false? \"{}\" Answer:", 5, 10, 1, -1},
    {"hateful_memes", "This is an image with: \"{}\" written on it. Is it hateful? Answer:", 5, 10,
     1, -1},
    {"modelnet40", "describe the 3d model.", 5, 3, 1, 1},
});

constexpr auto kCaption = std::to_array<std::string_view>({
    "A short image caption:",
    "A short image description:",
    "A photo of",
    "An image that shows",
    "Write a short description for the image.",
    "Write a description for the photo.",
    "Provide a description of what is presented in the photo.",
    "Briefly describe the content of the image.",
    "Can you briefly explain what you see in the image?",
    "Could you use a few words to describe what you perceive in the photo?",
    "Please provide a short depiction of the picture.",
    "Using language, provide a short account of the image.",
    "Use a few words to illustrate what is happening in the picture.",
});

constexpr auto kVqa = std::to_array<std::string_view>({
    "{}",
    "Question: {}",
    "{} A short answer to the question is",
    "Q: {} A:",
    "Question: {} Short answer:",
    "Given the image, answer the following question with no more than three words. {}",
    "Based on the image, respond to this question with a short answer: {}. Answer:",
    "Use the provided image to answer the question: {} Provide your answer as short as possible:",
    "What is the answer to the following question? \"{}\"",
    "The question \"{}\" can be answered using the image. A short answer is",
});

constexpr auto kVqg = std::to_array<std::string_view>({
    "Given the image, generate a question whose answer is: {}. Question:",
    "Based on the image, provide a question with the answer: {}. Question:",
    "Given the visual representation, create a question for which the answer is \"{}\".",
    "From the image provided, craft a question that leads to the reply: {}. Question:",
    "Considering the picture, come up with a question where the answer is: {}.",
    "Taking the image into account, generate an question that has the answer: {}. Question:",
});

}  // namespace

std::span<const TaskPreset> task_presets() { return kTasks; }

const TaskPreset& task_preset(std::string_view name) {
  std::string known;
  for (const TaskPreset& task : kTasks) {
    if (task.name == name) return task;
    known += (known.empty() ? "" : ", ") + std::string(task.name);
  }
  throw InputError("there is no task \"" + std::string(name) + "\"; known are " + known);
}

std::span<const std::string_view> instruction_templates(std::string_view task) {
  if (task == "caption") return kCaption;
  if (task == "vqa") return kVqa;
  if (task == "vqg") return kVqg;
  throw InputError("there are no instruction templates for \"" + std::string(task) +
                   "\"; known are caption, vqa, vqg");
}

Index prompt_places(std::string_view prompt) {
  Index places = 0;
  for (std::size_t at = prompt.find(kPlace); at != std::string_view::npos;
       at = prompt.find(kPlace, at + kPlace.size())) {
    ++places;
  }
  return places;
}

std::string fill_prompt(std::string_view prompt, const std::vector<std::string>& values) {
  const Index places = prompt_places(prompt);
  if (static_cast<Index>(values.size()) < places) {
    throw InputError("the prompt \"" + std::string(prompt) + "\" has " + std::to_string(places) +
                     " places \"{}\", but " + std::to_string(values.size()) + " values were given");
  }
  std::string filled;
  std::size_t begin = 0;
  for (const std::string& value : values) {
    const std::size_t place = prompt.find(kPlace, begin);
    if (place == std::string_view::npos) break;
    filled += std::string(prompt.substr(begin, place - begin)) + value;
    begin = place + kPlace.size();
  }
  return filled + std::string(prompt.substr(begin));
}

std::string join_ocr_tokens(const std::vector<std::string>& tokens) {
  std::string joined;
  for (std::size_t i = 0; i < std::min(tokens.size(), kMostOcrTokens); ++i) {
    joined += (i == 0 ? "" : ", ") + tokens[i];
  }
  return joined;
}

std::string list_choices(const std::vector<std::string>& choices) {
  if (choices.size() > 26) {
    throw InputError("choices are named (a) to (z): " + std::to_string(choices.size()) +
                     " were given, at most 26 are possible");
  }
  std::string list;
  char letter = 'a';
  for (const std::string& choice : choices) {
    list += std::string(list.empty() ? "" : " ") + "(" + letter + ") " + choice;
    ++letter;
  }
  return list;
}

std::string with_context(std::string_view prompt, std::string_view context) {
  return "context: " + std::string(context) + ". " + std::string(prompt);
}

std::string with_history(std::string_view prompt, std::string_view history) {
  return "dialog history: " + std::string(history) + "\n" + std::string(prompt);
}

std::string with_caption(std::string_view prompt, std::string_view caption) {
  return "This image has the caption \"" + std::string(caption) + "\". " + std::string(prompt);
}

std::string build_prompt(std::string_view prompt, const PromptParts& parts) {
  std::string text;
  if (prompt.empty()) {
    text = parts.question;
  } else if (prompt_places(prompt) == 2) {
    if (!parts.ocr_tokens.empty()) {
      text = fill_prompt(prompt, {join_ocr_tokens(parts.ocr_tokens), parts.question});
    } else if (!parts.choices.empty()) {
      text = fill_prompt(prompt, {parts.question, list_choices(parts.choices)});
    } else {
      throw InputError("the prompt \"" + std::string(prompt) +
                       "\" has two places \"{}\": OCR tokens or choices are needed beside the "
                       "question");
    }
  } else if (parts.question.empty() && !parts.ocr_tokens.empty()) {
    text = fill_prompt(prompt, {join_ocr_tokens(parts.ocr_tokens)});
  } else {
    text = fill_prompt(prompt, {parts.question});
  }
  if (!parts.context.empty()) text = with_context(text, parts.context);
  if (!parts.history.empty()) text = with_history(text, parts.history);
  if (!parts.caption.empty()) text = with_caption(text, parts.caption);
  return text;
}

}  // namespace instructblip
