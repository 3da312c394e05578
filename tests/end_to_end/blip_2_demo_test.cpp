// A BLIP-2 folder with the demo model's weights: its Q-Former without the text. It must say what
// the demo says whose Q-Former gets no text.
#include "end_to_end/demo_files.h"
#include "support/compare.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

bool is_for_text(const std::string& name) {
  static const std::regex layers(R"(qformer\.encoder\.layer\.\d+\.(intermediate|output)\..*)");
  return name.starts_with("qformer.embeddings.word") ||
         name.starts_with("qformer.embeddings.position") || std::regex_match(name, layers);
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  ASSERT_NE(text.find(from), text.npos) << from;
  for (std::size_t i = 0; (i = text.find(from, i)) != text.npos; i += to.size()) {
    text.replace(i, from.size(), to);
  }
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_blip_2_folder(const testing::TemporaryFolder& folder) {
  const fs::path demo = testing::demo_folder("llama");
  const SafetensorsFile file(demo / "model.safetensors");
  std::vector<SharedTensor> kept;
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (std::string name : file.names()) {
    if (is_for_text(name)) continue;
    kept.push_back(file.find(name).value());
    if (name.starts_with("qformer.embeddings.")) name.replace(0, 19, "qformer.");
    tensors.emplace_back(name, kept.back());
  }
  save_safetensors(folder.path() / "model.safetensors", tensors);
  std::string config = text_of(demo / "config.json");
  replace_all(config, "InstructBlipForConditionalGeneration", "Blip2ForConditionalGeneration");
  replace_all(config, "\"instructblip\"", "\"blip-2\"");
  replace_all(config, "\"instructblip_qformer\"", "\"blip_2_qformer\"");
  replace_all(config, "\"instructblip_vision_model\"", "\"blip_2_vision_model\"");
  folder.write("config.json", config);
  std::string processor = text_of(demo / "processor_config.json");
  replace_all(processor, "InstructBlipProcessor", "Blip2Processor");
  folder.write("processor_config.json", processor);
  for (const char* name : {"generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(demo / name, folder.path() / name);
  }
}

TEST(Blip2Demo, AnswersAsTheDemoWithoutTextInItsQFormer) {
  const testing::TemporaryFolder folder;
  write_blip_2_folder(folder);
  ASSERT_FALSE(HasFailure());
  const FolderReport report = check_folder(folder.path());
  EXPECT_TRUE(report.findings.empty()) << to_string(report.findings.front());
  const auto [processor, model] = load(folder.path(), {.dtype = DType::Float32});
  EXPECT_EQ(model.config().model_type(), "blip-2");

  const Image image = Image::open(testing::kAssets / "scene.png");
  const std::string question = "describe the image";
  const BatchFeature inputs = processor(image, question);
  EXPECT_TRUE(inputs.qformer_input_ids.empty());
  BatchFeature blank = testing::demo().processor(image, question);
  testing::expect_equal(blank.input_ids, inputs.input_ids);
  blank.qformer_attention_mask = Tensor(DType::Int64, blank.qformer_attention_mask.shape());
  const GenerationConfig config{.max_new_tokens = 20, .output_logits = true};
  const GenerateOutput found = model.generate(inputs, config);
  const GenerateOutput expected = testing::demo().model.generate(blank, config);
  testing::expect_equal(found.sequences, expected.sequences);
  testing::expect_equal(found.logits.back(), expected.logits.back());
}

}  // namespace
}  // namespace instructblip
