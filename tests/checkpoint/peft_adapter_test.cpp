// Adapters that are merged or refused. tests/models/peft_adapter_test.cpp compares whole models.
#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

Tensor filled(const Shape& shape, float value) {
  Tensor tensor(DType::Float32, shape);
  for (float& element : tensor.span<float>()) element = value;
  return tensor;
}

// A base model with two layers, and an adapter of rank 1 for `lm.layers.0.q`: W [2, 3] + 4 * B A.
class PeftAdapterTest : public ::testing::Test {
 protected:
  PeftAdapterTest() {
    for (const char* layer : {"lm.layers.0.", "lm.layers.1."}) {
      base_.emplace(layer + std::string("q.weight"), filled({2, 3}, 1));
      base_.emplace(layer + std::string("q.bias"), filled({2}, 5));
      base_.emplace(layer + std::string("v.weight"), filled({2, 3}, 2));
    }
    base_.emplace("lm.norm.weight", filled({3}, 1));
    tensors_ = {{"base_model.model.lm.layers.0.q.lora_A.weight", filled({1, 3}, 0.5f)},
                {"base_model.model.lm.layers.0.q.lora_B.weight", filled({2, 1}, 3)}};
    config_ = {{"peft_type", "\"LORA\""},
               {"r", "1"},
               {"lora_alpha", "4"},
               {"target_modules", "[\"layers.0.q\"]"}};
  }

  std::shared_ptr<const Checkpoint> merge() const {
    std::string config;
    for (const auto& [key, value] : config_) {
      config += (config.empty() ? "{\"" : ",\"") + key + "\":" + value;
    }
    folder_.write("adapter_config.json", config + "}");
    std::vector<std::pair<std::string, TensorView>> views(tensors_.begin(), tensors_.end());
    save_safetensors(folder_.path() / "adapter_model.safetensors", views);
    return Checkpoint::with_adapter(Checkpoint::from_tensors(base_), folder_.path());
  }

  void expect_merged(const std::string& name, const Tensor& expected) const {
    testing::expect_equal(merge()->find(name).value(), expected);
  }

  template <class E>
  void expect_refused(std::initializer_list<std::string_view> texts) const {
    expect_error<E>([&] { merge(); }, texts);
  }

  void rename(const std::string& from, const std::string& to) {
    for (auto& [name, tensor] : tensors_) {
      const std::size_t at = name.find(from);
      if (at != std::string::npos) name.replace(at, from.size(), to);
    }
  }

  const TemporaryFolder folder_;
  std::map<std::string, Tensor> base_;
  Tensors tensors_;
  std::map<std::string, std::string> config_;
};

TEST_F(PeftAdapterTest, OnlyTheTargetChanges) {
  expect_merged("lm.layers.0.q.weight", filled({2, 3}, 7));
  expect_merged("lm.layers.1.q.weight", filled({2, 3}, 1));
  const auto merged = merge();
  const AdapterInfo& info = *merged->adapter();
  EXPECT_EQ(info.modules, 1);
  EXPECT_EQ(info.greatest_rank, 1);
  EXPECT_EQ(info.folder, folder_.path());
  EXPECT_EQ(merged->names(), Checkpoint::from_tensors(base_)->names());
  EXPECT_EQ(Checkpoint::without_data(merged)->find("lm.layers.0.q.weight")->data, nullptr);
}

TEST_F(PeftAdapterTest, AStoredTypeIsWidenedBeforeTheSum) {
  base_.at("lm.layers.0.q.weight") = filled({2, 3}, 256).to(DType::BFloat16);
  tensors_[0].second = filled({1, 3}, 1.0f / 16).to(DType::Float16);
  expect_merged("lm.layers.0.q.weight", filled({2, 3}, 256.75f));
}

TEST_F(PeftAdapterTest, EverySpellingOfTheNamesIsRead) {
  const Tensors original = tensors_;
  const std::pair<const char*, const char*> spellings[] = {
      {"base_model.model.", ""},
      {"base_model.model.", "module.base_model.model."},
      {"base_model.model.", "_orig_mod.base_model.model."},
      {"base_model.model.", "base_model.model.base_model.model."},
      {"base_model.model.lm.", "base_model.model."},  // of the part alone
      {".layers.0.", "._fsdp_wrapped_module.layers.0._fsdp_wrapped_module."},
      {".weight", ".default.weight"},
      {".weight", ".my_adapter.weight"},
  };
  for (const auto& [from, to] : spellings) {
    tensors_ = original;
    rename(from, to);
    SCOPED_TRACE(to);
    expect_merged("lm.layers.0.q.weight", filled({2, 3}, 7));
  }
}

TEST_F(PeftAdapterTest, WholeTensorsReplaceTheBaseModels) {
  const std::pair<const char*, const char*> spellings[] = {
      {"lm.norm.weight", "lm.layers.0.q.bias"},
      {"lm.norm.modules_to_save.weight", "lm.layers.0.q.base_layer.bias"},
      {"lm.norm.modules_to_save.default.weight", "lm.layers.0.q.base_layer.bias"},
      {"lm.modules_to_save.default.norm.weight", "lm.modules_to_save.default.layers.0.q.bias"},
  };
  const Tensors original = tensors_;
  for (const auto& [norm, bias] : spellings) {
    tensors_ = original;
    tensors_.emplace_back(norm, filled({3}, 9));
    tensors_.emplace_back(bias, filled({2}, 8));
    tensors_.emplace_back("lm.norm.original_module.weight", filled({3}, 1));
    rename("lm.norm", "base_model.model.lm.norm");
    SCOPED_TRACE(norm);
    expect_merged("lm.norm.weight", filled({3}, 9));
    expect_merged("lm.layers.0.q.bias", filled({2}, 8));
    EXPECT_EQ(merge()->adapter()->tensors, 2);
  }
}

TEST_F(PeftAdapterTest, TheFactorFollowsThePatterns) {
  config_["use_rslora"] = "true";
  config_["r"] = "4";
  config_["rank_pattern"] = R"({"v":2,".*\\.0\\.q":1})";
  config_["alpha_pattern"] = R"({"^lm\\.layers\\.\\d+\\.q":8})";
  expect_merged("lm.layers.0.q.weight", filled({2, 3}, 13));
  config_["rank_pattern"] = R"({"0.q":4})";
  expect_refused<CheckpointError>({"lora_A.weight", "its rank is 1", "is 4"});
}

TEST_F(PeftAdapterTest, ModulesAreSelectedAsByPeft) {
  const auto is_selected = [&](std::map<std::string, std::string> settings) {
    const auto original = config_;
    for (const auto& [key, value] : settings) config_[key] = value;
    bool selected = true;
    try {
      testing::LogCapture log;
      merge();
    } catch (const CheckpointError& error) {
      selected = false;
      EXPECT_NE(std::string(error.what()).find("does not select:\n  lm.layers.0.q"),
                std::string::npos)
          << error.what();
    }
    config_ = original;
    return selected;
  };
  const std::pair<const char*, bool> targets[] = {
      {R"(["q"])", true},
      {R"(["lm.layers.0.q"])", true},
      {R"(["v", "0.q"])", true},
      {R"("all-linear")", true},
      {"null", true},
      {R"([])", false},
      {R"(["layers.0"])", false},
      {R"(["v"])", false},
      {R"("q")", false},  // an expression of the whole name
      {R"(".*q")", true},
      {R"("(lm|x)\\.layers\\.[0-3]\\.[^v]")", true},
      {R"("lm\\.layers\\.[^0].*")", false},
      {R"("^(?!.*layers\\.0).*q$")", false},
      {R"("^(?=lm\\.)(?:.*?)\\.\\d{1,2}\\.(?P<leaf>q|v)$")", true},
      {R"("lm\\..*\\b0\\b.q{1,}")", true},
      {R"("(?!x)?lm(?=x)*(?!x){1,2}.*")", true},
  };
  for (const auto& [value, expected] : targets) {
    EXPECT_EQ(is_selected({{"target_modules", value}}), expected) << value;
  }
  const std::string q = R"(["q"])";
  EXPECT_FALSE(is_selected({{"target_modules", q}, {"exclude_modules", R"(["0.q"])"}}));
  EXPECT_FALSE(is_selected({{"target_modules", q}, {"exclude_modules", R"(".*0.*")"}}));
  EXPECT_TRUE(is_selected({{"target_modules", q}, {"exclude_modules", R"(["v"])"}}));
  EXPECT_FALSE(is_selected({{"target_modules", q}, {"layers_to_transform", "1"}}));
  EXPECT_TRUE(is_selected({{"target_modules", q}, {"layers_to_transform", "[0,7]"}}));
  EXPECT_FALSE(is_selected(
      {{"target_modules", q}, {"layers_to_transform", "[0]"}, {"layers_pattern", "\"block\""}}));
  EXPECT_TRUE(is_selected({{"target_modules", q},
                           {"layers_to_transform", "[0]"},
                           {"layers_pattern", R"(["block","layers"])"}}));
}

TEST_F(PeftAdapterTest, SelectedModulesWithoutTensorsAreNamed) {
  config_["target_modules"] = R"(["q"])";
  testing::LogCapture log;
  merge();
  EXPECT_TRUE(log.contains("they stay as in the base model:\n  lm.layers.1.q"));
}

TEST_F(PeftAdapterTest, OtherKindsAreRefusedByName) {
  const std::pair<const char*, const char*> settings[] = {
      {"peft_type", "\"IA3\""},
      {"peft_type", "\"PREFIX_TUNING\""},
      {"peft_type", "\"ADALORA\""},
      {"fan_in_fan_out", "true"},
      {"layer_replication", "[[0,1]]"},
      {"target_parameters", "[\"query_tokens\"]"},
      {"use_qalora", "true"},
      {"alora_invocation_tokens", "[1]"},
      {"arrow_config", "{\"top_k\":1}"},
      {"init_lora_weights", "\"pissa_niter_4\""},
      {"init_lora_weights", "\"loftq\""},
  };
  const auto original = config_;
  for (const auto& [key, value] : settings) {
    config_ = original;
    config_[key] = value;
    expect_refused<ConfigError>(
        {"adapter_config.json: \"" + std::string(key), "is not supported", "merge_and_unload"});
  }
  config_ = original;
  config_["init_lora_weights"] = "\"gaussian\"";
  config_["loftq_config"] = "{}";
  config_["fan_in_fan_out"] = "false";
  EXPECT_NO_THROW(merge());
}

TEST_F(PeftAdapterTest, TensorsThatDoNotFitAreErrors) {
  const Tensors original = tensors_;
  const auto refused = [&](std::initializer_list<std::string_view> texts) {
    expect_refused<CheckpointError>(texts);
    tensors_ = original;
  };
  rename("lm.layers.0.q", "lm.layers.7.q");
  refused({"not part of the base model", "lm.layers.7.q", "another model"});
  tensors_.emplace_back("base_model.model.other.weight", filled({3}, 9));
  refused({"not part of the base model", "other.weight"});
  tensors_[0].second = filled({1, 4}, 1);
  refused({"lora_A.weight", "found [1, 4], expected [1, 3]"});
  tensors_[1].second = filled({5, 1}, 1);
  refused({"lora_B.weight", "found [5, 1], expected [2, 1]"});
  tensors_[0].second = filled({0}, 1);
  refused({"lora_A.weight", "found [0]"});
  tensors_[0].second = filled({0, 3}, 1);
  tensors_[1].second = filled({2, 0}, 1);
  refused({"lora_A.weight", "found [0, 3]", "ZeRO-3"});
  tensors_[0].second = Tensor(DType::Int64, {1, 3});
  refused({"lora_A.weight", "floating-point"});
  tensors_.pop_back();
  refused({"lm.layers.0.q", "lora_B is missing"});
  tensors_.emplace_back("base_model.model.lm.norm.weight", filled({4}, 9));
  refused({"lm.norm.weight", "found [4], expected [3]"});
  tensors_.emplace_back("lm.layers.0.q.lora_A.second.weight", filled({1, 3}, 9));
  refused({"there twice"});
  tensors_.emplace_back("lm.layers.0.q.lora_magnitude_vector", filled({2}, 9));
  refused({"lora_magnitude_vector", "use_dora"});
  tensors_.clear();
  refused({"holds no tensors"});
}

TEST_F(PeftAdapterTest, AQuantisedBaseIsAnError) {
  base_.insert_or_assign("lm.layers.0.q.weight", Tensor(DType::Int8, {2, 3}));
  expect_refused<CheckpointError>({"lm.layers.0.q", "quantised (stored as I8)", "was made from"});
  for (const char* name : {"weight_packed", "qweight"}) {
    base_.erase("lm.layers.0.q.weight");
    base_.erase("lm.layers.0.q.weight_packed");
    base_.insert_or_assign("lm.layers.0.q." + std::string(name), Tensor(DType::Int32, {2, 3}));
    expect_refused<CheckpointError>({"lm.layers.0.q", "quantised (stored as I32)"});
  }
}

TEST_F(PeftAdapterTest, TrainedRowsNeedATable) {
  base_.emplace("lm.patches.weight", filled({2, 3, 2, 2}, 1));
  for (const char* module : {"norm", "patches"}) {
    tensors_ = {{"lm." + std::string(module) + ".token_adapter.trainable_tokens_delta",
                 Tensor(DType::Float32, {2, 0})}};
    config_["trainable_token_indices"] = "{\"" + std::string(module) + "\": [0, 1]}";
    expect_refused<CheckpointError>({"trainable_tokens_delta", "expected a table"});
  }
}

TEST_F(PeftAdapterTest, MalformedSettingsAreErrors) {
  const std::pair<const char*, const char*> settings[] = {
      {"peft_type", "null"},
      {"r", "0"},
      {"r", "\"8\""},
      {"lora_alpha", "[]"},
      {"target_modules", "{}"},
      {"target_modules", "[1]"},
      {"target_modules", "\"(a\""},
      {"target_modules", "\"a)\""},
      {"target_modules", "\"*a\""},
      {"target_modules", "\"^*a\""},
      {"target_modules", "\"^*a\""},
      {"target_modules", "\"[a\""},
      {"target_modules", "\"[z-a]\""},
      {"target_modules", "\"a{3,2}\""},
      {"target_modules", "\"(?<=a)b\""},
      {"target_modules", "\"(?i)b\""},
      {"target_modules", "\"(a)\\\\1\""},
      {"target_modules", "\"a\\\\\""},
      {"target_modules", "\"((((a{99}){99}){99}){99})\""},
      {"rank_pattern", "{\"q\":0}"},
      {"alpha_pattern", "{\"q\":\"x\"}"},
      {"layers_to_transform", "\"x\""},
  };
  const auto original = config_;
  for (const auto& [key, value] : settings) {
    config_ = original;
    config_[key] = value;
    SCOPED_TRACE(value);
    expect_refused<ConfigError>({"adapter_config.json", key});
  }
  config_ = original;
  config_["target_modules"] = "\"(.*)*(.*)*(.*)*(.*)*(.*)*(.*)*(.*)*x\"";  // no pattern takes long
  expect_refused<CheckpointError>({"does not select"});
}

TEST_F(PeftAdapterTest, AFolderWithoutBothFilesSaysWhatItHas) {
  const auto base = Checkpoint::from_tensors(base_);
  const auto refused = [&](std::string_view text) {
    expect_error<CheckpointError>([&] { Checkpoint::with_adapter(base, folder_.path()); }, {text});
  };
  refused("no PEFT adapter; expected adapter_config.json");
  folder_.write("checkpoint-500/adapter_config.json", "{}");
  refused("There is one in " + (folder_.path() / "checkpoint-500").string());
  folder_.write("adapter_config.json", "{}");
  refused("no adapter_model.safetensors; fetch the whole adapter");
  folder_.write("adapter_model.bin", "x");
  refused("from safetensors.torch import save_file");
  expect_error<CheckpointError>(
      [&] { Checkpoint::with_adapter(base, folder_.path() / "adapter_model.bin"); },
      {"expected a folder, found a file"});
  const auto merged = merge();
  expect_error<CheckpointError>([&] { Checkpoint::with_adapter(merged, folder_.path()); },
                                {"another adapter is merged already"});
}

}  // namespace
}  // namespace instructblip
