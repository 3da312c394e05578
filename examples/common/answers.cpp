#include "answers.h"

#include <CLI/StringTools.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "program.h"
#include "report.h"

namespace examples {

using namespace instructblip;
using Json = nlohmann::ordered_json;

namespace {

double seconds_of_steps(const Answers& answers) {
  const std::vector<double>& steps = answers.output.timings.step_seconds;
  return std::accumulate(steps.begin(), steps.end(), 0.0);
}

bool has_scores(const Answers& answers) { return !answers.output.sequences_scores.empty(); }

// File names may hold any bytes.
std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string check_text(const std::string& text) {
  try {
    [[maybe_unused]] const std::string dumped = Json(text).dump();
    return "";
  } catch (const Json::exception&) {
    return "the text is not UTF-8";
  }
}

double Answers::score(std::size_t i) const {
  const auto row = static_cast<Index>(i);
  if (!output.sequences_scores.empty()) return output.sequences_scores.at<float>({row});
  return answer_probabilities(output)[i].probability;
}

VisionFeatures encode(const InstructBlip& loaded, const std::vector<Image>& images, bool timings) {
  const BatchFeature inputs = loaded.processor(images, {});
  const Stopwatch watch;
  VisionFeatures features = loaded.model.encode_image(inputs.pixel_values);
  if (timings)
    print_timing(images.size() == 1 ? "picture" : "pictures", in_seconds(watch.seconds()));
  return features;
}

Answers ask(const InstructBlip& loaded, const VisionFeatures& features, Index views,
            const std::string& prompt, const GenerationConfig& config,
            GenerateCallbacks callbacks) {
  const Stopwatch watch;
  const std::vector<std::string> prompts(static_cast<std::size_t>(features.images() / views),
                                         prompt);
  const BatchFeature text = loaded.processor({}, prompts, {.num_images = views});
  callbacks.tokenizer = &loaded.processor.tokenizer();
  Answers answers;
  answers.output = loaded.model.generate(text, config, features, callbacks);
  for (const std::string& answer :
       loaded.processor.batch_decode(answers.output.new_tokens(), {.skip_special_tokens = true})) {
    answers.texts.push_back(CLI::detail::trim_copy(answer));
  }
  answers.prompt_tokens = static_cast<std::size_t>(text.input_ids.dim(1));
  answers.seconds = watch.seconds();
  return answers;
}

Answers answer(const InstructBlip& loaded, const VisionFeatures& features,
               const std::string& question, const GenerationConfig& config,
               const std::atomic<bool>* cancelled) {
  GenerateCallbacks callbacks{.cancelled = cancelled};
  if (config.num_beams.value_or(1) > 1 || config.num_return_sequences.value_or(1) > 1) {
    Answers answers = ask(loaded, features, features.images(), question, config, callbacks);
    for (const std::string& text : answers.texts) std::cout << "  " << text << '\n';
    return answers;
  }
  bool begun = false;
  TextStreamer streamer(
      loaded.processor.tokenizer(),
      [&begun](std::string_view piece) {
        // The first token often begins with a space.
        if (!begun) piece.remove_prefix(std::min(piece.find_first_not_of(' '), piece.size()));
        if (piece.empty()) return true;
        std::cout << (begun ? "" : "  ") << piece << std::flush;
        begun = true;
        return true;
      },
      true, {.skip_special_tokens = true});
  callbacks.streamer = &streamer;
  Answers answers = ask(loaded, features, features.images(), question, config, callbacks);
  std::cout << '\n';
  return answers;
}

void print_timings(const Answers& answers) {
  const std::size_t steps = answers.output.timings.step_seconds.size();
  const std::vector<Index>& counts = answers.output.new_token_counts;
  const auto tokens =
      static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), Index{0}));
  const double seconds = seconds_of_steps(answers);
  const GenerationTimings& timings = answers.output.timings;
  const double to_first_token = answers.seconds - seconds;
  print_timing("prompt", in_seconds(to_first_token) + " to the first token, Q-Former " +
                             in_seconds(to_first_token - timings.prompt_seconds) + ", " +
                             counted(answers.prompt_tokens, "token") + " read");
  std::string text = in_seconds(seconds) + " for " + counted(steps, "step");
  if (steps > 0) text += " of " + in_seconds(seconds / static_cast<double>(steps));
  text += ", " + counted(tokens, "token");
  // The first token of each answer is the prompt's.
  if (tokens > counts.size() && seconds > 0) {
    text += ", " + per_second(static_cast<double>(tokens - counts.size()) / seconds, "tokens");
  }
  if (steps > 0 && seconds > 0) {
    text += ", " + per_second(static_cast<double>(timings.step_weight_bytes) * 1e-9 / seconds,
                              "GB of weights");
  }
  if (timings.drafted_ids > 0) {
    text += ", " + std::to_string(timings.accepted_ids) + " of " +
            std::to_string(timings.drafted_ids) + " drafted tokens right";
  }
  print_timing("answer", text);
}

std::string json_line(const std::vector<std::filesystem::path>& files, const std::string& prompt,
                      const Answers& answers, std::size_t i, bool timings) {
  Json json;
  if (files.size() == 1) {
    json["file"] = files.front().string();
  } else {
    for (const std::filesystem::path& file : files) json["files"].push_back(file.string());
  }
  json["prompt"] = prompt;
  json["text"] = answers.texts.at(i);
  json["tokens"] = answers.output.new_token_counts.at(i);
  json[has_scores(answers) ? "score" : "probability"] = answers.score(i);
  if (timings) {
    const double steps = seconds_of_steps(answers);
    json["seconds"] = {{"prompt", answers.seconds - steps}, {"answer", steps}};
  }
  return dumped(json);
}

std::string json_line(const std::filesystem::path& file, const std::string& text, std::size_t rank,
                      double similarity, std::optional<double> match) {
  Json json{{"text", text}, {"rank", rank}, {"file", file.string()}, {"similarity", similarity}};
  if (match) json["match"] = *match;
  return dumped(json);
}

std::string json_line(const std::filesystem::path& file, const std::string& error) {
  return dumped({{"file", file.string()}, {"error", error}});
}

std::set<std::string> described_files(const std::filesystem::path& path) {
  std::set<std::string> files;
  std::uintmax_t complete = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return files;
  for (std::string line; std::getline(stream, line) && !stream.eof();) {
    complete += line.size() + 1;
    const Json json = Json::parse(line, nullptr, false);
    const bool is_description = json.is_object() && json.contains("text") && json.contains("file");
    if (is_description && json["file"].is_string()) files.insert(json["file"].get<std::string>());
  }
  std::filesystem::resize_file(path, complete);
  return files;
}

}  // namespace examples
