// Answers questions about a picture and streams the answers:
//   vqa --model FOLDER --image street.jpg "What is unusual about this image?" "Is it day?"
#include <iostream>

#include "program.h"

int main(int argc, char** argv) {
  using namespace instructblip;
  CLI::App app{"Answers questions about a picture. The picture is encoded once for all questions."};
  examples::ModelFlags flags;
  std::filesystem::path image_path;
  std::vector<std::string> questions;
  bool timings = false;
  GenerationConfig config{.max_new_tokens = 64};
  examples::add_model_flags(app, flags);
  app.add_option("--image", image_path, "picture: JPEG, PNG, BMP, GIF or PNM")
      ->required()
      ->type_name("FILE");
  app.add_option("questions", questions, "questions or instructions")->required();
  app.add_flag("--timings", timings, "print the seconds of each part on stderr");
  examples::add_generation_flags(app, config);

  return examples::run_program(app, argc, argv, flags, [&] {
    const Image image = Image::open(image_path);  // before loading the model, which takes long
    const examples::Stopwatch loading_watch;
    const InstructBlip loaded = examples::load_model(flags);
    if (timings) std::cerr << "loading " << loading_watch.seconds() << " s\n";
    const BatchFeature inputs = loaded.processor({image}, {});
    const examples::Stopwatch vision_watch;
    const VisionFeatures features = loaded.model.encode_image(inputs.pixel_values);
    if (timings) std::cerr << "vision " << vision_watch.seconds() << " s\n";
    for (const std::string& question : questions) {
      std::cout << question << '\n';
      const GenerateOutput output = examples::answer(loaded, features, question, config);
      if (timings) examples::print_timings(output);
    }
  });
}
