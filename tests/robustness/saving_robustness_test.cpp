// A file that cannot be written gives an Error of the part's own type that names the file.
#include <functional>

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/core/error.h"
#include "instructblip/generation/generation_config.h"
#include "instructblip/processing/processing_instructblip.h"
#include "instructblip/tokenization/tokenizer.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::TemporaryFolder;
using Save = std::function<void(const std::filesystem::path&)>;

/// Tries to save into a file, and into a folder in which the file's name belongs to a folder.
template <class Expected>
void expect_named(const std::string& name, const Save& save) {
  const TemporaryFolder folder;
  folder.write("file", "");
  testing::expect_error<Expected>([&] { save(folder.path() / "file"); },
                                  {(folder.path() / "file").string(), "cannot be written"});
  std::filesystem::create_directories(folder.path() / "made" / name / "full");
  testing::expect_error<Expected>([&] { save(folder.path() / "made"); },
                                  {(folder.path() / "made" / name).string(), "cannot be written"});
}

TEST(SavingRobustness, AFileThatCannotBeWrittenIsNamed) {
  const auto tokenizer =
      AutoTokenizer::from_pretrained(testing::fixtures_folder() / "tokenization" / "bert");
  const InstructBlipProcessor processor({}, tokenizer->clone(), tokenizer->clone(), 5);
  expect_named<ConfigError>("config.json",
                            [](const auto& to) { LlamaConfig().save_pretrained(to); });
  expect_named<ConfigError>("generation_config.json",
                            [](const auto& to) { GenerationConfig().save_pretrained(to); });
  expect_named<ConfigError>("preprocessor_config.json",
                            [](const auto& to) { BlipImageProcessor().save_pretrained(to); });
  for (const std::string name : {"tokenizer.json", "tokenizer_config.json"}) {
    expect_named<TokenizerError>(name, [&](const auto& to) { tokenizer->save_pretrained(to); });
  }
  expect_named<Error>("processor_config.json",
                      [&](const auto& to) { processor.save_pretrained(to); });
  const Tensor one(std::vector<float>{1}, {1});
  expect_named<CheckpointError>("model.safetensors", [&](const auto& to) {
    save_safetensors(to / "model.safetensors", {{"a", one}});
  });
  const TemporaryFolder folder;
  testing::expect_error<CheckpointError>(
      [&] {
        save_safetensors(folder.path() / "absent" / "file", {{"a", one}});
      },
      {"No such file or directory"});
}

}  // namespace
}  // namespace instructblip
