// The demo models with weights of 8 and 4 bits.
#include <cmath>

#include "end_to_end/demo_files.h"
#include "instructblip/kernels/quantized_matrix.h"
#include "support/compare.h"

namespace instructblip {
namespace {

using testing::demo_folder;
using testing::demo_lines;
using testing::field;
using testing::kDemoAnswers;

InstructBlipForConditionalGeneration quantized(const std::string& decoder,
                                               const QuantizationRecipe& recipe) {
  return InstructBlipForConditionalGeneration::from_pretrained(
      demo_folder(decoder), {.dtype = DType::Float32, .quantization = recipe});
}

class QuantizedDemoTest : public ::testing::TestWithParam<std::string> {
 protected:
  static const InstructBlipProcessor& processor() { return testing::demo(GetParam()).processor; }
  static BatchFeature inputs() {
    std::vector<Image> images;
    std::vector<std::string> questions;
    for (const std::string& line : demo_lines("answers_" + GetParam() + ".json")) {
      images.push_back(Image::open(kDemoAnswers / field(line, "image")));
      questions.push_back(field(line, "question"));
      if (images.size() == 12) break;
    }
    return processor()(images, questions, {.padding = PaddingStrategy::Longest});
  }
};

// The checkpoint with the values of its quantised tensors in their place.
std::shared_ptr<const Checkpoint> dequantized(const std::string& decoder,
                                              const QuantizationRecipe& recipe) {
  const auto stored = Checkpoint::open(demo_folder(decoder));
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : stored->names()) {
    const SharedTensor tensor = *stored->find(name);
    Tensor values = Tensor::copy_of(tensor).to(DType::Float32);
    std::optional<Quantization> quantization;
    if (name.starts_with("vision_model.encoder.")) quantization = recipe.vision_model;
    if (name.starts_with("qformer.encoder.")) quantization = recipe.qformer;
    const bool layers =
        name.find(".layers.") != std::string::npos || name.find(".block.") != std::string::npos;
    if (name.starts_with("language_model.") && layers) quantization = recipe.language_model;
    if (name == "language_model.lm_head.weight") quantization = recipe.lm_head;
    const bool is_bias_table = name.find("relative_attention_bias") != std::string::npos;
    if (quantization && tensor.rank() == 2 && !is_bias_table) {
      if (name.ends_with("fc2.weight") && name.starts_with("language_model.")) {
        quantization = Quantization{.bits = 8};
      }
      if (can_quantize(tensor.dim(1), *quantization)) {
        values = dequantize(quantize(tensor, *quantization));
      }
    }
    tensors.emplace(name, std::move(values));
  }
  return Checkpoint::from_tensors(std::move(tensors));
}

TEST_P(QuantizedDemoTest, LogitsAreThoseOfTheDequantisedWeights) {
  const BatchFeature batch = inputs();
  const GenerationConfig config{.max_new_tokens = 1, .output_logits = true};
  std::vector<std::string> names{"int8", "vision=int8,qformer=int8,language=int4-g32",
                                 "qformer=int4-g64-zero,language=int4"};
  if (GetParam() == "llama") names.emplace_back("head=int4-g32");  // the others' heads are tied
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const QuantizationRecipe recipe = quantization_recipe(name);
    const Weights weights(dequantized(GetParam(), recipe), {.dtype = DType::Float32});
    const InstructBlipForConditionalGeneration plain(
        weights, InstructBlipConfig::from_pretrained(demo_folder(GetParam())));
    const Tensor expected = plain.generate(batch, config).logits[0];
    const Tensor found = quantized(GetParam(), recipe).generate(batch, config).logits[0];
    float largest = 0, difference = 0, of_quantising = 0;
    const Tensor whole = testing::demo(GetParam()).model.generate(batch, config).logits[0];
    for (Index i = 0; i < expected.size(); ++i) {
      const float value = expected.data<float>()[i];
      largest = std::max(largest, std::abs(value));
      difference = std::max(difference, std::abs(found.data<float>()[i] - value));
      of_quantising = std::max(of_quantising, std::abs(whole.data<float>()[i] - value));
    }
    EXPECT_LT(difference, 2e-4f * largest);
    EXPECT_GT(of_quantising, 5 * difference);  // the weights were quantised
  }
}

TEST_P(QuantizedDemoTest, AHeadThatIsTiedStaysAsItIs) {
  if (GetParam() == "llama") GTEST_SKIP() << "a head of its own";
  const BatchFeature batch = inputs();
  const GenerationConfig config{.max_new_tokens = 1, .output_logits = true};
  testing::expect_equal(
      quantized(GetParam(), quantization_recipe("head=int8")).generate(batch, config).logits[0],
      testing::demo(GetParam()).model.generate(batch, config).logits[0]);
}

TEST_P(QuantizedDemoTest, EverySampleOfABatchHasTheBitsThatItHasAlone) {
  const auto model = quantized(GetParam(), quantization_recipe("int4"));
  const GenerationConfig config{.max_new_tokens = 3, .output_logits = true};
  const BatchFeature batch = inputs();
  const GenerateOutput together = model.generate(batch, config);
  std::size_t row = 0;
  for (const std::string& line : demo_lines("answers_" + GetParam() + ".json")) {
    const GenerateOutput alone = model.generate(
        processor()(Image::open(kDemoAnswers / field(line, "image")), field(line, "question")),
        config);
    for (std::size_t step = 0; step < alone.logits.size(); ++step) {
      testing::expect_equal(together.logits[step].narrow(0, static_cast<Index>(row), 1),
                            alone.logits[step]);
    }
    if (++row == 12) break;
  }
}

// Shares of a third of the demo answers; the README's table has them on more pictures.
TEST_P(QuantizedDemoTest, MostAnswersStayTheSame) {
  for (const auto& [name, share] :
       {std::pair{"int8", 0.97}, std::pair{"w8a8", 0.95}, std::pair{"int4", 0.85}}) {
    const auto model = quantized(GetParam(), quantization_recipe(name));
    const std::vector<std::string> lines = demo_lines("answers_" + GetParam() + ".json");
    int same = 0, all = 0;
    for (std::size_t i = 0; i < lines.size(); i += 3) {
      const std::string& line = lines[i];
      const BatchFeature one =
          processor()(Image::open(kDemoAnswers / field(line, "image")), field(line, "question"));
      const auto ids = model.generate(one, {.max_new_tokens = 64}).new_tokens()[0];
      same += ids == testing::ids_of(field(line, "greedy_ids"));
      ++all;
    }
    EXPECT_GE(same, share * all) << name << ": " << same << " of " << all;
  }
}

INSTANTIATE_TEST_SUITE_P(Decoders, QuantizedDemoTest, ::testing::Values("llama", "opt", "t5"),
                         [](const auto& decoder) { return decoder.param; });

}  // namespace
}  // namespace instructblip
