// Q-Former vectors of pictures, and which picture is nearest to the first one:
// retrieval FOLDER IMAGE...
#include <instructblip/instructblip.h>

#include <cmath>
#include <iostream>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace instructblip;

// The mean of the queries' states, normalised.
std::vector<float> embed(const InstructBlip& blip, const VisionFeatures& features,
                         const std::string& instruction) {
  const BatchFeature text = blip.processor({}, {instruction});
  const auto output =
      blip.model.get_image_features(features, text.qformer_input_ids, text.qformer_attention_mask);
  const Index queries = blip.model.config().num_query_tokens;
  // last_hidden_state[:, :queries]
  const Tensor states =
      Tensor::copy_of(output.qformer_outputs.last_hidden_state.narrow(1, 0, queries));
  std::vector<float> mean(static_cast<std::size_t>(states.dim(2)));
  const std::span<const float> values = states.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) mean[i % mean.size()] += values[i];
  float norm = 0;
  for (const float value : mean) norm += value * value;
  for (float& value : mean) value /= std::sqrt(norm);
  return mean;
}

float similarity(const std::vector<float>& a, const std::vector<float>& b) {
  float sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  try {
    const InstructBlip blip = load(argv[1]);
    std::vector<std::vector<float>> vectors;
    for (int i = 2; i < argc; ++i) {
      const Image image = Image::open(argv[i]);
      // The vision tower runs once per picture, whatever is asked about it.
      const VisionFeatures features = blip.model.encode_image(blip.processor(image).pixel_values);
      vectors.push_back(embed(blip, features, "describe the image."));
      if (similarity(vectors.back(), embed(blip, features, "describe the image.")) < 0.99999f) {
        return 1;
      }
      if (similarity(vectors.back(), embed(blip, features, "how many objects are there?")) >
          0.99999f) {
        return 1;  // the Q-Former reads the instruction
      }
    }
    for (std::size_t i = 1; i < vectors.size(); ++i) {
      const float score = similarity(vectors[0], vectors[i]);
      std::cout << argv[i + 2] << ' ' << score << '\n';
      if (!(score < 0.9999f)) return 1;  // another picture
    }
    return 0;
  } catch (const Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
