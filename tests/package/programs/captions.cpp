// Captions for several pictures in one batch: captions FOLDER IMAGE...
#include <instructblip/instructblip.h>

#include <iostream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  using namespace instructblip;
  if (argc < 3) return 2;
  try {
    const auto [processor, model] = load(argv[1]);
    std::vector<Image> images;
    for (int i = 2; i < argc; ++i) images.push_back(Image::open(argv[i]));
    const std::vector<std::string> prompts(images.size(), "describe the image.");
    const BatchFeature inputs = processor(images, prompts, {.padding = PaddingStrategy::Longest});
    const GenerateOutput output = model.generate(inputs, {.max_new_tokens = 64, .num_beams = 5});
    // As the reference documents it: the placeholders are special tokens and are skipped.
    const std::vector<std::string> captions =
        processor.batch_decode(output.sequences, {.skip_special_tokens = true});
    for (const std::string& caption : captions) std::cout << caption << '\n';

    // One row of the batch decodes to the same text, and one picture alone to the same caption.
    const Tensor row = Tensor::copy_of(output.sequences.narrow(0, 0, 1)).reshaped({-1});
    if (processor.decode(row, {.skip_special_tokens = true}) != captions[0]) return 1;
    const GenerateOutput alone =
        model.generate(processor(images[0], prompts[0]), {.max_new_tokens = 64, .num_beams = 5});
    return alone.new_tokens()[0] == output.new_tokens()[0] ? 0 : 1;
  } catch (const Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
