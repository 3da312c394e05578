// Keeps one picture and answers questions about it in a loop:
//   chat --model FOLDER --image street.jpg
#include <iostream>

#include "program.h"

namespace {

using namespace instructblip;

ImageFeatures look_at(const examples::LoadedModel& loaded, const std::filesystem::path& path) {
  return loaded.model.encode_image(loaded.processor({Image::open(path)}, {}).pixel_values);
}

constexpr const char* kHelp =
    "Type a question about the picture. /image FILE looks at another one, /help shows this, /quit "
    "ends.\n";

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Answers questions about a picture in a loop; the picture is encoded once."};
  examples::ModelFlags flags;
  std::filesystem::path image_path;
  GenerationConfig config{.max_new_tokens = 64};
  examples::add_model_flags(app, flags);
  app.add_option("--image", image_path, "first picture: JPEG, PNG, BMP, GIF or PNM");
  examples::add_generation_flags(app, config);

  return examples::run_program(app, argc, argv, flags, [&] {
    const examples::LoadedModel loaded = examples::load_model(flags);
    examples::stop_at_tokenizer_eos(config, loaded);
    std::optional<ImageFeatures> features;
    if (!image_path.empty()) features = look_at(loaded, image_path);
    std::cout << kHelp;
    for (std::string line; std::cout << "> " << std::flush, std::getline(std::cin, line);) {
      line = examples::trimmed(line);
      // A mistake in one line must not end the conversation.
      try {
        if (line.empty()) continue;
        if (line == "/quit") break;
        if (line == "/help") {
          std::cout << kHelp;
        } else if (line.starts_with("/image ")) {
          features = look_at(loaded, examples::trimmed(line.substr(7)));
        } else if (line.starts_with("/")) {
          std::cout << "unknown command " << line << ". " << kHelp;
        } else if (!features) {
          std::cout << "There is no picture yet: /image FILE\n";
        } else {
          examples::answer(loaded, *features, line, config);
        }
      } catch (const Error& error) {
        std::cerr << "error: " << error.what() << '\n';
      }
    }
  });
}
