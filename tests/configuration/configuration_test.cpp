#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/configuration/configuration_instructblipvideo.h"
#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/configuration/configuration_t5.h"
#include "instructblip/core/error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::TemporaryFolder;

template <class Config>
void expect_as_reference(const std::string& name) {
  const testing::Fixture fixture("configuration/files");
  const std::vector<std::string> given = fixture.texts(name + ".given");
  const std::vector<std::string> expected = fixture.texts(name + ".expected");
  ASSERT_FALSE(given.empty());
  for (std::size_t i = 0; i < given.size(); ++i) {
    const Config config = Config::from_json(given[i]);
    EXPECT_EQ(config.to_json(), expected[i]) << given[i];
    EXPECT_EQ(Config::from_json(config.to_json()).to_json(), expected[i]) << given[i];
  }
}

template <class Config>
std::string error_of(const std::string& json) {
  try {
    Config::from_json(json);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

template <class Config>
void expect_error(const std::string& json, std::string_view part) {
  const std::string error = error_of<Config>(json);
  EXPECT_NE(error.find(part), std::string::npos) << json << "\n" << error;
}

TEST(ConfigurationTest, VisionReadsAndWritesAsTheReference) {
  expect_as_reference<InstructBlipVisionConfig>("vision");
}
TEST(ConfigurationTest, QFormerReadsAndWritesAsTheReference) {
  expect_as_reference<InstructBlipQFormerConfig>("qformer");
}
TEST(ConfigurationTest, OptReadsAndWritesAsTheReference) { expect_as_reference<OPTConfig>("opt"); }
TEST(ConfigurationTest, T5ReadsAndWritesAsTheReference) { expect_as_reference<T5Config>("t5"); }
TEST(ConfigurationTest, LlamaReadsAndWritesAsTheReference) {
  expect_as_reference<LlamaConfig>("llama");
}
TEST(ConfigurationTest, InstructBlipReadsAndWritesAsTheReference) {
  expect_as_reference<InstructBlipConfig>("instructblip");
}
TEST(ConfigurationTest, Blip2AndItsPartsReadAndWriteAsTheReference) {
  expect_as_reference<Blip2VisionConfig>("blip_2_vision");
  expect_as_reference<Blip2QFormerConfig>("blip_2_qformer");
  expect_as_reference<Blip2Config>("blip_2");
}

TEST(ConfigurationTest, InstructBlipVideoAndItsPartsReadAndWriteAsTheReference) {
  expect_as_reference<InstructBlipVideoVisionConfig>("instructblipvideo_vision");
  expect_as_reference<InstructBlipVideoQFormerConfig>("instructblipvideo_qformer");
  expect_as_reference<InstructBlipVideoConfig>("instructblipvideo");
  EXPECT_EQ(InstructBlipVideoConfig::from_json(R"({"video_token_id": 7})").video_token_index(), 7);
}

TEST(ConfigurationTest, TheOldSpellingOfUseQFormerTextInputIsRead) {
  const auto reads = [](const char* json) {
    return Blip2QFormerConfig::from_json(json).use_qformer_text_input;
  };
  EXPECT_TRUE(reads(R"({"qformer_text_input": true})"));
  EXPECT_FALSE(reads(R"({"qformer_text_input": true, "use_qformer_text_input": false})"));
  expect_error<Blip2QFormerConfig>(R"({"qformer_text_input": 1})", "qformer_text_input");
  expect_error<Blip2Config>(R"({"image_text_hidden_size": 0})", "image_text_hidden_size");
}

TEST(ConfigurationTest, AFoldersModelTypeSelectsTheClass) {
  const TemporaryFolder folder;
  const auto load = [&](const char* json) {
    folder.write("config.json", json);
    return load_image_text_to_text_config(folder.path());
  };
  EXPECT_EQ(load(R"({"model_type": "blip-2", "num_query_tokens": 3})")->num_query_tokens, 3);
  EXPECT_EQ(load(R"({"model_type": "blip-2"})")->clone()->model_type(), "blip-2");
  EXPECT_EQ(load(R"({"model_type": "instructblip"})")->model_type(), "instructblip");
  EXPECT_EQ(load(R"({"model_type": "instructblipvideo"})")->clone()->model_type(),
            "instructblipvideo");
  EXPECT_EQ(load("{}")->model_type(), "instructblip");
  try {
    load(R"({"model_type": "llava", "vision_config": {}})");
    FAIL();
  } catch (const ConfigError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("\"llava\", expected \"instructblip\" or \"blip-2\""), std::string::npos)
        << message;
  }
}

TEST(ConfigurationTest, ImageTokenIdAndIndexAreOneAttribute) {
  using Config = InstructBlipConfig;
  EXPECT_EQ(Config().image_token_index, std::nullopt);
  EXPECT_EQ(Config::from_json(R"({"image_token_id":5})").image_token_index, 5);
  EXPECT_EQ(Config::from_json(R"({"image_token_id":5,"image_token_index":6})").image_token_index,
            5);
  EXPECT_EQ(Config::from_json(R"({"image_token_id":null,"image_token_index":6})").image_token_index,
            std::nullopt);
}

TEST(ConfigurationTest, TheLanguageModelTypeDecidesWhetherItIsDecoderOnly) {
  const auto t5 = InstructBlipConfig::from_json(
      R"({"use_decoder_only_language_model":true,"text_config":{"model_type":"t5"}})");
  EXPECT_FALSE(t5.use_decoder_only_language_model());
  EXPECT_NE(t5.text_config.get_if<T5Config>(), nullptr);
  EXPECT_THROW(t5.text_config.as<LlamaConfig>(), ConfigError);
  EXPECT_TRUE(InstructBlipConfig().use_decoder_only_language_model());
  EXPECT_EQ(InstructBlipConfig().text_config->model_type(), "opt");
}

TEST(ConfigurationTest, ACopyHasATextConfigurationOfItsOwn) {
  InstructBlipConfig config;
  config.text_config = LlamaConfig();
  InstructBlipConfig copy = config;
  copy.text_config->eos_token_id = {7};
  copy.text_config.as<LlamaConfig>().hidden_size = 64;
  EXPECT_EQ(config.text_config->eos_token_id, std::vector<std::int64_t>{2});
  EXPECT_EQ(config.text_config->get_hidden_size(), 4096);
  EXPECT_EQ(copy.text_config->get_hidden_size(), 64);
  copy = config;
  EXPECT_EQ(copy.text_config->get_hidden_size(), 4096);
}

TEST(ConfigurationTest, CombiningPartsSetsTheWidthOfTheQFormersEncoder) {
  InstructBlipVisionConfig vision;
  vision.hidden_size = 64;
  const auto config = InstructBlipConfig::from_vision_qformer_text_configs(
      vision, InstructBlipQFormerConfig(), T5Config());
  EXPECT_EQ(config.qformer_config.encoder_hidden_size, 64);
  EXPECT_EQ(config.text_config->model_type(), "t5");
  vision.hidden_size = 63;
  EXPECT_THROW(InstructBlipConfig::from_vision_qformer_text_configs(
                   vision, InstructBlipQFormerConfig(), T5Config()),
               ConfigError);
}

TEST(ConfigurationTest, DerivedValuesFollowTheirFields) {
  LlamaConfig llama;
  llama.hidden_size = 48;
  llama.num_attention_heads = 4;
  EXPECT_EQ(llama.resolved_head_dim(), 12);
  EXPECT_EQ(llama.resolved_num_key_value_heads(), 4);
  OPTConfig opt;
  opt.hidden_size = 24;
  EXPECT_EQ(opt.resolved_word_embed_proj_dim(), 24);
  T5Config t5;
  EXPECT_EQ(t5.resolved_dense_act_fn(), "relu");
  EXPECT_FALSE(t5.resolved_is_gated_act());
  t5.feed_forward_proj = "gated-gelu";
  EXPECT_EQ(t5.resolved_dense_act_fn(), "gelu_new");
  EXPECT_TRUE(t5.resolved_is_gated_act());
  t5.feed_forward_proj = "gated-silu";
  EXPECT_EQ(t5.resolved_dense_act_fn(), "silu");
  t5.num_layers = 3;
  EXPECT_EQ(t5.resolved_num_decoder_layers(), 3);
}

TEST(ConfigurationTest, UnknownKeysAreKeptAndGenerationKeysAreDropped) {
  const std::string value = R"({"a":[1,2.5,"é",null]})";
  const auto config =
      LlamaConfig::from_json("{\"new_key\":" + value + R"(,"num_beams":5,"max_length":20})");
  EXPECT_EQ(config.other.size(), 1u);
  EXPECT_EQ(config.other.at("new_key"), value);
  EXPECT_NE(config.to_json().find("\"new_key\""), std::string::npos);
  EXPECT_EQ(config.to_json().find("num_beams"), std::string::npos);
}

TEST(ConfigurationTest, TheSavedTypeIsRead) {
  EXPECT_EQ(LlamaConfig::from_json(R"({"torch_dtype":"float16"})").dtype, DType::Float16);
  EXPECT_EQ(LlamaConfig::from_json(R"({"torch_dtype":"float16","dtype":"bfloat16"})").dtype,
            DType::BFloat16);
  EXPECT_EQ(LlamaConfig::from_json(R"({"torch_dtype":null})").dtype, std::nullopt);
  expect_error<LlamaConfig>(R"({"dtype":"int7"})",
                            "expected \"float32\", \"bfloat16\" or \"float16\", found \"int7\"");
}

TEST(ConfigurationTest, OfOneSavedTypePerPartThatOfTheWholeModelIsRead) {
  for (const std::string key : {"dtype", "torch_dtype"}) {
    const auto read = [&](const std::string& value) {
      return InstructBlipConfig::from_json("{\"" + key + "\":" + value + "}").dtype;
    };
    EXPECT_EQ(read(R"({"":"bfloat16","text_config":"float32"})"), DType::BFloat16) << key;
    EXPECT_EQ(read(R"({"":"float16","unknown":{"":7}})"), DType::Float16) << key;
    for (const char* value : {"{}", R"({"text_config":"bfloat16"})", R"({"":null})"}) {
      EXPECT_EQ(read(value), std::nullopt) << key << value;
    }
  }
  expect_error<InstructBlipConfig>(R"({"dtype":{"":3}})", "\"dtype.\": expected a string, found 3");
  expect_error<InstructBlipConfig>(R"({"dtype":["bfloat16"]})", "expected a string");
}

TEST(ConfigurationTest, APartIsFoundInTheFileOfAWholeCheckpoint) {
  const TemporaryFolder folder;
  folder.write("config.json",
               R"({"model_type":"instructblip","vision_config":{"num_hidden_layers":3},)"
               R"("qformer_config":{"num_hidden_layers":4},)"
               R"("text_config":{"model_type":"llama","num_hidden_layers":5}})");
  testing::LogCapture log;
  EXPECT_EQ(InstructBlipVisionConfig::from_pretrained(folder.path()).num_hidden_layers, 3);
  EXPECT_EQ(InstructBlipQFormerConfig::from_pretrained(folder.path()).num_hidden_layers, 4);
  EXPECT_EQ(LlamaConfig::from_pretrained(folder.path() / "config.json").num_hidden_layers, 5);
  EXPECT_EQ(load_text_config(folder.path()).as<LlamaConfig>().num_hidden_layers, 5);
  EXPECT_TRUE(log.messages().empty());
  OPTConfig::from_pretrained(folder.path());
  EXPECT_TRUE(log.contains("reading a configuration of model_type \"instructblip\" as \"opt\""));
}

TEST(ConfigurationTest, WhatIsSavedIsReadBack) {
  const TemporaryFolder folder;
  InstructBlipConfig config;
  config.text_config = LlamaConfig();
  config.image_token_index = 32000;
  config.dtype = DType::BFloat16;
  config.save_pretrained(folder.path() / "new");
  EXPECT_EQ(InstructBlipConfig::from_pretrained(folder.path() / "new").to_json(), config.to_json());
}

TEST(ConfigurationTest, AFileOfAnotherModelIsAnError) {
  const TemporaryFolder folder;
  folder.write("config.json", R"({"model_type":"llama"})");
  try {
    InstructBlipConfig::from_pretrained(folder.path());
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("not an InstructBLIP checkpoint"), std::string::npos);
  }
  EXPECT_EQ(load_text_config(folder.path())->model_type(), "llama");
  EXPECT_THROW(InstructBlipConfig::from_pretrained(folder.path() / "absent"), ConfigError);
}

TEST(ConfigurationTest, ErrorsNameFileKeyExpectedAndFound) {
  const TemporaryFolder folder;
  folder.write("config.json", R"({"text_config":{"model_type":"opt","hidden_size":"768"}})");
  try {
    InstructBlipConfig::from_pretrained(folder.path());
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_EQ(std::string(error.what()),
              (folder.path() / "config.json").string() +
                  ": \"text_config.hidden_size\": expected a whole number, found \"768\"");
  }
}

TEST(ConfigurationTest, ValuesOfTheWrongTypeAreErrors) {
  using Vision = InstructBlipVisionConfig;
  expect_error<Vision>("", "not valid JSON");
  expect_error<Vision>("[]", "expected a JSON object, found []");
  expect_error<Vision>(R"({"hidden_size":true})", "a whole number, found true");
  expect_error<Vision>(R"({"hidden_size":8.0})", "a whole number, found 8.0");
  expect_error<Vision>(R"({"hidden_size":null})", "a whole number, found null");
  expect_error<Vision>(R"({"hidden_size":18446744073709551615})", "a whole number");
  expect_error<Vision>(R"({"qkv_bias":1})", "true or false, found 1");
  expect_error<Vision>(R"({"hidden_act":3})", "a string, found 3");
  expect_error<Vision>(R"({"image_size":[224,200]})", "a pair of equal numbers");
  expect_error<Vision>(R"({"layer_norm_eps":"1e-6"})", "a number, found");
  expect_error<LlamaConfig>(R"({"eos_token_id":[1,"2"]})",
                            "\"eos_token_id[1]\": expected a whole number, found \"2\"");
  expect_error<LlamaConfig>(R"({"bos_token_id":[1]})", "a whole number");
  expect_error<LlamaConfig>(R"({"rope_parameters":"x"})",
                            "\"rope_parameters\": expected a JSON object, found \"x\"");
  expect_error<InstructBlipConfig>(
      R"({"text_config":{"model_type":"llama","rope_parameters":{"short_factor":[1,[]]}}})",
      "\"text_config.rope_parameters.short_factor[1]\": expected a number, found []");
  expect_error<InstructBlipConfig>(R"({"text_config":3})",
                                   "\"text_config\": expected a JSON object");
  expect_error<InstructBlipConfig>(R"({"text_config":{"model_type":"gpt2"}})",
                                   "supported are llama, opt, t5");
  expect_error<Vision>("{\"a\":" + std::string(100000, '['), "nested deeper");
}

TEST(ConfigurationTest, RopeParametersThatTheReferenceAcceptsAreRead) {
  EXPECT_EQ(LlamaConfig::from_json(R"({"max_position_embeddings":64,"rope_parameters":{)"
                                   R"("rope_type":"yarn","factor":null,)"
                                   R"("original_max_position_embeddings":16}})")
                .rope_parameters.factor,
            4.0);
  EXPECT_EQ(LlamaConfig::from_json(R"({"head_dim":4,"rope_parameters":{"rope_type":"longrope",)"
                                   R"("short_factor":[1,2],"long_factor":[1,2]}})")
                .rope_parameters.long_factor.size(),
            2u);
}

TEST(ConfigurationTest, InvalidValuesAreErrors) {
  using Vision = InstructBlipVisionConfig;
  expect_error<Vision>(R"({"hidden_size":0})", "\"hidden_size\" must be from 1");
  expect_error<Vision>(R"({"hidden_size":-8})", "found -8");
  expect_error<Vision>(R"({"hidden_size":9223372036854775807})", "must be from 1");
  expect_error<Vision>(R"({"num_hidden_layers":1000000})", "must be from 1 to 4096");
  expect_error<Vision>(R"({"num_attention_heads":5})", "a multiple of \"num_attention_heads\", 5");
  expect_error<Vision>(R"({"num_attention_heads":0})", "\"num_attention_heads\" must be from 1");
  expect_error<Vision>(R"({"image_size":10})", "\"patch_size\" must be from 1 to 10");
  expect_error<Vision>(R"({"hidden_act":"nope"})", "gelu, gelu_python");
  expect_error<Vision>(R"({"layer_norm_eps":-1})", "must be a positive number");
  expect_error<InstructBlipQFormerConfig>(R"({"cross_attention_frequency":0})", "must be from 1");
  expect_error<LlamaConfig>(R"({"num_key_value_heads":3})", "a multiple of");
  expect_error<LlamaConfig>(R"({"head_dim":33})", "must be even");
  expect_error<LlamaConfig>(R"({"rope_scaling":{"type":"ntk","factor":2.0}})", "one of default");
  expect_error<LlamaConfig>(R"({"rope_scaling":{"type":"linear"}})", "\"factor\" is missing");
  expect_error<LlamaConfig>(R"({"rope_scaling":{"rope_type":"llama3","factor":2.0}})",
                            "\"low_freq_factor\" is missing");
  expect_error<LlamaConfig>(R"({"rope_theta":0})", "must be a positive number");
  expect_error<LlamaConfig>(R"({"rope_parameters":{"rope_type":"yarn"}})", "\"factor\" is missing");
  expect_error<LlamaConfig>(R"({"rope_parameters":{"rope_type":"dynamic"}})",
                            "\"factor\" is missing; rope_type \"dynamic\" needs it");
  expect_error<LlamaConfig>(
      R"({"rope_parameters":{"rope_type":"yarn","factor":2.0,"beta_slow":-1}})",
      "\"beta_slow\" must be a positive number");
  expect_error<LlamaConfig>(R"({"head_dim":4,"rope_parameters":{"rope_type":"longrope"}})",
                            "\"short_factor\" is missing; rope_type \"longrope\" needs it");
  expect_error<LlamaConfig>(
      R"({"head_dim":4,"rope_parameters":{"rope_type":"longrope","short_factor":[1,2]}})",
      "\"long_factor\" is missing");
  expect_error<LlamaConfig>(R"({"head_dim":4,"rope_parameters":{"rope_type":"longrope",)"
                            R"("short_factor":[1,2],"long_factor":[1,2,3]}})",
                            "\"long_factor\" must have 2 numbers (head_dim / 2), found 3");
  expect_error<LlamaConfig>(R"({"head_dim":4,"rope_parameters":{"rope_type":"longrope",)"
                            R"("short_factor":[1,0],"long_factor":[1,2]}})",
                            "\"short_factor\" must be a positive number");
  expect_error<LlamaConfig>(R"({"head_dim":4,"rope_parameters":{"rope_type":"longrope",)"
                            R"("factor":-1,"short_factor":[1,1],"long_factor":[1,2]}})",
                            "\"factor\" must be a positive number");
  expect_error<LlamaConfig>(R"({"partial_rotary_factor":0.5,)"
                            R"("rope_scaling":{"type":"linear","factor":2.0}})",
                            "must be 1, found 0.5");
  expect_error<T5Config>(R"({"feed_forward_proj":"a-b"})", "\"gated-NAME\", found \"a-b\"");
  expect_error<T5Config>(R"({"feed_forward_proj":"gated-a-b"})", "\"gated-NAME\"");
  expect_error<T5Config>(R"({"relative_attention_num_buckets":2})", "must be from 4");
  expect_error<T5Config>(R"({"relative_attention_max_distance":16})", "must be from 17");
  expect_error<OPTConfig>(R"({"activation_function":"gelu_9"})",
                          "activation_function is \"gelu_9\", expected one of gelu, ");
  expect_error<InstructBlipConfig>(R"({"num_query_tokens":0})", "must be from 1");
}

}  // namespace
}  // namespace instructblip
