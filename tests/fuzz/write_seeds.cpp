// write_seeds FOLDER: writes seeds of the fuzz targets, FOLDER/<target>/, from the fixtures.
#include <iostream>
#include <iterator>
#include <utility>
#include <vector>

#include "fuzz/fuzzing.h"
#include "instructblip/checkpoint/safetensors.h"
#include "support/fixtures.h"

using namespace instructblip;
namespace fs = std::filesystem;

namespace {

// What makes up a seed of several files, as write_files of fuzzing.h takes it apart.
using Files = std::vector<std::string>;

class Seeds {
 public:
  Seeds(const fs::path& folder, const char* target) : folder_(folder / target) {
    fs::create_directories(folder_);
  }

  void add(const Files& files) {
    std::ofstream stream(folder_ / std::to_string(count_++), std::ios::binary);
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (i > 0) stream.put('\0');
      stream << files[i];
    }
  }

 private:
  fs::path folder_;
  int count_ = 0;
};

// Empty if there is no such file.
std::string contents(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// The small files of the fixtures and the demos whose paths end so.
std::vector<fs::path> find(const std::string& end) {
  constexpr std::uintmax_t kLargest = 100'000;  // fuzzing needs many runs a second
  std::vector<fs::path> found;
  for (const fs::path root : {INSTRUCTBLIP_FIXTURES, INSTRUCTBLIP_ASSETS}) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.is_regular_file() && entry.path().string().ends_with(end) &&
          entry.file_size() <= kLargest) {
        found.push_back(entry.path());
      }
    }
  }
  return found;
}

void write_pictures(Seeds seeds) {
  const testing::Fixture fixture("image_processing/decoding");
  for (const std::string& name : fixture.names()) {
    if (name.ends_with(".file")) seeds.add({fixture.text(name)});
  }
}

void write_configurations(Seeds seeds) {
  const testing::Fixture fixture("configuration/files");
  for (const std::string& name : fixture.names()) {
    if (!name.ends_with(".given")) continue;
    for (const std::string& text : fixture.texts(name)) seeds.add({text});
  }
  for (const fs::path& path : find("/config.json")) seeds.add({contents(path)});
}

void write_folders(Seeds seeds) {
  const fs::path fixtures = INSTRUCTBLIP_FIXTURES,
                 demo = fs::path(INSTRUCTBLIP_ASSETS) / "instructblip-demo";
  const std::string tensors = contents(fixtures / "checkpoint/types.safetensors");
  for (const fs::path& path : find("/config.json")) {
    seeds.add({contents(demo / "generation_config.json"), contents(demo / "processor_config.json"),
               R"({"tokenizer_class": "BertTokenizer", "padding_side": "left"})",
               "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", contents(path), tensors});
  }
}

void write_generation_configs(Seeds seeds) {
  for (const fs::path& path : find("/generation_config.json")) seeds.add({contents(path)});
  seeds.add({R"({"max_new_tokens": 20.0, "early_stopping": "never", "num_beams": 3,)"
             R"( "eos_token_id": [1, 2], "sequence_bias": [[[3, 4], -1.5]], "top_p": 0.5,)"
             R"( "exponential_decay_length_penalty": [2, 1.5], "bad_words_ids": [[1], [2, 3]],)"
             R"( "stop_strings": "x", "guidance_scale": 1, "unknown": {"a": [null]}})"});
}

void write_processor_configs(Seeds seeds) {
  const std::string tokenizer = R"({"tokenizer_class": "BertTokenizer", "padding_side": "left"})";
  for (const fs::path& path : find("/processor_config.json")) {
    seeds.add({tokenizer, "", "", contents(path)});
  }
  seeds.add({tokenizer, R"({"num_query_tokens": 4, "image_token_index": 5})",
             R"({"crop_size": 8, "do_center_crop": true, "do_pad": true, "do_rescale": null,)"
             R"( "image_mean": [0.5], "image_std": 2, "pad_size": {"height": 20, "width": 30},)"
             R"( "resample": 0, "size": {"longest_edge": 12, "shortest_edge": 6}})",
             ""});
}

void write_tensors(Seeds seeds) {
  seeds.add({contents(fs::path(INSTRUCTBLIP_FIXTURES) / "checkpoint/types.safetensors")});
  seeds.add({contents(fs::path(INSTRUCTBLIP_FIXTURES) / "layers/norms.safetensors")});
}

void write_indices(Seeds seeds) {
  seeds.add({R"({"metadata": {"total_size": 32}, "weight_map": {"a.one": "one.safetensors",)"
             R"( "b.one": "one.safetensors", "a.two": "two.safetensors"}})"});
}

// The settings of every adapter of the fixtures with a few small tensors, and small settings with
// tensors of every kind.
void write_adapters(Seeds seeds) {
  using Shapes = std::vector<std::pair<std::string, Shape>>;
  const auto tensors = [](const Shapes& shapes) {
    const testing::TemporaryFolder folder;
    std::vector<std::pair<std::string, Tensor>> zeros;
    for (const auto& [name, shape] : shapes) {
      zeros.emplace_back(name, Tensor(DType::Float32, shape));
    }
    save_safetensors(folder.path() / "file", {zeros.begin(), zeros.end()});
    return contents(folder.path() / "file");
  };
  const std::string peft = "base_model.model.", q = peft + "lm.layers.0.q_proj.";
  const Shapes lora = {{q + "lora_A.weight", {2, 3}}, {q + "lora_B.weight", {2, 2}}};
  const std::string plain = tensors(lora);
  for (const fs::path& path : find("/adapter_config.json")) seeds.add({contents(path), plain});

  const auto add = [&](const std::string& settings, Shapes shapes) {
    shapes.insert(shapes.end(), lora.begin(), lora.end());
    seeds.add({R"({"peft_type": "LORA", "r": 2, )" + settings + "}", tensors(shapes)});
  };
  add(R"("target_modules": ".*\\.(?!x)[qv]_proj", "layers_to_transform": [0])", {});
  add(R"("alpha_pattern": {"q_proj": 3}, "rank_pattern": {"^lm\\..*": 2}, "use_rslora": true)",
      {{q + "lora_B.bias", {2}}});
  add(R"("use_dora": true, "exclude_modules": ["v_proj"])",
      {{q + "lora_magnitude_vector.weight", {2}}, {q + "base_layer.bias", {2}}});
  add(R"("modules_to_save": ["norm", "head"])",
      {{peft + "lm.norm.modules_to_save.default.weight", {3}}, {peft + "lm.head.weight", {5, 3}}});
  add(R"("target_modules": "all-linear")", {{peft + "lm.embed.lora_embedding_A", {2, 5}},
                                            {peft + "lm.embed.lora_embedding_B", {3, 2}},
                                            {peft + "vision.patches.lora_A.weight", {2, 3, 2, 2}},
                                            {peft + "vision.patches.lora_B.weight", {2, 2, 1, 1}}});
  add(R"("trainable_token_indices": {"embed": [4, 0]})",
      {{peft + "lm.embed.token_adapter.trainable_tokens_delta", {2, 3}}});
}

void write_tokenizers(Seeds seeds) {
  for (const fs::path& path : find("/tokenizer.json")) {
    seeds.add({contents(path.parent_path() / "tokenizer_config.json"), contents(path)});
    seeds.add({"", contents(path)});
  }
}

void write_vocabularies(Seeds seeds) {
  for (const fs::path& path : find("/tokenizer_config.json")) {
    const auto read = [&](const char* name) { return contents(path.parent_path() / name); };
    const std::string words = read("vocab.txt"), pieces = read("vocab.json");
    const bool has_model = fs::exists(path.parent_path() / "tokenizer.model") ||
                           fs::exists(path.parent_path() / "spiece.model");
    if (words.empty() && pieces.empty() && !has_model) continue;
    seeds.add({contents(path), read("special_tokens_map.json"), read("added_tokens.json"), words,
               read("merges.txt"), pieces});
  }
  seeds.add({"", R"({"unk_token": "u"})", R"({"<x>": 3})", "", "#version: 0.2\na b\nab c\n",
             R"({"a": 0, "b": 1, "ab": 2, "c": 4, "abc": 5, "u": 6})"});
  seeds.add({R"({"added_tokens_decoder": {"3": {"content": "<x>", "lstrip": true}}})", "", "",
             "[UNK]\n[CLS]\n[SEP]\n[PAD]\na\n##b\n", "", ""});
}

void write_models(Seeds seeds) {
  for (const fs::path& path : find(".model")) seeds.add({contents(path)});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_seeds FOLDER\n";
    return 2;
  }
  const fs::path folder = argv[1];
  write_adapters({folder, "adapter"});
  write_configurations({folder, "configuration"});
  write_folders({folder, "folder"});
  write_generation_configs({folder, "generation_config"});
  write_indices({folder, "index"});
  write_pictures({folder, "picture"});
  write_processor_configs({folder, "processor_config"});
  write_tensors({folder, "safetensors"});
  write_models({folder, "sentencepiece_model"});
  write_tokenizers({folder, "tokenizer_json"});
  write_vocabularies({folder, "vocabulary"});
}
