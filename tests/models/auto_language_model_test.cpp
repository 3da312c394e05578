#include "instructblip/models/auto_language_model.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <ostream>
#include <set>

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "instructblip/models/modeling_llama.h"
#include "models/language_model_checks.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::expect_equal;
using testing::language_model_folder;
using testing::LogCapture;
using testing::TemporaryFolder;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A copy of a fixture's folder in which tensors can be changed and renamed.
class Copy {
 public:
  explicit Copy(const std::string& name)
      : config(read(language_model_folder(name) / "config.json")) {
    const auto checkpoint = Checkpoint::open(language_model_folder(name));
    for (const std::string& tensor : checkpoint->names()) {
      tensors.emplace(tensor, Tensor::copy_of(*checkpoint->find(tensor)));
    }
  }

  const std::filesystem::path& write() const {
    folder_.write("config.json", config);
    std::vector<std::pair<std::string, TensorView>> views;
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor);
    save_safetensors(folder_.path() / "model.safetensors", views);
    return folder_.path();
  }

  /// Removes `prefix` from names that begin with it, and adds `front` to the others.
  void rename(const std::string& prefix, const std::string& front) {
    std::map<std::string, Tensor> renamed;
    for (auto& [name, tensor] : tensors) {
      const bool found = !prefix.empty() && name.rfind(prefix, 0) == 0;
      renamed.emplace(front + (found ? name.substr(prefix.size()) : name), std::move(tensor));
    }
    tensors = std::move(renamed);
  }

  void replace_in_config(const std::string& from, const std::string& to) {
    const std::size_t at = config.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    config.replace(at, from.size(), to);
  }

  /// Turns the folder into an InstructBLIP checkpoint.
  void put_into_whole_checkpoint() {
    config = R"({"model_type": "instructblip", "text_config": )" + config + "}";
    rename("", "language_model.");
  }

  Tensor other(const std::string& name) const {
    Tensor changed = tensors.at(name).to(DType::Float32);
    for (float& value : changed.span<float>()) value = 1.0f - value;
    return changed.to(tensors.at(name).dtype());
  }

  std::string config;
  std::map<std::string, Tensor> tensors;

 private:
  TemporaryFolder folder_;
};

Tensor logits_of(const LanguageModel& model) {
  const Index vocab_size = model.traits().vocab_size;
  const std::vector<std::int64_t> ids = testing::some_ids(6, 4, vocab_size);
  const auto state = testing::start(model, {ids});
  return testing::feed(model, *state, {ids});
}

Tensor logits_of(const std::filesystem::path& folder) {
  return logits_of(*AutoLanguageModel::from_pretrained(folder, {.dtype = DType::Float32}));
}

Tensor hidden_of(const LanguageModel& model) {
  const std::vector<std::int64_t> ids = testing::some_ids(6, 4, model.traits().vocab_size);
  const auto state = testing::start(model, {ids});
  return model
      .decode(*state, model.embed_decoder_tokens(ids), RowTable::uniform(1, 6), LogitsFor::None)
      .last_hidden_state.to_tensor();
}

bool same(const Tensor& a, const Tensor& b) { return same_elements(a, b); }

struct Kind {
  const char* fixture;
  const char* bare_prefix;  // missing from names in the bare model's file
  const char* head_source;
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.fixture; }

class Kinds : public ::testing::TestWithParam<Kind> {};

TEST_P(Kinds, AnInstructBlipCheckpointHasTheModelUnderAPrefix) {
  const LogCapture log;
  Copy copy(GetParam().fixture);
  const Tensor expected = logits_of(copy.write());
  Copy whole(GetParam().fixture);
  whole.put_into_whole_checkpoint();
  whole.tensors.emplace("qformer.layernorm.weight", Tensor(DType::Float32, {2}));
  expect_equal(logits_of(whole.write()), expected);
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
}

TEST_P(Kinds, TheBareModelNeedsNoHead) {
  const auto config = load_text_config(language_model_folder(GetParam().fixture));
  const auto load = [&](const Copy& copy, bool with_head) {
    const Weights weights(Checkpoint::open(copy.write()));
    auto model = AutoLanguageModel::from_config(weights, *config, with_head);
    weights.finish();
    return model;
  };
  Copy copy(GetParam().fixture);
  const Tensor expected = hidden_of(*load(copy, true));
  copy.tensors.erase("lm_head.weight");
  copy.rename(GetParam().bare_prefix, "");
  const auto bare = load(copy, false);
  expect_equal(hidden_of(*bare), expected);
  testing::expect_error<InputError>([&] { logits_of(*bare); }, {"head"});
}

TEST_P(Kinds, AMissingTensorIsNamed) {
  for (const auto& [name, tensor] : Copy(GetParam().fixture).tensors) {
    Copy copy(GetParam().fixture);
    copy.tensors.erase(name);
    const bool tied = name == "lm_head.weight" && copy.config.find("\"t5\"") != std::string::npos;
    if (tied) continue;  // the head is then the embedding
    testing::expect_error<CheckpointError>([&] { logits_of(copy.write()); }, {name, "missing"});
  }
}

TEST_P(Kinds, AMisshapenTensorIsNamed) {
  for (const auto& [name, tensor] : Copy(GetParam().fixture).tensors) {
    Copy copy(GetParam().fixture);
    copy.tensors[name] = Tensor(DType::Float32, {3, 5});
    testing::expect_error<CheckpointError>([&] { logits_of(copy.write()); }, {name, "[3, 5]"});
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Kinds,
    ::testing::Values(Kind{"llama_mha", "model.", "model.embed_tokens.weight"},
                      Kind{"llama_gqa", "model.", "model.embed_tokens.weight"},
                      Kind{"opt_post_norm", "model.", "model.decoder.embed_tokens.weight"},
                      Kind{"opt", "model.", "model.decoder.embed_tokens.weight"},
                      Kind{"t5_gated", "", "shared.weight"}, Kind{"t5", "", "shared.weight"}),
    [](const auto& info) { return std::string(info.param.fixture); });

class TiedKinds : public ::testing::TestWithParam<Kind> {};

TEST_P(TiedKinds, ACopyOfTheEmbeddingIsAcceptedAndADifferentHeadIsUsed) {
  const LogCapture log;
  Copy copy(GetParam().fixture);
  const Tensor expected = logits_of(copy.write());
  copy.tensors.insert_or_assign("lm_head.weight", copy.tensors.at(GetParam().head_source));
  expect_equal(logits_of(copy.write()), expected);
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  copy.tensors.insert_or_assign("lm_head.weight", copy.other("lm_head.weight"));
  EXPECT_FALSE(same(logits_of(copy.write()), expected));
  // A T5 checkpoint often has an untied head.
  EXPECT_EQ(log.contains("lm_head.weight"), std::string(GetParam().fixture) != "t5");
}

INSTANTIATE_TEST_SUITE_P(All, TiedKinds,
                         ::testing::Values(Kind{"llama_gqa", "", "model.embed_tokens.weight"},
                                           Kind{"opt", "", "model.decoder.embed_tokens.weight"},
                                           Kind{"t5", "", "shared.weight"}),
                         [](const auto& info) { return std::string(info.param.fixture); });

TEST(AutoLanguageModel, T5UsesTheTablesInTheFile) {
  const std::string encoder = "encoder.embed_tokens.weight",
                    decoder = "decoder.embed_tokens.weight";
  Copy copy("t5_gated");
  const Tensor shared = copy.tensors.at("shared.weight");
  const Tensor expected = logits_of(copy.write());

  // The table under another name only, which the reference accepts.
  for (const std::string& name : {encoder, decoder}) {
    Copy renamed("t5_gated");
    renamed.tensors.erase("shared.weight");
    renamed.tensors.emplace(name, shared);
    expect_equal(logits_of(renamed.write()), expected);
  }

  // Decoder ids are embedded with the decoder's own table, and the prompt with the shared one.
  const LogCapture log;
  copy.tensors.emplace(decoder, copy.other("shared.weight"));
  const auto model = AutoLanguageModel::from_pretrained(copy.write(), {.dtype = DType::Float32});
  EXPECT_TRUE(log.contains(decoder));
  const std::vector<std::int64_t> ids{5, 9};
  const Tensor prompt = model->embed_tokens(ids).to_tensor();
  const Tensor answer = model->embed_decoder_tokens(ids).to_tensor();
  for (Index i = 0; i < prompt.size(); ++i) {
    EXPECT_NEAR(answer.data<float>()[i], 1.0f - prompt.data<float>()[i], 0.02f);
  }
}

TEST(AutoLanguageModel, KnownUnusedTensorsAreIgnoredAndOthersAreNamedOnce) {
  const LogCapture log;
  Copy llama("llama_mha");
  const Tensor expected = logits_of(llama.write());
  llama.tensors.emplace("model.layers.0.self_attn.rotary_emb.inv_freq",
                        Tensor(DType::Float32, {4}));
  Copy t5("t5");
  t5.tensors.emplace("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
                     Tensor(DType::Float32, {8, 4}));
  expect_equal(logits_of(llama.write()), expected);
  logits_of(t5.write());
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  llama.tensors.emplace("model.layers.7.surprise", Tensor(DType::Float32, {4}));
  logits_of(llama.write());
  EXPECT_EQ(log.messages().size(), 1u);
  EXPECT_TRUE(log.contains("model.layers.7.surprise"));
}

TEST(AutoLanguageModel, TheTypeFollowsTheFileUnlessRequested) {
  const auto dtype_of = [](const char* name, std::optional<DType> asked) {
    return LlamaForCausalLM::from_pretrained(language_model_folder(name), {.dtype = asked})
        .model()
        .get_input_embeddings()
        .weight()
        .dtype();
  };
  EXPECT_EQ(dtype_of("llama_mha", std::nullopt), DType::BFloat16);
  EXPECT_EQ(dtype_of("llama_gqa", std::nullopt), DType::Float32);  // stored in float16
  EXPECT_EQ(dtype_of("llama_gqa", DType::BFloat16), DType::BFloat16);
  testing::expect_error<InputError>([&] { dtype_of("llama_gqa", DType::Float16); },
                                    {"float16", "float32 or bfloat16"});
}

TEST(AutoLanguageModel, AnUnknownModelTypeIsAnErrorListingTheKnownOnes) {
  Copy copy("llama_mha");
  copy.replace_in_config("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
  testing::expect_error<ConfigError>([&] { logits_of(copy.write()); }, {"mamba", "llama", "opt"});
  EXPECT_EQ(AutoLanguageModel::model_types(), (std::vector<std::string>{"llama", "opt", "t5"}));
}

TEST(AutoLanguageModel, AConfigurationThatContradictsTheTensorsIsAnError) {
  Copy copy("llama_mha");
  copy.replace_in_config("\"vocab_size\": 64", "\"vocab_size\": 65");
  testing::expect_error<CheckpointError>([&] { logits_of(copy.write()); },
                                         {"embed_tokens", "lm_head", "[64, 32]", "[65, 32]"});
}

TEST(AutoLanguageModel, AStateOfAnotherModelClassIsRejected) {
  const auto t5 = AutoLanguageModel::from_pretrained(language_model_folder("t5"));
  const auto llama = AutoLanguageModel::from_pretrained(language_model_folder("llama_mha"));
  const auto state = testing::start(*llama, {{5}});
  testing::expect_error<InputError>([&] { testing::feed(*t5, *state, {{5}}); },
                                    {"another class of model"});
}

}  // namespace
}  // namespace instructblip
