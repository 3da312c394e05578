// Writes the features of a picture:
//   features --model FOLDER --image a.jpg --instruction "What is this?" --output a.safetensors
//   features --model FOLDER --image a.jpg --part vision --output a.npy
#include <fstream>
#include <iostream>

#include "answers.h"
#include "pictures.h"
#include "program.h"
#include "report.h"

namespace {

using namespace instructblip;

/// Writes a float32 tensor in NumPy's format, version 1.0: a header with a Python dict, padded to a
/// multiple of 64 bytes, then the elements.
void save_npy(const std::filesystem::path& path, const Tensor& tensor) {
  std::string shape;
  for (Index dim : tensor.shape()) shape += std::to_string(dim) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const auto length = static_cast<std::uint16_t>(header.size());
  std::ofstream file(path, std::ios::binary);
  file << "\x93NUMPY" << '\x01' << '\x00' << static_cast<char>(length & 0xff)
       << static_cast<char>(length >> 8) << header;
  file.write(static_cast<const char*>(tensor.raw()), tensor.size() * Index{sizeof(float)});
  if (!file.flush()) throw InputError(path.string() + ": cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Writes features of a picture: vision (patches), qformer (queries after reading the "
      "instruction) and\n"
      "projected (the input of the language model). A .safetensors file holds all three."};
  examples::ModelFlags flags;
  std::filesystem::path image_path, output_path;
  std::string instruction = "A short image caption.";
  std::string part;
  examples::add_model_flags(app, flags);
  app.add_option("-i,--image", image_path, examples::kPictureHelp)->required()->type_name("FILE");
  app.add_option("-p,--instruction,--prompt", instruction,
                 "instruction for the Q-Former; BLIP-2's reads none")
      ->check(examples::check_text)
      ->capture_default_str();
  app.add_option("--part", part, "write only this part; required for .npy")
      ->check(CLI::IsMember({"vision", "qformer", "projected"}));
  app.add_option("-o,--output", output_path, "file to write: .npy or .safetensors")->required();

  return examples::run_program(app, argc, argv, flags, [&] {
    const bool npy = output_path.extension() == ".npy";
    if (!npy && output_path.extension() != ".safetensors") {
      throw CLI::ValidationError("--output",
                                 output_path.string() + " does not end in .npy or .safetensors");
    }
    if (npy && part.empty()) {
      throw CLI::ValidationError("--part", "is needed, because a .npy file holds one array");
    }
    // Before loading the model, which takes long.
    const Image image = examples::open_picture(image_path);
    examples::require_writable(output_path);
    const InstructBlip loaded = examples::load_model(flags);
    const VisionFeatures vision = examples::encode(loaded, {image}, flags.timings);
    const BatchFeature text = loaded.processor({}, {instruction}, {.num_images = 1});
    const examples::Stopwatch watch;
    const auto features = loaded.model.get_image_features(vision, text.qformer_input_ids,
                                                          text.qformer_attention_mask);
    if (flags.timings) examples::print_timing("qformer", examples::in_seconds(watch.seconds()));
    // The Q-Former's states also cover its text.
    const Tensor queries = Tensor::copy_of(
        features.qformer_outputs.last_hidden_state.narrow(1, 0, features.pooler_output.dim(1)));
    const std::vector<std::pair<std::string, const Tensor*>> parts = {
        {"vision", &vision.last_hidden_state},
        {"qformer", &queries},
        {"projected", &features.pooler_output}};
    std::vector<std::pair<std::string, TensorView>> chosen;
    for (const auto& [name, tensor] : parts) {
      if (!part.empty() && name != part) continue;
      std::cout << name << ' ' << to_string(tensor->shape()) << '\n';
      chosen.emplace_back(name, tensor->view());
      if (npy) save_npy(output_path, *tensor);
    }
    if (!npy) save_safetensors(output_path, chosen);
  });
}
