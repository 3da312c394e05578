// Describes pictures:
//   caption --model FOLDER a.jpg b.png
#include <iostream>

#include "program.h"

int main(int argc, char** argv) {
  using namespace instructblip;
  CLI::App app{"Describes each picture in one line."};
  examples::ModelFlags flags;
  std::vector<std::filesystem::path> images;
  // One of the paper's templates, instruction_templates("caption"), which the demo model
  // understands as well.
  std::string prompt = "A short image description:";
  // Beam search as in LAVIS' captioning, but without its minimum length of 10, which makes the
  // model invent details.
  GenerationConfig config{.max_new_tokens = 80, .num_beams = 5, .length_penalty = 1.0};
  examples::add_model_flags(app, flags);
  app.add_option("images", images, "pictures: JPEG, PNG, BMP, GIF or PNM")->required();
  app.add_option(
         "--prompt", prompt,
         "instruction. The model is sensitive to its wording: Salesforce's checkpoints were "
         "evaluated with \"A short image caption.\", the demo model was trained with "
         "\"describe the image\"")
      ->capture_default_str();
  examples::add_generation_flags(app, config);

  return examples::run_program(app, argc, argv, flags, [&] {
    const InstructBlip loaded = examples::load_model(flags);
    std::size_t unreadable = 0;
    for (const std::filesystem::path& path : images) {
      Image image;
      try {
        image = Image::open(path);
      } catch (const ImageError& error) {  // continue with the other pictures
        std::cerr << "error: " << error.what() << '\n';
        ++unreadable;
        continue;
      }
      const BatchFeature inputs = loaded.processor({image}, {prompt});
      const GenerateOutput output =
          loaded.model.generate(inputs, config, {.tokenizer = &loaded.processor.tokenizer()});
      for (const std::string& text :
           loaded.processor.batch_decode(output.new_tokens(), {.skip_special_tokens = true})) {
        std::cout << path.string() << ": " << examples::trimmed(text) << std::endl;
      }
    }
    if (unreadable > 0) {
      throw InputError(std::to_string(unreadable) + " of " + std::to_string(images.size()) +
                       " pictures could not be read");
    }
  });
}
