#include "instructblip/tasks/folder_check.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/configuration/configuration_instructblipvideo.h"
#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/core/error.h"
#include "instructblip/models/quantize_checkpoint.h"
#include "instructblip/tasks/answers.h"
#include "instructblip/tasks/load.h"
#include "instructblip/tasks/retrieval.h"
#include "instructblip/tokenization/tokenizer.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;
using Severity = FolderFinding::Severity;

// Counts how often a file is opened.
class Openings {
 public:
  explicit Openings(const fs::path& file) {
    // Opening and closing alternate: the system merges equal events.
    if (inotify_add_watch(watch_, file.c_str(), IN_OPEN | IN_CLOSE) < 0) {
      throw std::runtime_error(file.string() + " cannot be watched");
    }
  }
  Openings(const Openings&) = delete;
  Openings& operator=(const Openings&) = delete;
  ~Openings() { close(watch_); }

  int count() const {
    int count = 0;
    inotify_event event;
    while (read(watch_, &event, sizeof event) == sizeof event) count += (event.mask & IN_OPEN) != 0;
    return count;
  }

 private:
  int watch_ = inotify_init1(IN_NONBLOCK);
};

// A consistent folder: a small model with vocabularies of the tokenizers' sizes.
class FolderCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const fs::path fixtures = testing::fixtures_folder();
    copy(fixtures / "tokenization/llama", "");
    copy(fixtures / "tokenization/bert", "qformer_tokenizer");
    folder_.write("processor_config.json", R"({"num_query_tokens":4})");
    folder_.write("preprocessor_config.json", R"({"size":{"height":16,"width":16}})");
    config_ = InstructBlipConfig::from_pretrained(fixtures / "instructblip/llama");
    config_.qformer_config.vocab_size = 375;
    use_tokenizers_ids(config_);
    write_weights(Checkpoint::open(fixtures / "instructblip/llama"));
  }

  void use_tokenizers_ids(ImageTextToTextConfig& config) {
    config.text_config->vocab_size = 622;
    config.text_config->bos_token_id = 2;
    config.text_config->eos_token_id = {2};
    config.text_config->pad_token_id = 620;
    config.image_token_index = 621;
    config.save_pretrained(path());
  }

  const fs::path& path() const { return folder_.path(); }

  void copy(const fs::path& from, const fs::path& to) {
    fs::create_directories(path() / to);
    fs::copy(from, path() / to, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }

  void write_weights(const std::shared_ptr<const Checkpoint>& source,
                     const std::string& left_out = "", const std::string& added = "") {
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const std::string& name : source->names()) {
      if (name == left_out) continue;
      Tensor tensor = Tensor::copy_of(source->find(name).value());
      if (tensor.rank() == 2 && tensor.dim(0) == 100) {
        tensor = Tensor(DType::Float32, {vocab_size_, tensor.dim(1)});
      } else if (name == "qformer.embeddings.word_embeddings.weight") {
        tensor = Tensor(DType::BFloat16, {375, tensor.dim(1)});
      }
      tensors.emplace_back(name, std::move(tensor));
    }
    if (!added.empty()) tensors.emplace_back(added, Tensor(DType::Float32, {2}));
    std::vector<std::pair<std::string, TensorView>> views(tensors.begin(), tensors.end());
    save_safetensors(path() / "model.safetensors", views);
  }

  // The only finding of check_folder.
  FolderFinding finding() {
    const FolderReport report = check_folder(path());
    EXPECT_EQ(report.findings.size(), 1u);
    for (const FolderFinding& found : report.findings) SCOPED_TRACE(to_string(found));
    return report.findings.empty() ? FolderFinding{} : report.findings.back();
  }

  FolderFinding finding_after(const std::function<void(InstructBlipConfig&)>& change) {
    InstructBlipConfig config = config_;
    change(config);
    config.save_pretrained(path());
    return finding();
  }

  // Adds tokens to the tokenizer in `name` ("" is the language model's).
  void add_tokens(const char* name, const std::vector<AddedToken>& tokens) {
    const auto tokenizer = AutoTokenizer::from_pretrained(path() / name);
    tokenizer->add_tokens(tokens);
    tokenizer->save_pretrained(path() / name);
  }

  testing::TemporaryFolder folder_;
  InstructBlipConfig config_;
  Index vocab_size_ = 622;
};

TEST_F(FolderCheckTest, AConsistentFolderHasNoFindings) {
  const FolderReport report = check_folder(path());
  for (const FolderFinding& found : report.findings) ADD_FAILURE() << to_string(found);
  EXPECT_TRUE(report.is_usable());
}

TEST_F(FolderCheckTest, PartsAreCountedByType) {
  const FolderReport report = check_folder(path());
  const auto checkpoint = Checkpoint::open(path());
  EXPECT_EQ(report.total.bytes, checkpoint->bytes());
  std::vector<std::string> names;
  Index tensors = 0, parameters = 0;
  for (const FolderPart& part : report.parts) {
    names.push_back(part.name);
    tensors += part.tensors;
    parameters += part.total.parameters;
    if (part.name == "qformer") {
      EXPECT_EQ(part.by_type.at("BF16").parameters, 375 * 16);
      EXPECT_EQ(part.by_type.at("BF16").bytes, 375u * 16 * 2);
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"language_model", "language_projection", "qformer",
                                             "query_tokens", "vision_model"}));
  EXPECT_EQ(tensors, static_cast<Index>(checkpoint->names().size()));
  EXPECT_EQ(parameters, report.total.parameters);
}

// How much of a file is in the page cache.
std::size_t bytes_in_memory(const fs::path& file) {
  const std::size_t size = fs::file_size(file);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((size + page - 1) / page);
  const int descriptor = open(file.c_str(), O_RDONLY);
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  close(descriptor);
  if (mapped == MAP_FAILED || mincore(mapped, size, pages.data()) != 0) return size;
  munmap(mapped, size);
  return page * static_cast<std::size_t>(
                    std::count_if(pages.begin(), pages.end(), [](int p) { return (p & 1) != 0; }));
}

TEST_F(FolderCheckTest, ReadsOnlyTheHeadersOfTheWeights) {
  constexpr Index kVocabulary = 50'000'000;  // embedding and head with 16 columns: 6.4 GB
  config_.text_config->vocab_size = kVocabulary;
  config_.save_pretrained(path());
  const auto source = Checkpoint::open(path());
  std::string header;
  std::size_t end = 0;
  for (const auto& [name, tensor] : source->tensors()) {
    Shape shape = tensor.shape;
    if (shape.size() == 2 && shape[0] == 622) shape[0] = kVocabulary;
    const std::size_t begin = end;
    end += tensor.bytes / static_cast<std::size_t>(element_count(tensor.shape)) *
           static_cast<std::size_t>(element_count(shape));
    header += (header.empty() ? "{\"" : ",\"") + name + "\":{\"dtype\":\"" + tensor.dtype +
              "\",\"shape\":" + to_string(shape) + ",\"data_offsets\":[" + std::to_string(begin) +
              "," + std::to_string(end) + "]}";
  }
  header += "}";
  const fs::path file = path() / "model.safetensors";
  fs::remove(file);
  const auto length = static_cast<std::uint64_t>(header.size());
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), sizeof length)
      .write(header.data(), static_cast<std::streamsize>(length));
  fs::resize_file(file,
                  sizeof length + header.size() + end);  // a sparse file: the data take no space

  const FolderReport report = check_folder(path());
  for (const FolderFinding& found : report.findings) ADD_FAILURE() << to_string(found);
  EXPECT_EQ(report.total.bytes, end);
  EXPECT_GT(end, std::size_t{6'000'000'000});
  EXPECT_LT(bytes_in_memory(file), std::size_t{100'000'000});
}

TEST_F(FolderCheckTest, AnEosThatDiffersFromTheTokenizersIsFound) {
  const auto found =
      finding_after([](InstructBlipConfig& config) { config.text_config->eos_token_id = {1}; });
  EXPECT_EQ(found.severity, Severity::Warning);
  EXPECT_EQ(to_string(found),
            "config.json: text_config has eos_token_id 1, but the tokenizer has 2, where generate "
            "would not stop. Change: in \"text_config\": \"eos_token_id\": 2");
}

TEST_F(FolderCheckTest, OneMatchingEosIsEnough) {
  config_.text_config->eos_token_id = {7, 2};
  config_.save_pretrained(path());
  EXPECT_TRUE(check_folder(path()).findings.empty());
}

TEST_F(FolderCheckTest, ABosOrPaddingIdThatDiffersIsFound) {
  auto found =
      finding_after([](InstructBlipConfig& config) { config.text_config->bos_token_id = 1; });
  EXPECT_EQ(found.remedy, "in \"text_config\": \"bos_token_id\": 2");
  found = finding_after([](InstructBlipConfig& config) { config.text_config->pad_token_id = 0; });
  EXPECT_EQ(found.remedy, "in \"text_config\": \"pad_token_id\": 620");
  found = finding_after([](InstructBlipConfig& config) { config.text_config->pad_token_id = -1; });
  EXPECT_NE(found.problem.find("pad_token_id is -1, outside"), std::string::npos) << found.problem;
  EXPECT_EQ(found.remedy, "in \"text_config\": \"pad_token_id\": 620");
}

TEST_F(FolderCheckTest, AWrongNumberOfQueryTokensIsFound) {
  folder_.write("processor_config.json", R"({"num_query_tokens":5})");
  FolderFinding found = finding();
  EXPECT_EQ(found.severity, Severity::Error);
  EXPECT_EQ(found.remedy, "\"num_query_tokens\": 4");
  folder_.write("processor_config.json", "{}");
  found = finding();
  EXPECT_EQ(found.severity, Severity::Warning);
  EXPECT_EQ(found.remedy, "\"num_query_tokens\": 4");
  fs::remove(path() / "processor_config.json");
  EXPECT_EQ(finding().remedy,
            "{\"num_query_tokens\": 4, \"processor_class\": \"InstructBlipProcessor\"}");
}

TEST_F(FolderCheckTest, AWrongImageTokenIsFound) {
  auto found = finding_after([](InstructBlipConfig& config) { config.image_token_index = 620; });
  EXPECT_EQ(found.severity, Severity::Error);
  EXPECT_EQ(found.remedy, "\"image_token_index\": 621");
  found = finding_after([](InstructBlipConfig& config) { config.image_token_index.reset(); });
  EXPECT_EQ(found.severity, Severity::Warning);
  EXPECT_EQ(found.remedy, "\"image_token_index\": 621");
  EXPECT_NE(found.problem.find("4 placeholders would be read as text"), std::string::npos);
}

TEST_F(FolderCheckTest, ATokenizerLargerThanTheVocabularyIsFound) {
  add_tokens("", {{.content = "<image>"}});  // the last row of the embedding table
  EXPECT_TRUE(check_folder(path()).findings.empty());
  add_tokens("", {{.content = "<surplus>"}});
  const FolderFinding found = finding();
  EXPECT_EQ(found.severity, Severity::Error);
  EXPECT_EQ(
      to_string(found),
      "tokenizer_config.json: the tokenizer has 623 tokens, but the language model's embedding "
      "table has only 622 rows. Change: download the tokenizer files of this checkpoint");
}

TEST_F(FolderCheckTest, AQFormerTokenizerLargerThanItsVocabularyIsFound) {
  add_tokens("qformer_tokenizer", {{.content = "<surplus>"}});
  const FolderFinding found = finding();
  EXPECT_EQ(found.severity, Severity::Error);
  EXPECT_EQ(to_string(found),
            "qformer_tokenizer: has 376 tokens, but the Q-Former's embedding table has only 375 "
            "rows. Change: download the qformer_tokenizer/ of this checkpoint");
}

TEST_F(FolderCheckTest, AVocabularyWithoutTheImageTokenIsFound) {
  add_tokens("", {{.content = "<surplus>"}});
  auto found = finding_after([](InstructBlipConfig& config) { config.image_token_index = 622; });
  EXPECT_EQ(found.severity, Severity::Error);
  EXPECT_EQ(found.problem, "image_token_index is 622, but the embedding table has only 622 rows");
  found = finding_after([](InstructBlipConfig& config) { config.image_token_index.reset(); });
  EXPECT_EQ(found.severity, Severity::Warning);
  EXPECT_EQ(
      found.problem,
      "has no image_token_index, and the embedding table (622 rows) has no row for \"<image>\": "
      "image features are put before the text");
}

TEST_F(FolderCheckTest, ImagesOfTheWrongSizeAreFound) {
  folder_.write("preprocessor_config.json", R"({"size":{"height":16,"width":20}})");
  EXPECT_EQ(finding().remedy, "\"size\": {\"height\": 16, \"width\": 16}");
}

TEST_F(FolderCheckTest, IgnoredGenerationSettingsAreFound) {
  folder_.write("generation_config.json", R"({"eos_token_id":[2,7],"pad_token_id":620})");
  const FolderFinding found = finding();
  EXPECT_EQ(found.file, "generation_config.json");
  EXPECT_EQ(found.remedy, "in config.json, \"text_config\": \"eos_token_id\": [2,7]");
}

TEST_F(FolderCheckTest, MissingMisshapenAndUnknownTensorsAreFound) {
  const auto source = Checkpoint::open(testing::fixtures_folder() / "instructblip/llama");
  write_weights(source, "query_tokens");
  FolderFinding found = finding();
  EXPECT_EQ(found.severity, Severity::Error);
  EXPECT_EQ(found.problem, "query_tokens: missing, expected [1, 4, 16]");
  write_weights(source, "", "surprise");
  found = finding();
  EXPECT_EQ(found.severity, Severity::Warning);
  EXPECT_EQ(found.problem, "surprise: not part of the model, ignored");
  write_weights(source);
  InstructBlipConfig config = config_;
  config.num_query_tokens = 5;
  config.save_pretrained(path());
  const FolderReport report = check_folder(path());
  ASSERT_EQ(report.findings.size(), 2u);
  EXPECT_EQ(report.findings[0].problem, "query_tokens: found [1, 4, 16], expected [1, 5, 16]");
}

TEST_F(FolderCheckTest, MissingAndDamagedFilesAreFindings) {
  for (const char* name :
       {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json",
        "tokenizer_config.json", "processor_config.json", "qformer_tokenizer/tokenizer.json"}) {
    SCOPED_TRACE(name);
    std::ifstream stream(path() / name, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream),
                            std::istreambuf_iterator<char>()};
    fs::remove(path() / name);
    EXPECT_FALSE(check_folder(path()).findings.empty());
    folder_.write(name, bytes.substr(0, bytes.size() / 2));
    EXPECT_FALSE(check_folder(path()).is_usable());
    folder_.write(name, bytes);
  }
  EXPECT_TRUE(check_folder(path()).findings.empty());
}

TEST_F(FolderCheckTest, WhatStandsInTheFilesPlaceIsNamed) {
  for (const char* name : {"config.json", "model.safetensors", "preprocessor_config.json",
                           "processor_config.json", "tokenizer_config.json", "tokenizer.json"}) {
    SCOPED_TRACE(name);
    std::ifstream stream(path() / name, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream),
                            std::istreambuf_iterator<char>()};
    const auto expect_named = [&](std::string_view text) {
      const FolderReport report = check_folder(path());
      EXPECT_TRUE(std::any_of(report.findings.begin(), report.findings.end(),
                              [&](const auto& found) {
                                return found.file == name &&
                                       found.problem.find(text) != std::string::npos;
                              }))
          << (report.findings.empty() ? "none" : to_string(report.findings[0]));
    };
    folder_.write(name, "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 7\n");
    expect_named("a Git LFS pointer");
    folder_.write(name, "<!DOCTYPE html><html>");
    expect_named("a web page");
    folder_.write(name, "");
    expect_named("is empty");
    fs::remove(path() / name);
    fs::create_symlink("../../blobs/12ab", path() / name);
    expect_named("a link to ../../blobs/12ab, which does not exist");
    fs::remove(path() / name);
    folder_.write(name, bytes);
  }
  EXPECT_TRUE(check_folder(path()).findings.empty());
}

TEST(NoCheckpointTest, AFolderThatIsNoCheckpointHasTwoFindings) {
  const testing::TemporaryFolder folder;
  for (int i = 0; i < 30; ++i) folder.write("photo_" + std::to_string(i) + ".jpg", "x");
  const FolderReport report = check_folder(folder.path());
  ASSERT_EQ(report.findings.size(), 2u);
  EXPECT_EQ(to_string(report.findings[0]),
            "config.json: is missing, and so are the processor and the tokenizer. Change: give the "
            "folder of a checkpoint");
  EXPECT_LT(report.findings[1].problem.size(), 200u) << report.findings[1].problem;
  EXPECT_NE(report.findings[1].problem.find("and 24 more"), std::string::npos);
}

TEST_F(FolderCheckTest, AnAdapterInTheFolderIsReported) {
  EXPECT_FALSE(check_folder(path()).adapter);
  const fs::path adapter = testing::fixtures_folder() / "adapters/llama_all_linear";
  const FolderReport given = check_folder(path(), adapter);
  EXPECT_TRUE(given.findings.empty());
  ASSERT_TRUE(given.adapter);
  EXPECT_EQ(given.adapter->base_model_name_or_path, "example/instructblip-llama");
  EXPECT_EQ(given.adapter->least_rank, 1);
  EXPECT_EQ(given.adapter->greatest_rank, 3);
  copy(adapter, "");
  EXPECT_TRUE(check_folder(path()).adapter);
  fs::remove(path() / "adapter_model.safetensors");
  EXPECT_NE(finding().problem.find("no adapter_model.safetensors"), std::string::npos);
  EXPECT_TRUE(check_folder(path(), fs::path()).is_usable());
}

TEST_F(FolderCheckTest, LoadWarnsOnceOfAWrapper) {
  const auto source = Checkpoint::open(path());
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const std::string& name : source->names()) {
    tensors.emplace_back("module._orig_mod." + name, source->find(name).value());
  }
  save_safetensors(path() / "wrapped", tensors);
  fs::rename(path() / "wrapped", path() / "model.safetensors");
  testing::LogCapture log;
  load(path());
  ASSERT_EQ(log.messages().size(), 1u);
  EXPECT_TRUE(log.contains("contain \"_orig_mod.\", \"module.\""));
}

TEST_F(FolderCheckTest, AMissingQFormerTokenizerIsFound) {
  fs::remove_all(path() / "qformer_tokenizer");
  EXPECT_EQ(finding().file, "qformer_tokenizer");
  EXPECT_EQ(finding().severity, Severity::Error);  // 621 tokens, but a table of 375 rows
  fs::remove(path() / "model.safetensors");        // its table has another size than below
  config_.qformer_config.vocab_size = 622;
  config_.save_pretrained(path());
  EXPECT_EQ(check_folder(path()).findings.back().file, "qformer_tokenizer");
  EXPECT_EQ(check_folder(path()).findings.back().severity, Severity::Warning);
}

TEST_F(FolderCheckTest, AFindingNamesTheFileOnce) {
  folder_.write("tokenizer_config.json", "{");
  FolderFinding found = finding();
  EXPECT_EQ(found.file, "tokenizer_config.json");
  EXPECT_EQ(found.problem.find(path().string()), std::string::npos) << found.problem;
  SetUp();
  fs::remove(path() / "preprocessor_config.json");
  found = finding();
  EXPECT_EQ(found.problem.find("no image processor"), 0u) << found.problem;
  SetUp();
  fs::remove(path() / "config.json");
  found = finding();
  EXPECT_EQ(to_string(found), "config.json: no such file");
}

TEST_F(FolderCheckTest, LoadLogsEveryFinding) {
  config_.text_config->pad_token_id = 619;
  config_.save_pretrained(path());
  folder_.write("generation_config.json", R"({"eos_token_id":[2,3]})");
  write_weights(Checkpoint::open(path()), "", "left_over");
  const auto warnings = [&](const LoadOptions& options) {
    const testing::LogCapture log;
    load(path(), options);
    return log.messages();
  };
  const auto found = warnings({});
  ASSERT_EQ(found.size(), 3u);
  EXPECT_NE(found[0].find("left_over"), std::string::npos);
  EXPECT_NE(found[1].find("in \"text_config\": \"pad_token_id\": 620"), std::string::npos);
  EXPECT_NE(found[2].find("generation_config.json"), std::string::npos);
  EXPECT_EQ(warnings({.check_folder = false}).size(), 1u);
  const testing::LogCapture log;
  InstructBlipForConditionalGeneration::from_pretrained(path());
  EXPECT_EQ(log.messages().size(), 1u);  // a part checks only its own files
}

TEST_F(FolderCheckTest, LoadReadsLargeFilesOnce) {
  const Openings config(path() / "config.json"), tokenizer(path() / "tokenizer.json"),
      qformer(path() / "qformer_tokenizer/tokenizer.json"), weights(path() / "model.safetensors");
  load(path());
  EXPECT_EQ(config.count(), 1);
  EXPECT_EQ(tokenizer.count(), 1);
  EXPECT_EQ(qformer.count(), 1);
  EXPECT_EQ(weights.count(), 1);
}

TEST_F(FolderCheckTest, LoadChecksTheTokenizerWithoutTheImageTokenThatTheProcessorAdds) {
  vocab_size_ = 621;  // of the tokenizer without <image>
  write_weights(Checkpoint::open(testing::fixtures_folder() / "instructblip/llama"));
  config_.text_config->vocab_size = vocab_size_;
  config_.image_token_index.reset();
  config_.save_pretrained(path());
  const FolderFinding found = finding();
  const testing::LogCapture log;
  load(path());
  ASSERT_EQ(log.messages().size(), 1u);
  EXPECT_NE(log.messages()[0].find(found.problem), std::string::npos) << log.messages()[0];
}

TEST_F(FolderCheckTest, LoadEndsAnswersAtTheEosOfTokenizerAndConfiguration) {
  config_.text_config->eos_token_id = {1};
  config_.save_pretrained(path());
  folder_.write("generation_config.json", R"({"eos_token_id":[1,2]})");
  EXPECT_EQ(check_folder(path()).findings.size(), 2u);
  const testing::LogCapture log;
  const auto [processor, model] = load(path());
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  EXPECT_EQ(model.language_model().traits().eos_token_id, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(processor.tokenizer().eos_token_id(), 2);
  // from_pretrained of the parts behaves as in the reference (transformers 5.24).
  const auto alone = InstructBlipForConditionalGeneration::from_pretrained(path());
  EXPECT_EQ(alone.language_model().traits().eos_token_id, (std::vector<std::int64_t>{1}));
}

TEST_F(FolderCheckTest, LoadingWarnsOnceOfALegacyConfiguration) {
  config_.image_token_index.reset();
  config_.save_pretrained(path());
  for (const bool whole : {true, false}) {
    const testing::LogCapture log;
    if (whole) {
      load(path());
    } else {
      InstructBlipForConditionalGeneration::from_pretrained(path());
    }
    ASSERT_EQ(log.messages().size(), 1u);
    EXPECT_NE(log.messages()[0].find("\"image_token_index\""), std::string::npos);
  }
}

TEST_F(FolderCheckTest, APathThatIsNotAFolderThrows) {
  EXPECT_THROW(check_folder(path() / "absent"), ConfigError);
  EXPECT_THROW(check_folder(path() / "config.json"), ConfigError);
}

TEST_F(FolderCheckTest, QuantisedMatricesAreCountedWithTheParametersThatTheyStandFor) {
  const fs::path source = fs::path(INSTRUCTBLIP_SOURCE_DIR) / "examples/assets/instructblip-demo";
  const testing::TemporaryFolder folder;
  const fs::path target = folder.path() / "quantised";
  quantize_checkpoint(source, target, quantization_recipe("vision=int8,language=int4-g32-zero"));
  const FolderReport before = check_folder(source), after = check_folder(target);
  EXPECT_TRUE(after.findings.empty());
  EXPECT_EQ(before.quantization, "");
  EXPECT_EQ(after.quantization, "compressed-tensors mixed-precision");
  EXPECT_EQ(after.total.parameters, before.total.parameters);
  EXPECT_EQ(after.total.bytes, Checkpoint::open(target)->bytes());
  EXPECT_EQ(before.total.memory_bytes, before.total.bytes);  // bfloat16
  const auto part = [&](const char* name) {
    return *std::find_if(after.parts.begin(), after.parts.end(),
                         [&](const FolderPart& candidate) { return candidate.name == name; });
  };
  // Codes, a float32 scale for each output or group, and a byte for each zero point.
  const StoredSize four = part("language_model").by_type.at("int4-g32-zero");
  EXPECT_EQ(four.memory_bytes, to_size(four.parameters / 2 + four.parameters / 32 * 5));
  const StoredSize eight = part("vision_model").by_type.at("int8");
  EXPECT_GT(eight.memory_bytes, to_size(eight.parameters));
  EXPECT_LT(eight.memory_bytes, to_size(eight.parameters) * 21 / 20);
  EXPECT_FALSE(part("vision_model").by_type.contains("I8"));
}

TEST_F(FolderCheckTest, FoldersOfOtherProgramsAreDescribed) {
  struct Case {
    const char *name, *quantization, *type;
    double bits;  // of a parameter in memory: its code, and its share of a scale and a zero point
  };
  for (const Case& expected : {Case{"int8", "bitsandbytes int8", "int8", 8.5},
                               Case{"nf4", "bitsandbytes nf4", "nf4-g64", 4 + 32.0 / 64},
                               Case{"gptq", "gptq", "int4-g128", 4 + 32.0 / 128},
                               Case{"awq", "awq gemm", "int4-g64-zero", 4 + 40.0 / 64}}) {
    SCOPED_TRACE(expected.name);
    const FolderReport report =
        check_folder(testing::fixtures_folder() / "foreign" / expected.name);
    EXPECT_EQ(report.quantization, expected.quantization);
    const auto part = std::find_if(report.parts.begin(), report.parts.end(),
                                   [](const FolderPart& p) { return p.name == "language_model"; });
    ASSERT_NE(part, report.parts.end());
    ASSERT_TRUE(part->by_type.contains(expected.type));
    const StoredSize size = part->by_type.at(expected.type);
    const double bits =
        8.0 * static_cast<double>(size.memory_bytes) / static_cast<double>(size.parameters);
    EXPECT_NEAR(bits, expected.bits, 0.5);
    for (const char* leftover : {"I8", "I32", "U8"}) {
      EXPECT_FALSE(part->by_type.contains(leftover)) << leftover;
    }
    for (const FolderFinding& finding : report.findings) {
      EXPECT_EQ(finding.file.find("safetensors"), std::string::npos) << to_string(finding);
    }
  }
}

TEST(LoadTest, RefusesToQuantiseAFolderTwice) {
  const testing::TemporaryFolder folder;
  const fs::path target = folder.path() / "quantised";
  const QuantizationRecipe recipe = quantization_recipe("int8");
  quantize_checkpoint(fs::path(INSTRUCTBLIP_SOURCE_DIR) / "examples/assets/instructblip-demo",
                      target, recipe);
  EXPECT_NO_THROW(load(target));
  testing::expect_error<ConfigError>([&] { load(target, {.quantization = recipe}); },
                                     {"quantised already", "--weights"});
}

// The same with a model of BLIP-2, which has no qformer_tokenizer.
class Blip2FolderTest : public FolderCheckTest {
 protected:
  void SetUp() override {
    FolderCheckTest::SetUp();
    fs::remove_all(path() / "qformer_tokenizer");
    const fs::path fixture = testing::fixtures_folder() / "blip_2/llama";
    blip_2_ = Blip2Config::from_pretrained(fixture);
    use_tokenizers_ids(blip_2_);
    folder_.write("processor_config.json", R"({"num_query_tokens":3})");
    write_weights(Checkpoint::open(fixture));
  }

  Blip2Config blip_2_;
};

TEST_F(Blip2FolderTest, AConsistentFolderHasNoFindings) {
  const FolderReport report = check_folder(path());
  for (const FolderFinding& found : report.findings) ADD_FAILURE() << to_string(found);
  ASSERT_NE(report.config, nullptr);
  EXPECT_EQ(report.config->model_type(), "blip-2");
}

TEST_F(Blip2FolderTest, MissingPlaceholdersAreFoundWithTheProcessorsName) {
  fs::remove(path() / "processor_config.json");
  EXPECT_NE(finding().remedy.find("\"processor_class\": \"Blip2Processor\""), std::string::npos);
}

TEST_F(Blip2FolderTest, LoadChoosesTheClassesByTheModelType) {
  const testing::LogCapture log;
  const auto [processor, model] = load(path());
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  EXPECT_EQ(model.config().model_type(), "blip-2");
  EXPECT_EQ(processor.find_qformer_tokenizer(), nullptr);
  const std::vector<std::uint8_t> pixels(16 * 16 * 3, 128);
  const Image image = Image::from_pixels(pixels.data(), 16, 16, PixelFormat::RGB);
  const GenerationConfig options{.max_new_tokens = 4, .min_new_tokens = 4};
  const auto answer = model.generate(processor(image, "What is this?"), options);
  EXPECT_EQ(answer.new_tokens().at(0).size(), 4u);
  EXPECT_EQ(model.generate(processor(image), options).new_tokens().at(0).size(), 4u);
  // An empty text is no text.
  testing::expect_equal(model.generate(processor(image, ""), options).sequences,
                        model.generate(processor(image), options).sequences);

  const CandidateRanks ranks =
      rank_candidates(model, processor, {image}, {"What is this?"}, {"a cat", "a dog"});
  EXPECT_EQ(ranks.ranks.shape(), (Shape{1, 2}));
}

TEST_F(Blip2FolderTest, LoadReadsTheConfigurationOnce) {
  const Openings config(path() / "config.json");
  load(path());
  EXPECT_EQ(config.count(), 1);
}

TEST_F(Blip2FolderTest, AFolderOfAnotherFamilyIsRefusedByName) {
  folder_.write("config.json", R"({"model_type": "llava", "vision_config": {}})");
  testing::expect_error<ConfigError>(
      [&] { load(path()); }, {"config.json", "\"llava\", expected \"instructblip\" or \"blip-2\""});
  EXPECT_FALSE(check_folder(path()).is_usable());
}

TEST_F(Blip2FolderTest, QuantizesTheCheckpoint) {
  const testing::TemporaryFolder target;
  quantize_checkpoint(path(), target.path() / "int8", quantization_recipe("int8"));
  const auto [processor, model] = load(target.path() / "int8");
  EXPECT_EQ(model.config().model_type(), "blip-2");
}

// The same with a model that reads the frames of a video.
class VideoFolderTest : public FolderCheckTest {
 protected:
  void SetUp() override {
    FolderCheckTest::SetUp();
    const fs::path fixture = testing::fixtures_folder() / "instructblipvideo/llama";
    video_ = InstructBlipVideoConfig::from_pretrained(fixture);
    video_.qformer_config.vocab_size = 375;
    use_tokenizers_ids(video_);
    fs::remove(path() / "preprocessor_config.json");
    folder_.write("video_preprocessor_config.json", R"({"size":{"height":12,"width":12}})");
    folder_.write("processor_config.json", R"({"num_query_tokens":3})");
    write_weights(Checkpoint::open(fixture));
  }

  InstructBlipVideoConfig video_;
};

TEST_F(VideoFolderTest, AConsistentFolderHasNoFindings) {
  const FolderReport report = check_folder(path());
  for (const FolderFinding& found : report.findings) ADD_FAILURE() << to_string(found);
  ASSERT_NE(report.config, nullptr);
  EXPECT_EQ(report.config->model_type(), "instructblipvideo");
}

TEST_F(VideoFolderTest, FindingsNameTheVideosKeysAndFiles) {
  folder_.write("video_preprocessor_config.json", R"({"size":{"height":16,"width":16}})");
  EXPECT_NE(finding().problem.find("images of 16 x 16 pixels"), std::string::npos);
  folder_.write("video_preprocessor_config.json", R"({"size":{"height":12,"width":12}})");
  video_.image_token_index = 5;
  video_.save_pretrained(path());
  const FolderFinding token = finding();
  EXPECT_EQ(token.problem,
            "video_token_index is 5, but the processor uses \"<video>\", id 621: the video would "
            "have no influence");
  EXPECT_EQ(token.remedy, "\"video_token_index\": 621");
  use_tokenizers_ids(video_);
  fs::remove(path() / "processor_config.json");
  EXPECT_NE(finding().remedy.find("\"processor_class\": \"InstructBlipVideoProcessor\""),
            std::string::npos);
}

TEST_F(VideoFolderTest, LoadAnswersAboutFrames) {
  const testing::LogCapture log;
  const auto [processor, model] = load(path());
  EXPECT_EQ(model.config().model_type(), "instructblipvideo");
  std::vector<Image> frames;
  for (int i = 0; i < 6; ++i) {
    const std::vector<std::uint8_t> pixels(16 * 16 * 3, static_cast<std::uint8_t>(40 * i));
    frames.push_back(Image::from_pixels(pixels.data(), 16, 16, PixelFormat::RGB));
  }
  const GenerationConfig options{.max_new_tokens = 4, .min_new_tokens = 4};
  const BatchFeature inputs = processor(frames, {"What happens?"});
  const Tensor answer = model.generate(inputs, options).sequences;
  // As the programs do: the frames are encoded before the question is known.
  const VisionFeatures features = model.encode_image(processor(frames, {}).pixel_values);
  const BatchFeature text = processor({}, {"What happens?"}, {.num_images = features.images()});
  testing::expect_equal(model.generate(text, options, features).sequences, answer);

  const CandidateRanks ranks = rank_candidates(
      model, processor, frames, {"What happens?", "Who speaks?"}, {"a cat", "a dog"});
  EXPECT_EQ(ranks.ranks.shape(), (Shape{2, 2}));
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
}

TEST_F(VideoFolderTest, QuantizesTheCheckpoint) {
  const testing::TemporaryFolder target;
  quantize_checkpoint(path(), target.path() / "int8", quantization_recipe("int8"));
  const auto [processor, model] = load(target.path() / "int8");
  EXPECT_EQ(model.config().model_type(), "instructblipvideo");
  EXPECT_EQ(processor.image_processor().size->height, 12);
}

TEST(RetrievalFolderCheckTest, AModelTypeThatIsNotBlip2sIsFound) {
  const fs::path demo = fs::path(INSTRUCTBLIP_SOURCE_DIR) / "examples/assets/blip2-demo-itm";
  const testing::TemporaryFolder folder;
  fs::copy(demo, folder.path(), fs::copy_options::recursive);
  EXPECT_TRUE(check_folder(folder.path()).findings.empty());

  std::ifstream stream(demo / "config.json");
  const std::string config(std::istreambuf_iterator<char>(stream), {});
  const std::string own_type = "\"model_type\": \"blip-2\"";
  for (const char* const type : {"\"unused\": 0", "\"model_type\": \"instructblip\""}) {
    std::string changed = config;
    changed.replace(changed.find(own_type), own_type.size(), type);
    folder.write("config.json", changed);

    const FolderReport report = check_folder(folder.path());
    ASSERT_EQ(report.findings.size(), 1u) << type;
    EXPECT_EQ(report.findings[0].severity, Severity::Warning);
    EXPECT_NE(report.findings[0].problem.find("Blip2ForImageTextRetrieval"), std::string::npos)
        << to_string(report.findings[0]);
    EXPECT_NO_THROW(load_retrieval(folder.path()));
  }
}

}  // namespace
}  // namespace instructblip
