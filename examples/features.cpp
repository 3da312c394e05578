// Writes what the model sees in a picture:
//   features --model FOLDER --image a.jpg --instruction "What is this?" --output a.safetensors
//   features --model FOLDER --image a.jpg --part vision --output a.npy
#include <algorithm>
#include <fstream>
#include <iostream>

#include "program.h"

namespace {

using namespace instructblip;

/// Writes a float32 tensor in NumPy's format, version 1.0: a header of one Python dict, padded to
/// 64 bytes, then the elements.
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

/// The first `count` rows of one image's states [1, rows, width]: the queries, without the text.
Tensor first_rows(const Tensor& states, Index count) {
  Tensor rows = Tensor::uninitialized(DType::Float32, {1, count, states.dim(2)});
  std::copy_n(states.data<float>(), rows.size(), rows.data<float>());
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Writes features of a picture: vision (patches), qformer (queries after reading the "
      "instruction) and\n"
      "projected (what the language model is given). A .safetensors file takes all three."};
  examples::ModelFlags flags;
  std::filesystem::path image_path, output_path;
  std::string instruction = "A short image caption.";
  std::string part;
  examples::add_model_flags(app, flags);
  app.add_option("--image", image_path, "picture: JPEG, PNG, BMP, GIF or PNM")
      ->required()
      ->type_name("FILE");
  app.add_option("--instruction", instruction, "what the Q-Former reads")->capture_default_str();
  app.add_option("--part", part, "only this part; needed for .npy")
      ->check(CLI::IsMember({"vision", "qformer", "projected"}));
  app.add_option("--output", output_path, "file to write: .npy or .safetensors")->required();

  return examples::run_program(app, argc, argv, flags, [&] {
    const bool npy = output_path.extension() == ".npy";
    if (!npy && output_path.extension() != ".safetensors") {
      throw InputError("--output is " + output_path.string() +
                       ", expected a name in .npy or .safetensors");
    }
    if (npy && part.empty()) throw InputError("a .npy file holds one array: choose it with --part");
    const Image image = Image::open(image_path);  // before the wait for the model
    const InstructBlip loaded = examples::load_model(flags);
    const BatchFeature inputs = loaded.processor({image}, {instruction});
    const auto features = loaded.model.get_image_features(
        inputs.pixel_values, inputs.qformer_input_ids, inputs.qformer_attention_mask);
    const Tensor queries =
        first_rows(features.qformer_outputs.last_hidden_state, features.pooler_output.dim(1));
    const std::vector<std::pair<std::string, const Tensor*>> parts = {
        {"vision", &features.vision_outputs.last_hidden_state},
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
