// Describes pictures:
//   caption --model FOLDER a.jpg b.png
#include <iostream>

#include "program.h"

int main(int argc, char** argv) {
  using namespace instructblip;
  CLI::App app{"Describes each picture in a line."};
  examples::ModelFlags flags;
  std::vector<std::filesystem::path> images;
  // A template of the paper (instruction_templates("caption")) that the demo model understands,
  // too.
  std::string prompt = "A short image description:";
  // Beams as in LAVIS' captioning, without its least length of 10, which invents more than is seen.
  GenerationConfig config{.max_new_tokens = 80, .num_beams = 5, .length_penalty = 1.0};
  examples::add_model_flags(app, flags);
  app.add_option("images", images, "pictures: JPEG, PNG, BMP, GIF or PNM")->required();
  app.add_option("--prompt", prompt,
                 "instruction; the model is sensitive to it: Salesforce's were evaluated with "
                 "\"A short image caption.\", the demo model learnt \"describe the image\"")
      ->capture_default_str();
  examples::add_generation_flags(app, config);

  return examples::run_program(app, argc, argv, flags, [&] {
    const InstructBlip loaded = examples::load_model(flags);
    std::size_t unreadable = 0;
    for (const std::filesystem::path& path : images) {
      Image image;
      try {
        image = Image::open(path);
      } catch (const ImageError& error) {  // the others can still be described
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
