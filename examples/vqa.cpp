// Answers questions about a picture and streams the answers:
//   vqa --model FOLDER --image street.jpg "What is unusual about this image?" "Is it day?"
#include <iostream>

#include "answers.h"
#include "pictures.h"
#include "program.h"

int main(int argc, char** argv) {
  using namespace instructblip;
  CLI::App app{"Answers questions about a picture. The picture is encoded once for all questions."};
  examples::ModelFlags flags;
  std::vector<std::filesystem::path> paths;
  std::vector<std::string> questions;
  bool json = false;
  GenerationConfig config{.max_new_tokens = 64};
  examples::add_model_flags(app, flags);
  app.add_option("-i,--image", paths,
                 std::string(examples::kPictureHelp) +
                     ". Given several times: views of one thing, or the frames of one video, which "
                     "each question is about")
      ->required()
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("-p,--prompt,questions", questions, "questions or instructions")
      ->required()
      ->check(examples::check_text)
      ->type_name("TEXT");
  examples::add_generation_flags(app, config);
  app.add_flag("--json", json, "print one JSON object per answer");

  return examples::run_program(app, argc, argv, flags, [&] {
    const std::vector<Image> images = examples::open_pictures(paths);  // before loading the model
    const InstructBlip loaded = examples::load_model(flags, config);
    const VisionFeatures features = examples::encode(loaded, images, flags.timings);
    // For the probability; beams have a score.
    config.output_logits = json && config.num_beams.value_or(1) == 1;
    for (const std::string& question : questions) {
      examples::Answers answers;
      if (json) {
        answers = examples::ask(loaded, features, features.images(), question, config);
        for (std::size_t i = 0; i < answers.texts.size(); ++i) {
          std::cout << examples::json_line(paths, question, answers, i, flags.timings) << std::endl;
        }
      } else {
        std::cout << question << '\n';
        answers = examples::answer(loaded, features, question, config);
      }
      if (flags.timings) examples::print_timings(answers);
    }
  });
}
