// Answers questions about a picture in a loop:
//   chat --model FOLDER --image street.jpg
#include <atomic>
#include <csignal>
#include <deque>
#include <iostream>

#include "answers.h"
#include "line_editor.h"
#include "pictures.h"
#include "program.h"

namespace {

using namespace instructblip;
using Paths = std::vector<std::filesystem::path>;

constexpr const char* kHelp =
    "Type a question about the picture. Ctrl-C stops an answer.\n"
    "  /image FILE...  open another picture, several views of one thing, or a video's frames\n"
    "  /clear          forget the dialogue (see --history)\n"
    "  /timings        show or hide the time of each part\n"
    "  /help           show this help\n"
    "  /quit           end the program, like Ctrl-D\n";

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // so that a signal handler may set it

// During its lifetime, Ctrl-C sets `interrupted`. A second Ctrl-C ends the program as usual.
class CatchInterrupt {
 public:
  CatchInterrupt() {
    interrupted = false;
    std::signal(SIGINT, [](int) {
      interrupted = true;
      std::signal(SIGINT, SIG_DFL);
    });
  }
  ~CatchInterrupt() { std::signal(SIGINT, SIG_DFL); }
};

class Chat {
 public:
  Chat(InstructBlip loaded, const GenerationConfig& config, std::size_t history, bool timings)
      : loaded_(std::move(loaded)), config_(config), history_(history), timings_(timings) {}

  void look_at(const std::vector<Image>& images) {
    features_ = examples::encode(loaded_, images, timings_);
    dialogue_.clear();
  }

  void ask(const std::string& question) {
    if (!features_) throw InputError("there is no picture yet; open one with /image FILE");
    std::string turns;
    for (const std::string& turn : dialogue_) turns += (turns.empty() ? "" : " ") + turn;
    const CatchInterrupt guard;
    const examples::Answers answers = examples::answer(
        loaded_, *features_, build_prompt("", {.question = question, .history = turns}), config_,
        &interrupted);
    if (timings_) examples::print_timings(answers);
    dialogue_.push_back("Question: " + question + " Answer: " + answers.texts.at(0));
    if (dialogue_.size() > history_) dialogue_.pop_front();
  }

  void clear() { dialogue_.clear(); }
  bool toggle_timings() { return timings_ = !timings_; }

 private:
  InstructBlip loaded_;
  GenerationConfig config_;
  std::size_t history_;
  bool timings_;
  std::optional<VisionFeatures> features_;
  std::deque<std::string> dialogue_;  // the last questions and their answers
};

// "a.png, 640 x 480", for each picture.
void print_sizes(const Paths& paths, const std::vector<Image>& images) {
  for (std::size_t i = 0; i < images.size(); ++i) {
    std::cout << paths[i].string() << ", " << images[i].width() << " x " << images[i].height()
              << '\n';
  }
}

// Runs one line. Answers to commands are only for a person who types.
void run_line(Chat& chat, const std::string& line, bool is_typed) {
  const std::string command = line.substr(0, line.find(' '));
  if (!line.starts_with("/")) {
    chat.ask(line);
  } else if (command == "/image") {
    const Paths paths = examples::shell_words(CLI::detail::trim_copy(line.substr(command.size())));
    if (paths.empty()) throw InputError("/image needs the name of a file");
    const std::vector<Image> images = examples::open_pictures(paths);
    chat.look_at(images);
    if (is_typed) print_sizes(paths, images);
  } else if (line == "/clear") {
    chat.clear();
    if (is_typed) std::cout << "the dialogue is forgotten\n";
  } else if (line == "/timings") {
    const bool shown = chat.toggle_timings();
    if (is_typed) std::cout << (shown ? "timings are shown\n" : "timings are hidden\n");
  } else if (line == "/help") {
    std::cout << kHelp;
  } else {
    throw InputError("unknown command " + line + "; /help lists the commands");
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Answers questions about a picture in a loop; the picture is encoded once."};
  examples::ModelFlags flags;
  Paths paths;
  std::size_t history = 0;
  GenerationConfig config{.max_new_tokens = 64};
  examples::add_model_flags(app, flags);
  app.add_option(
         "-i,--image", paths,
         "first picture: JPEG, PNG, WebP, GIF, BMP or PNM. Given several times: views of one "
         "thing, or the frames of one video")
      ->type_name("FILE")
      ->allow_extra_args(false);
  examples::add_generation_flags(app, config);
  app.add_option("--history", history,
                 "number of earlier questions and answers that precede a question. InstructBLIP "
                 "was trained on single questions, and answers these best")
      ->check(examples::check_whole_number<std::size_t>)
      ->capture_default_str();

  return examples::run_program(app, argc, argv, flags, [&] {
    if (std::find(paths.begin(), paths.end(), "-") != paths.end()) {
      throw CLI::ValidationError("--image", "standard input holds the questions");
    }
    const std::vector<Image> images = examples::open_pictures(paths);  // before loading the model
    Chat chat(examples::load_model(flags, config), config, history, flags.timings);
    if (!images.empty()) chat.look_at(images);
    examples::LineEditor editor({"/clear", "/help", "/image", "/quit", "/timings"});
    if (editor.is_typed()) {
      print_sizes(paths, images);
      std::cout << kHelp;
    }
    std::string line;
    while (editor.next(line) && line != "/quit") {
      try {
        if (!line.empty()) run_line(chat, line, editor.is_typed());
      } catch (const Error& error) {  // must not end the program
        std::cout.flush();
        std::cerr << "error: " << examples::with_flag_names(error.what()) << '\n';
      }
    }
    if (editor.is_typed() && line != "/quit") std::cout << '\n';
  });
}
