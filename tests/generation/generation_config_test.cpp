#include "instructblip/generation/generation_config.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "instructblip/core/error.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip::testing {
namespace {

template <class E>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(GenerationConfig, CanBeWrittenWithDesignatedInitialisers) {
  const GenerationConfig config{.max_new_tokens = 64,
                                .early_stopping = "never",
                                .stop_strings = {"\n", "Question:"},
                                .num_beams = 5,
                                .repetition_penalty = 1.5f,
                                .bad_words_ids = {{3}, {4, 5}},
                                .exponential_decay_length_penalty = ExponentialDecay{3, 1.1},
                                .sequence_bias = {{{1, 2}, -1.5}},
                                .pad_token_id = 0,
                                .eos_token_id = {2, 50118}};
  EXPECT_EQ(*config.eos_token_id, (std::vector<std::int64_t>{2, 50118}));
  EXPECT_EQ(config.early_stopping->value, EarlyStopping::Never);
  EXPECT_EQ(config.repetition_penalty, 1.5);
  EXPECT_FALSE(config.max_length);
  const GenerationConfig other{.early_stopping = true, .eos_token_id = 7};
  EXPECT_EQ(other.early_stopping->value, EarlyStopping::True);
  EXPECT_EQ(*other.eos_token_id, std::vector<std::int64_t>{7});
  EXPECT_FALSE(other.forced_eos_token_id.has_value());
}

TEST(GenerationConfig, IsUnchangedByAJsonRoundTrip) {
  GenerationConfig config{.max_length = 256,
                          .min_length = 1,
                          .early_stopping = "never",
                          .max_time = 1.25,
                          .stop_strings = {"a\"b", "\n"},
                          .do_sample = true,
                          .num_beams = 5,
                          .temperature = 0.7,
                          .bad_words_ids = {{3}, {4, 5}},
                          .forced_eos_token_id = {2, 3},
                          .exponential_decay_length_penalty = ExponentialDecay{3, 1.1},
                          .suppress_tokens = {1},
                          .sequence_bias = {{{1, 2}, -1.5}},
                          .pad_token_id = -1,
                          .eos_token_id = TokenIds::none(),
                          .seed = 18446744073709551615ull};
  config.other = {{"cache_implementation", "\"static\""}, {"num_beam_groups", "1"}};
  EXPECT_EQ(GenerationConfig::from_json(config.to_json()), config);
  const TemporaryFolder folder;
  config.save_pretrained(folder.path() / "made");
  EXPECT_EQ(GenerationConfig::from_pretrained(folder.path() / "made"), config);
  EXPECT_EQ(GenerationConfig::from_pretrained(folder.path() / "made" / "generation_config.json"),
            config);
}

TEST(GenerationConfig, ReadsFilesOfTheHub) {
  const auto config = GenerationConfig::from_json(R"({"_from_model_config": true, "bos_token_id": 1,
      "eos_token_id": [1, 2.0], "pad_token_id": 32000, "max_length": null, "early_stopping": false,
      "transformers_version": "4.31.0"})");
  EXPECT_EQ(*config.eos_token_id, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(config.pad_token_id, 32000);
  EXPECT_FALSE(config.max_length);
  EXPECT_EQ(config.early_stopping, EarlyStopping(false));
  EXPECT_EQ(config.other.at("transformers_version"), "\"4.31.0\"");
}

TEST(GenerationConfig, ErrorsNameTheInvalidKey) {
  const auto expect_named = [](const std::string& json, const std::string& expected) {
    const std::string message = message_of<ConfigError>([&] { GenerationConfig::from_json(json); });
    EXPECT_NE(message.find(expected), std::string::npos) << json << ": " << message;
  };
  expect_named(R"({"num_beams": "5"})", "\"num_beams\": expected a whole number, found \"5\"");
  expect_named(R"({"num_beams": 2.5})", "\"num_beams\"");
  expect_named(R"({"max_length": 1e300})", "\"max_length\"");
  expect_named(R"({"max_length": 18446744073709551615})", "\"max_length\"");
  expect_named(R"({"seed": -1})", "\"seed\"");
  expect_named(R"({"do_sample": 1})", "\"do_sample\": expected true or false, found 1");
  expect_named(R"({"temperature": []})", "\"temperature\": expected a number, found []");
  expect_named(R"({"early_stopping": "always"})", "\"early_stopping\"");
  expect_named(R"({"eos_token_id": "2"})", "\"eos_token_id\"");
  expect_named(R"({"eos_token_id": [2, null]})", "\"eos_token_id[1]\"");
  expect_named(R"({"bad_words_ids": [[1], 2]})", "\"bad_words_ids[1]\": expected a list");
  expect_named(R"({"sequence_bias": [[[1]]]})", "\"sequence_bias[0]\"");
  expect_named(R"({"exponential_decay_length_penalty": 3})", "[start index, decay factor]");
  expect_named(R"({"stop_strings": [1]})", "\"stop_strings[0]\": expected a string");
  expect_named("[]", "expected a JSON object, found []");
  expect_named("{", "not valid JSON");
  EXPECT_NE(message_of<ConfigError>([] {
              GenerationConfig::from_pretrained("/nowhere/at/all");
            }).find("/nowhere/at/all"),
            std::string::npos);
  EXPECT_THROW(EarlyStopping("sometimes"), ConfigError);
}

TEST(GenerationConfig, UpdatedReplacesFieldsThatAreSet) {
  GenerationConfig base{.max_length = 256, .num_beams = 5, .eos_token_id = 1};
  base.other = {{"a", "1"}, {"b", "2"}};
  GenerationConfig changes{.num_beams = 3, .eos_token_id = {2}};
  changes.other = {{"b", "3"}};
  const GenerationConfig result = base.updated(changes);
  EXPECT_EQ(result.max_length, 256);
  EXPECT_EQ(result.num_beams, 3);
  EXPECT_EQ(*result.eos_token_id, std::vector<std::int64_t>{2});
  EXPECT_EQ(result.other, (std::map<std::string, std::string>{{"a", "1"}, {"b", "3"}}));
}

TEST(GenerationConfig, InvalidFieldsAreRejectedByName) {
  const auto expect_named = [](const GenerationConfig& config, const std::string& expected) {
    const std::string message = message_of<InputError>([&] { config.validate(); });
    EXPECT_NE(message.find(expected), std::string::npos) << expected << ": " << message;
  };
  expect_named({.max_new_tokens = 0}, "`max_new_tokens` must be above 0, but is 0");
  expect_named({.num_beams = 0}, "`num_beams`");
  expect_named({.num_return_sequences = 2}, "`num_return_sequences`");
  expect_named({.num_return_sequences = 0}, "`num_return_sequences`");
  expect_named({.num_beams = 2, .num_return_sequences = 3}, "`num_return_sequences` (3)");
  expect_named({.forced_bos_token_id = 4, .suppress_tokens = {4}}, "`forced_bos_token_id`");
  expect_named({.forced_eos_token_id = {4, 5}, .suppress_tokens = {5, 4}}, "`forced_eos_token_id`");
  EXPECT_NO_THROW(
      (GenerationConfig{.forced_eos_token_id = {4, 5}, .suppress_tokens = {4}}).validate());
  EXPECT_NO_THROW((GenerationConfig{.do_sample = true, .num_return_sequences = 3}).validate());
  // The values of processors, which need neither prompt nor model.
  expect_named({.do_sample = true, .temperature = 0.0}, "`temperature`");
  expect_named({.do_sample = true, .top_k = -1}, "`top_k`");
  expect_named({.do_sample = true, .top_p = -0.1}, "`top_p`");
  expect_named({.do_sample = true, .min_p = 1.5}, "`min_p`");
  expect_named({.do_sample = true, .top_h = 0.0}, "`top_h`");
  expect_named({.do_sample = true, .typical_p = -1.0}, "`typical_p`");
  expect_named({.repetition_penalty = 0.0}, "`repetition_penalty`");
  expect_named({.bad_words_ids = {{}}}, "`bad_words_ids`");
  expect_named({.sequence_bias = {{{-2}, 1.0}}}, "`sequence_bias`");
  EXPECT_NO_THROW((GenerationConfig{.temperature = 0.0}).validate());  // greedy: no effect

  const auto with = [](GenerationConfig config, const char* key, const char* value) {
    config.other[key] = value;
    return config;
  };
  expect_named(with({.num_beams = 4}, "num_beam_groups", "2"), "`num_beam_groups`");
  expect_named(with({.num_beams = 4}, "low_memory", "true"), "`low_memory`");
  expect_named(with({.top_k = 4}, "penalty_alpha", "0.6"), "contrastive search");
  expect_named(with({}, "dola_layers", "\"high\""), "`dola_layers`");
  expect_named(with({}, "constraints", "[1]"), "constrained beam search");
  expect_named(with({.num_beams = 2}, "force_words_ids", "[[1]]"), "`force_words_ids`");
  expect_named(with({}, "assistant_early_exit", "3"), "assisted generation");
  expect_named({.prompt_lookup_num_tokens = 0}, "`prompt_lookup_num_tokens`");
  expect_named({.max_matching_ngram_size = 0}, "`max_matching_ngram_size`");
  expect_named({.num_assistant_tokens = -1}, "`num_assistant_tokens`");
  expect_named({.assistant_confidence_threshold = 1.5}, "`assistant_confidence_threshold`");
  expect_named(with({}, "guidance_scale", "1.5"), "`guidance_scale`");
  expect_named(with({}, "watermarking_config", "{\"bias\": 2}"), "`watermarking_config`");
  expect_named(with({}, "token_healing", "true"), "`token_healing`");
  expect_named(with({}, "streamer", "1"), "`streamer` is an argument of generate");
  expect_named(with({}, "constraints", "[1"), "not valid JSON");
  const LogCapture log;
  for (const auto& config :
       {with({}, "num_beam_groups", "4"), with({.num_beams = 2}, "num_beam_groups", "1"),
        with({.do_sample = true}, "penalty_alpha", "0.6"), with({}, "penalty_alpha", "0.0"),
        with({}, "guidance_scale", "1.0"), with({}, "token_healing", "false"),
        with({}, "diversity_penalty", "0.5"), with({}, "anything_else", "[]")}) {
    EXPECT_NO_THROW(config.validate());
  }
  EXPECT_TRUE(log.messages().empty());
  with({.num_beams = 2}, "dola_layers", "\"high\"").validate();
  EXPECT_TRUE(log.contains("`dola_layers`"));
}

TEST(GenerationConfig, NumbersThatAreNotFiniteAreRejectedByName) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  int fields = 0;
  visit_fields([&](const std::string& name, auto member) {
    for (const double value : {std::nan(""), kInfinity, -kInfinity}) {
      GenerationConfig config;
      auto& field = config.*member;
      using Field = std::remove_cvref_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, std::optional<double>>) {
        field = value;
        if (name == "max_time" && value > 0) continue;  // no limit
      } else if constexpr (std::is_same_v<Field, std::optional<ExponentialDecay>>) {
        field = ExponentialDecay{3, value};
      } else if constexpr (std::is_same_v<Field, std::vector<SequenceBias>>) {
        field = {{{1, 2}, value}};
        if (value < 0) continue;  // the sequence never occurs
      } else {
        continue;
      }
      ++fields;
      const std::string message = message_of<InputError>([&] { config.validate(); });
      EXPECT_NE(message.find("`" + name + "` has to be a finite number"), std::string::npos)
          << name << " = " << value << ": " << message;
    }
  });
  EXPECT_GE(fields, 3 * 12);
  EXPECT_NO_THROW((GenerationConfig{.max_time = kInfinity}).validate());
  EXPECT_NO_THROW((GenerationConfig{.sequence_bias = {{{1}, -kInfinity}}}).validate());
}

TEST(GenerationConfig, IdsOutsideTheVocabularyAreRejectedByName) {
  for (const std::int64_t id : {std::int64_t{10}, std::int64_t{-1}}) {
    const auto expect_named = [&](const GenerationConfig& config, const std::string& name) {
      const std::string message = message_of<InputError>([&] { config.validate_ids(10); });
      EXPECT_EQ(message, "`" + name + "` has to be made of ids of the vocabulary, 0 to 9, but is " +
                             std::to_string(id));
      EXPECT_NO_THROW(id < 0 ? void() : config.validate_ids(11));
    };
    expect_named({.bad_words_ids = {{1}, {2, id}}}, "bad_words_ids");
    expect_named({.sequence_bias = {{{id, 1}, 1.0}}}, "sequence_bias");
    expect_named({.forced_bos_token_id = id}, "forced_bos_token_id");
    expect_named({.forced_eos_token_id = {1, id}}, "forced_eos_token_id");
    expect_named({.bos_token_id = id}, "bos_token_id");
    expect_named({.decoder_start_token_id = id}, "decoder_start_token_id");
  }
  // These have no effect, as in the reference.
  EXPECT_NO_THROW((GenerationConfig{.suppress_tokens = {10},
                                    .begin_suppress_tokens = {10},
                                    .pad_token_id = 10,
                                    .eos_token_id = {10, -1}})
                      .validate_ids(10));
  EXPECT_NO_THROW(GenerationConfig().validate_ids(10));
}

TEST(GenerationConfig, FieldsWithoutEffectLogAWarning) {
  const auto warning = [](const GenerationConfig& config) {
    const LogCapture log;
    config.validate();
    return log.messages().empty() ? std::string() : log.messages().front();
  };
  EXPECT_NE(warning({.temperature = 0.5}).find("`temperature`"), std::string::npos);
  EXPECT_NE(warning({.top_p = 0.9, .min_p = 0.1}).find("`top_p`, `min_p`"), std::string::npos);
  EXPECT_NE(warning({.early_stopping = true}).find("`early_stopping`"), std::string::npos);
  EXPECT_NE(warning({.length_penalty = -1.0}).find("`length_penalty`"), std::string::npos);
  EXPECT_EQ(warning({.temperature = 1.0, .top_k = 50, .top_p = 1.0, .length_penalty = 1.0}), "");
  EXPECT_EQ(warning({.do_sample = true, .temperature = 0.5, .top_p = 0.9}), "");
  EXPECT_EQ(warning({.early_stopping = true, .num_beams = 3, .length_penalty = -1.0}), "");
}

}  // namespace
}  // namespace instructblip::testing
