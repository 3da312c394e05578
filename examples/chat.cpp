// Answers questions about a picture in a loop:
//   chat --model FOLDER --image street.jpg
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <iostream>

#include "program.h"

namespace {

using namespace instructblip;

VisionFeatures look_at(const InstructBlip& loaded, const Image& image) {
  return loaded.model.encode_image(loaded.processor({image}, {}).pixel_values);
}

constexpr const char* kHelp =
    "Type a question about the picture. /image FILE opens another picture, /help shows this help, "
    "/quit ends the program. Ctrl-C stops an answer.\n";

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

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Answers questions about a picture in a loop; the picture is encoded once."};
  examples::ModelFlags flags;
  std::filesystem::path image_path;
  GenerationConfig config{.max_new_tokens = 64};
  examples::add_model_flags(app, flags);
  app.add_option("--image", image_path, "first picture: JPEG, PNG, BMP, GIF or PNM")
      ->type_name("FILE");
  examples::add_generation_flags(app, config);

  return examples::run_program(app, argc, argv, flags, [&] {
    Image first;  // before loading the model, which takes long
    if (!image_path.empty()) first = Image::open(image_path);
    const InstructBlip loaded = examples::load_model(flags);
    std::optional<VisionFeatures> features;
    if (!first.empty()) features = look_at(loaded, first);
    // Help and prompt are shown only if the input is typed. If it is piped, only answers are
    // written.
    const bool is_typed = isatty(STDIN_FILENO) != 0;
    if (is_typed) std::cout << kHelp;
    const auto next_line = [&](std::string& line) {
      if (is_typed) std::cout << "> " << std::flush;
      return static_cast<bool>(std::getline(std::cin, line));
    };
    std::string line;
    while (next_line(line)) {
      line = examples::trimmed(line);
      // An error in one line must not end the program.
      try {
        if (line.empty()) continue;
        if (line == "/quit") return;
        if (line == "/help") {
          std::cout << kHelp;
        } else if (line.starts_with("/image ")) {
          features = look_at(loaded, Image::open(examples::trimmed(line.substr(7))));
        } else if (line == "/image") {
          throw InputError("/image needs the name of a file");
        } else if (line.starts_with("/")) {
          throw InputError("unknown command " + line + "; /help lists the commands");
        } else if (!features) {
          throw InputError("there is no picture yet; open one with /image FILE");
        } else {
          const CatchInterrupt guard;
          examples::answer(loaded, *features, line, config, &interrupted);
        }
      } catch (const Error& error) {
        std::cerr << "error: " << error.what() << '\n';
      }
    }
    if (is_typed) std::cout << '\n';
  });
}
