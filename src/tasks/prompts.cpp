#include "instructblip/tasks/prompts.h"

#include <algorithm>
#include <array>

#include "instructblip/core/error.h"
#include "tokenization/unicode.h"

namespace instructblip {
namespace {

constexpr std::string_view kPlace = "{}";
constexpr std::string_view kMarks = ".!\"()*#:;~";
constexpr std::size_t kMostOcrTokens = 30;

constexpr double kCaptionRepetition = 1.15;

constexpr auto kTasks = std::to_array<TaskPreset>({
    // lavis/projects/instructblip/caption_*.yaml: the prompt under `model`.
    // lavis/tasks/captioning.py ignores the `prompt` under `run` ("describe the video" in some
    // files) and sets its own repetition_penalty. Only the VATEX file for Vicuna-13B has "describe
    // the video" and length_penalty 0.
    {"coco_caption", "A short image caption.", 5, 80, 10, 1.0, kCaptionRepetition},
    {"nocaps", "A short image caption.", 5, 80, 10, 1.0, kCaptionRepetition},
    {"msvd_caption", "a short description", 5, 80, 10, 1.0, kCaptionRepetition},
    {"msrvtt_caption", "a short description", 5, 80, 10, 1.0, kCaptionRepetition},
    {"vatex_caption", "a short description", 5, 80, 10, 1.0, kCaptionRepetition},
    // lavis/projects/instructblip/qa_*.yaml. lavis/tasks/vqa.py ignores their length_penalty of -1,
    // so the default of predict_answers applies.
    {"okvqa", "Question: {} Short Answer:"},
    {"msvd_qa", "Question: {} Short Answer:", 5, 30},
    {"msrvtt_qa", "Question: {} Short Answer:"},
    // lavis/projects/instructblip/classification_modelnet40_*.yaml, with the length_penalty of
    // lavis/tasks/multimodal_classification.py. Candidates have the form " a 3d model of a {}".
    {"modelnet40", "describe the 3d model.", 5, 3, 1, -1.0},

    // LAVIS has no file for the other data sets. Their prompts follow the paper's appendix E; their
    // decoding is as above. In LAVIS issue 326, an author gives ScienceQA's prompt, preceded by the
    // context (see with_context), and says that its options are ranked (see predict_class). IconQA,
    // visual dialogue (preceded by its history, see with_history) and hateful memes are ranked as
    // well. For MSVD and MSRVTT, the appendix has "Short answer:" too (issue 333).
    {"flickr30k", "A short image description:", 5, 80, 10, 1.0, kCaptionRepetition},
    {"gqa", "Question: {} Short answer:"},
    {"vizwiz", "Question: {} Short answer:"},
    {"ivqa", "Question: {} Short answer:"},
    {"visual_dialog", "Question: {} Short answer:"},
    {"iconqa", "Question: {} Options: {}. Short answer:"},
    {"textvqa", "OCR tokens: {}. Question: {} Short answer:"},
    {"scienceqa", "Question: {} Options: {}. Answer:"},
    {"vsr", "Based on the image, is this statement true or false? \"{}\" Answer:"},
    {"hateful_memes", "This is an image with: \"{}\" written on it. Is it hateful? Answer:"},
});

// The templates of instruction tuning, in the order of the paper's appendix. LAVIS does not contain
// them: its instruction_text_processors.py belongs to X-InstructBLIP.
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

// re.sub(r"([.!\"()*#:;~])", replacement, text.lower())
std::string without_marks(std::string_view text, std::string_view replacement) {
  if (const auto broken = unicode::first_invalid_byte(text)) {
    throw InputError("the text is not UTF-8 at byte " + std::to_string(*broken));
  }
  std::string kept;
  for (const char c : unicode::lower_case(text)) {
    if (kMarks.find(c) == std::string_view::npos) {
      kept += c;
    } else {
      kept += replacement;
    }
  }
  return kept;
}

// re.sub(r"\s{2,}", " ", text)
std::string with_single_spaces(std::string_view text) {
  std::string joined;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at, count = 0;
    for (std::size_t next = at; next < text.size(); end = next, ++count) {
      const char32_t c = unicode::next(text, next);
      // Python's \s includes the four ASCII separators, which are not in Unicode's White_Space.
      if (!unicode::is_whitespace(c) && !(c >= 0x1c && c <= 0x1f)) break;
    }
    if (count >= 2) joined += ' ';
    if (count == 0) unicode::next(text, end);
    if (count < 2) joined += text.substr(at, end - at);
    at = end;
  }
  return joined;
}

// " ".join(text.split(" ")[:max_words])
std::string first_words(const std::string& text, Index max_words) {
  if (max_words < 0) {
    throw InputError("max_words is " + std::to_string(max_words) + ", expected at least 0");
  }
  if (max_words == 0) return {};
  std::size_t end = text.find(' ');
  for (Index words = 1; words < max_words && end != std::string::npos; ++words) {
    end = text.find(' ', end + 1);
  }
  return text.substr(0, end);
}

void strip_end(std::string& text, char c) { text.erase(text.find_last_not_of(c) + 1); }

}  // namespace

std::span<const TaskPreset> task_presets() { return kTasks; }

const TaskPreset& task_preset(std::string_view name) {
  std::string known;
  for (const TaskPreset& task : kTasks) {
    if (task.name == name) return task;
    known += (known.empty() ? "" : ", ") + std::string(task.name);
  }
  throw InputError("unknown task \"" + std::string(name) + "\", expected one of " + known);
}

std::span<const std::string_view> instruction_templates(std::string_view task) {
  if (task == "caption") return kCaption;
  if (task == "vqa") return kVqa;
  if (task == "vqg") return kVqg;
  throw InputError("there are no instruction templates for \"" + std::string(task) +
                   "\", expected one of caption, vqa, vqg");
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
                     " places \"{}\", but only " + std::to_string(values.size()) +
                     " values were given");
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
    throw InputError("there are " + std::to_string(choices.size()) +
                     " choices, expected at most 26, which are named (a) to (z)");
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
                       "\" has two places \"{}\": give OCR tokens or choices in addition to the "
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

std::string pre_question(std::string_view question, Index max_words) {
  std::string text = without_marks(question, "");
  strip_end(text, ' ');
  return first_words(text, max_words);
}

std::string pre_caption(std::string_view caption, Index max_words) {
  std::string text = with_single_spaces(without_marks(caption, " "));
  strip_end(text, '\n');
  strip_end(text, ' ');
  text.erase(0, text.find_first_not_of(' '));
  return first_words(text, max_words);
}

}  // namespace instructblip
