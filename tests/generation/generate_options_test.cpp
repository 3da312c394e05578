#include <atomic>
#include <cmath>
#include <limits>

#include "generation/table_language_model.h"
#include "generation/toy_tokenizer.h"
#include "instructblip/core/error.h"
#include "instructblip/generation/generate.h"
#include "support/compare.h"
#include "support/log_capture.h"

namespace instructblip::testing {
namespace {

using Ids = std::vector<std::int64_t>;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

class Options : public ::testing::Test {
 protected:
  Tensor prompt = ids({{4, 5, 6}});
  Tensor batch = ids({{0, 4, 5}, {7, 8, 9}, {0, 0, 3}});
  TableLanguageModel model{decoder_only(), 3, 8.0f, -100.0f};  // never generates its eos id
  TableLanguageModel ending{decoder_only(), 5, 8.0f, 3.0f};

  GenerateOutput run(const GenerationConfig& config, const GenerateCallbacks& callbacks = {}) {
    return generate(model, {.input_ids = prompt}, config, callbacks);
  }
};

TEST_F(Options, TheDefaultIsTwentyNewIds) {
  const LogCapture log;
  const GenerateOutput output = run({});
  EXPECT_EQ(output.sequences.shape(), (Shape{1, 23}));
  EXPECT_EQ(output.prompt_length, 3);
  EXPECT_EQ(output.new_tokens()[0].size(), 20u);
  EXPECT_EQ(output.finish_reasons[0], FinishReason::Length);
  EXPECT_TRUE(log.contains("`max_new_tokens`"));
}

TEST_F(Options, TheLargestNumbersMeanNoLimit) {
  constexpr Index kMost = std::numeric_limits<Index>::max();
  constexpr Index kLeast = std::numeric_limits<Index>::min();
  const Ids answer =
      generate(ending, {.input_ids = prompt}, {.max_new_tokens = 1000}).new_tokens()[0];
  ASSERT_LT(answer.size(), 100u);
  Matrix embedded = model.embed_tokens(std::vector<std::int64_t>{4, 5, 6});
  for (const Index beams : {1, 3}) {
    const auto ask = [&](GenerationConfig config) {
      config.num_beams = beams;
      return generate(ending, {.input_ids = prompt}, config).new_tokens()[0];
    };
    const Ids expected = ask({.max_new_tokens = 1000});
    EXPECT_EQ(ask({.max_new_tokens = kMost}), expected);
    EXPECT_EQ(ask({.max_length = kMost}), expected);
    EXPECT_EQ(ask({.max_new_tokens = 1000, .min_length = kLeast}), expected);
    EXPECT_EQ(ask({.max_new_tokens = kMost, .top_k = 50, .no_repeat_ngram_size = kMost}), expected);
    for (const Index start : {kMost, kLeast / 2}) {
      EXPECT_NO_THROW(ask(
          {.max_new_tokens = 5, .exponential_decay_length_penalty = ExponentialDecay{start, 1.0}}));
    }
    // An answer that may never end, and the longest that may end.
    EXPECT_EQ(ask({.max_new_tokens = 30, .min_new_tokens = kMost}).size(), 30u);
    EXPECT_EQ(ask({.max_length = 33, .min_length = kMost}).size(), 30u);
    // Without ids, the prompt's length is subtracted.
    const auto ask_embedded = [&](const GenerationConfig& config) {
      return generate(model, {.inputs_embeds = embedded, .batch = PaddedBatch(1, 3)}, config);
    };
    EXPECT_NE(message_of([&] { ask_embedded({.max_length = kLeast}); }).find("`max_length` is set"),
              std::string::npos);
    EXPECT_EQ(ask_embedded({.max_length = 8, .min_length = kLeast}).new_tokens()[0].size(), 5u);
  }
}

TEST_F(Options, MoreRowsThanFitIntoMemoryAreAnError) {
  for (const Index count : {Index{1} << 44, std::numeric_limits<Index>::max()}) {
    const std::string number = std::to_string(count);
    const std::string sampled =
        message_of([&] { run({.do_sample = true, .num_return_sequences = count}); });
    EXPECT_NE(sampled.find("1 prompt with `num_return_sequences` = " + number + " needs "),
              std::string::npos)
        << sampled;
    EXPECT_NE(sampled.find(" GB of memory at least"), std::string::npos) << sampled;
    EXPECT_NE(sampled.find("several calls"), std::string::npos) << sampled;
    const std::string beams = message_of([&] { run({.num_beams = count}); });
    EXPECT_NE(beams.find("with `num_beams` = " + number), std::string::npos) << beams;
  }
}

TEST_F(Options, TheDefaultLengthIsLimitedByTheModelsPositions) {
  LanguageModelTraits traits = decoder_only();
  traits.max_position_embeddings = 10;
  const TableLanguageModel narrow(traits, 3, 8.0f, -100.0f);
  EXPECT_EQ(generate(narrow, {.input_ids = prompt}).sequences.dim(1), 10);
  EXPECT_EQ(generate(narrow, {.input_ids = prompt}, {.max_new_tokens = 12}).sequences.dim(1), 15);
}

TEST_F(Options, RowsLongerThanTheModelsPositionsLogAWarning) {
  LanguageModelTraits traits = decoder_only();
  traits.max_position_embeddings = 10;
  const TableLanguageModel narrow(traits, 3, 8.0f, -100.0f);
  for (const Index beams : {1, 2}) {
    const LogCapture log;
    generate(narrow, {.input_ids = prompt}, {.max_new_tokens = 8, .num_beams = beams});
    EXPECT_FALSE(log.contains("maximum length"));  // the eleventh id is not fed
    generate(narrow, {.input_ids = prompt}, {.max_new_tokens = 9, .num_beams = beams});
    EXPECT_TRUE(log.contains("maximum length (10,"));
  }
}

TEST_F(Options, LengthsIncludeThePromptUnlessCalledNew) {
  EXPECT_EQ(run({.max_length = 7}).sequences.dim(1), 7);
  const LogCapture log;
  EXPECT_EQ(run({.max_length = 7, .max_new_tokens = 9}).sequences.dim(1), 12);
  EXPECT_TRUE(log.contains("`max_new_tokens` takes precedence"));
  for (const Index wrong : {3, 2, -1}) {
    EXPECT_NE(message_of([&] { run({.max_length = wrong}); })
                  .find("Input length of input_ids is 3, but `max_length` is set to " +
                        std::to_string(wrong)),
              std::string::npos);
  }
  run({.max_new_tokens = 2, .min_new_tokens = 5});
  EXPECT_TRUE(log.contains("`min_length` (8) is above the longest possible length (5)"));
}

TEST_F(Options, MinimumLengthsSuppressTheEosId) {
  const Tensor& rows = prompt;
  const auto length = [&](const GenerationConfig& config) {
    return generate(ending, {.input_ids = rows}, config).new_token_counts[0];
  };
  const Index natural = length({.max_new_tokens = 20});
  ASSERT_LT(natural, 8);
  EXPECT_GE(length({.max_new_tokens = 20, .min_new_tokens = 8}), 8);
  EXPECT_GE(length({.max_new_tokens = 20, .min_length = 11}), 8);
  EXPECT_EQ(length({.max_new_tokens = 20, .min_length = 3}), natural);
}

TEST_F(Options, FinishedRowsLeaveTheBatchAndAreFilled) {
  const GenerateOutput output = generate(ending, {.input_ids = batch}, {.max_new_tokens = 15});
  const Index longest = output.sequences.dim(1) - 3;
  Index fed = 0;
  for (const Index count : output.new_token_counts) fed += count;
  Index rows = 0;
  for (const Index count : ending.rows_per_call) rows += count;
  EXPECT_EQ(rows, 2 + 3 + 1 + fed - 3);  // prompts without padding, then every id except the last
  for (Index r = 0; r < 3; ++r) {
    const Index count = output.new_token_counts[static_cast<std::size_t>(r)];
    for (Index i = count; i < longest; ++i) {
      EXPECT_EQ(output.sequences.at<std::int64_t>({r, 3 + i}), 0);
    }
    if (output.finish_reasons[static_cast<std::size_t>(r)] == FinishReason::EosToken) {
      EXPECT_EQ(output.new_tokens()[static_cast<std::size_t>(r)].back(), 2);
    }
  }
}

TEST_F(Options, APaddingIdOfMinusOneIsNeverFed) {
  LanguageModelTraits traits = decoder_only();
  traits.pad_token_id = -1;
  const TableLanguageModel negative(traits, 5, 8.0f, 3.0f);
  const Tensor mask = ids({{0, 1, 1}, {1, 1, 1}, {0, 0, 1}});
  const auto expected = generate(ending, {.input_ids = batch}, {.max_new_tokens = 15});
  for (const bool scores : {false, true}) {
    const LogCapture log;
    const auto output = generate(negative, {.input_ids = batch, .attention_mask = mask},
                                 {.max_new_tokens = 15, .output_scores = scores});
    EXPECT_EQ(output.new_tokens(), expected.new_tokens());
    EXPECT_TRUE(log.contains("`pad_token_id` is -1"));
  }
}

TEST_F(Options, FinishedRowsAreFedValidIds) {
  const Tensor mask = ids({{0, 1, 1}, {1, 1, 1}, {0, 0, 1}});
  GenerateCallbacks callbacks;
  callbacks.logits_processor = {logits_processor([](const ScoreRow& row) {
    if (row.batch_index == 1) row.scores[2] = 1000.0f;
  })};
  for (const std::int64_t pad : {-1, 24, 1000}) {
    const LogCapture log;
    const auto output =
        generate(model, {.input_ids = batch, .attention_mask = mask},
                 {.max_new_tokens = 6, .output_scores = true, .pad_token_id = pad}, callbacks);
    EXPECT_EQ(output.new_token_counts, (std::vector<Index>{6, 1, 6}));
    EXPECT_EQ(output.sequences.at<std::int64_t>({1, 8}), pad);
  }
}

TEST_F(Options, IdsThatBeginAPromptAreOfTheVocabulary) {
  const auto expect_named = [](const std::function<void()>& action, const std::string& name) {
    const std::string message = message_of(action);
    EXPECT_TRUE(message.starts_with("`" + name + "` is -1, which begins the prompt")) << message;
  };
  LanguageModelTraits traits = decoder_only();
  traits.bos_token_id = -1;
  const TableLanguageModel without_bos(traits, 3, 8.0f, -100.0f);
  expect_named([&] { generate(without_bos, {}, {.max_new_tokens = 2}); }, "bos_token_id");
  EXPECT_NE(message_of([&] {
              run({.max_new_tokens = 2, .bad_words_ids = {{1000000}}});
            }).find("`bad_words_ids` has to be made of ids of the vocabulary"),
            std::string::npos);
}

TEST_F(Options, PromptsWithSettledAnswersLeaveTheBatch) {
  const GenerationConfig config{.max_new_tokens = 15, .early_stopping = true, .num_beams = 3};
  const auto output = generate(ending, {.input_ids = batch}, config);
  EXPECT_EQ(ending.rows_per_call.front(), 6);  // each prompt is fed once
  EXPECT_EQ(ending.sequences_per_call.front(), 3);
  EXPECT_LT(ending.sequences_per_call.back(), 9);
  GenerationConfig recording = config;
  recording.output_scores = true;
  const auto recorded = generate(ending, {.input_ids = batch}, recording);
  expect_equal(recorded.sequences, output.sequences);
  expect_equal(recorded.sequences_scores, output.sequences_scores);
}

TEST_F(Options, RecordingDoesNotChangeWhereBeamsStop) {
  GenerationConfig config{.max_new_tokens = 15, .early_stopping = true, .num_beams = 3};
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    const TableLanguageModel any(decoder_only(), seed, 8.0f, 4.0f);
    config.output_scores = false;
    const auto plain = generate(any, {.input_ids = prompt}, config);
    config.output_scores = true;
    const auto recorded = generate(any, {.input_ids = prompt}, config);
    EXPECT_EQ(recorded.timings.step_seconds.size(), plain.timings.step_seconds.size());
    expect_equal(recorded.sequences, plain.sequences);
  }
}

TEST_F(Options, ThereMayBeNoEosIdOrSeveral) {
  const auto none = generate(ending, {.input_ids = prompt},
                             {.max_new_tokens = 15, .eos_token_id = TokenIds::none()});
  EXPECT_EQ(none.new_token_counts[0], 15);
  const Ids free = none.new_tokens()[0];
  const auto several = generate(ending, {.input_ids = prompt},
                                {.max_new_tokens = 15, .eos_token_id = {free[4], free[6]}});
  EXPECT_LE(several.new_token_counts[0], 5);
  EXPECT_EQ(several.finish_reasons[0], FinishReason::EosToken);
}

TEST_F(Options, CallersProcessorsAndCriteriaAreCalled) {
  std::vector<std::size_t> lengths;
  GenerateCallbacks callbacks;
  callbacks.logits_processor = {logits_processor([&](const ScoreRow& row) {
    lengths.push_back(row.input_ids.size());
    row.scores[11] = 100.0f;
  })};
  callbacks.stopping_criteria = {stopping_criterion([](const StoppingRow& row) {
    EXPECT_EQ(row.scores[11], 100.0f);
    return row.input_ids.size() == 6;
  })};
  const auto output = run({.max_new_tokens = 9}, callbacks);
  EXPECT_EQ(output.new_tokens()[0], (Ids{11, 11, 11}));
  EXPECT_EQ(lengths, (std::vector<std::size_t>{3, 4, 5}));
  EXPECT_EQ(output.finish_reasons[0], FinishReason::Criterion);
  const auto beams = run({.max_new_tokens = 9, .num_beams = 2}, callbacks);
  EXPECT_EQ(beams.new_token_counts[0], 3);
}

TEST_F(Options, NullProcessorsAndCriteriaAreRejected) {
  const std::string processor = message_of([&] { run({}, {.logits_processor = {nullptr}}); });
  EXPECT_NE(processor.find("`logits_processor`"), std::string::npos) << processor;
  const std::string criterion = message_of([&] { run({}, {.stopping_criteria = {nullptr}}); });
  EXPECT_NE(criterion.find("`stopping_criteria`"), std::string::npos) << criterion;
}

TEST_F(Options, AllowedIdsRestrictEveryStep) {
  GenerateCallbacks callbacks;
  callbacks.prefix_allowed_tokens_fn = [](Index, std::span<const std::int64_t> so_far) {
    return Ids{so_far.back() + 1, so_far.back() + 2};
  };
  const Ids found = run({.max_new_tokens = 5}, callbacks).new_tokens()[0];
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::int64_t step = found[i] - (i == 0 ? 6 : found[i - 1]);
    EXPECT_TRUE(step == 1 || step == 2);
  }
}

TEST_F(Options, StopStringsKeepTheCompletingToken) {
  std::vector<std::string> tokens;
  for (int i = 0; i < 24; ++i) tokens.push_back(std::string(1, static_cast<char>('a' + i)));
  const ToyTokenizer tokenizer(tokens);
  const Ids free = run({.max_new_tokens = 8}).new_tokens()[0];
  const std::string text = tokenizer.decode(Ids(free.begin() + 2, free.begin() + 4));
  const auto output =
      run({.max_new_tokens = 8, .stop_strings = {"zzz", text}}, {.tokenizer = &tokenizer});
  EXPECT_EQ(output.new_tokens()[0], Ids(free.begin(), free.begin() + 4));
  EXPECT_EQ(output.finish_reasons[0], FinishReason::StopString);
  EXPECT_NE(message_of([&] { run({.stop_strings = {"a"}}); }).find("GenerateCallbacks::tokenizer"),
            std::string::npos);
}

class Recorder : public BaseStreamer {
 public:
  bool put(const Tensor& value) override {
    shapes.push_back(value.shape());
    for (const std::int64_t id : value.span<std::int64_t>()) seen.push_back(id);
    return shapes.size() < stop_after;
  }
  void end() override { ended = true; }

  std::vector<Shape> shapes;
  Ids seen;
  std::size_t stop_after = 1000;
  bool ended = false;
};

TEST_F(Options, AStreamerReceivesThePromptThenEveryId) {
  Recorder recorder;
  const auto output = run({.max_new_tokens = 3}, {.streamer = &recorder});
  EXPECT_EQ(recorder.shapes, (std::vector<Shape>{{1, 3}, {1}, {1}, {1}}));
  const auto all = output.sequences.span<std::int64_t>();
  EXPECT_EQ(recorder.seen, Ids(all.begin(), all.end()));
  EXPECT_TRUE(recorder.ended);

  Recorder rows;
  const auto together = generate(ending, {.input_ids = batch},
                                 {.max_new_tokens = 15, .pad_token_id = 7}, {.streamer = &rows});
  const Index steps = static_cast<Index>(rows.shapes.size()) - 1;
  ASSERT_EQ(steps, together.sequences.dim(1) - 3);
  for (Index step = 0; step < steps; ++step) {
    for (Index r = 0; r < 3; ++r) {
      EXPECT_EQ(rows.seen[static_cast<std::size_t>(9 + step * 3 + r)],
                together.sequences.at<std::int64_t>({r, 3 + step}));
    }
  }
  for (const bool sample : {false, true}) {
    EXPECT_NE(message_of([&] {
                run({.do_sample = sample, .num_beams = 2}, {.streamer = &recorder});
              }).find("`streamer` cannot be used with beam search"),
              std::string::npos);
  }
}

TEST_F(Options, GenerationCanBeCancelled) {
  Recorder recorder;
  recorder.stop_after = 4;
  const auto streamed = run({.max_new_tokens = 9}, {.streamer = &recorder});
  EXPECT_EQ(streamed.new_token_counts[0], 3);
  EXPECT_EQ(streamed.finish_reasons[0], FinishReason::Cancelled);
  EXPECT_TRUE(recorder.ended);

  struct : Recorder {
    bool put(const Tensor& value) override {
      Recorder::put(value);
      return shapes.size() > 1;
    }
  } refuses_the_prompt;
  const auto refused = run({.max_new_tokens = 9}, {.streamer = &refuses_the_prompt});
  EXPECT_EQ(refused.new_token_counts[0], 1);
  EXPECT_EQ(refused.finish_reasons[0], FinishReason::Cancelled);

  for (const Index beams : {1, 3}) {
    std::atomic<bool> cancelled = false;
    int steps = 0;
    GenerateCallbacks callbacks;
    callbacks.cancelled = &cancelled;
    callbacks.logits_processor = {logits_processor([&](const ScoreRow& row) {
      if (row.beam == 0 && ++steps == 2) cancelled = true;
    })};
    const auto output = run({.max_new_tokens = 9, .num_beams = beams}, callbacks);
    EXPECT_EQ(output.new_token_counts[0], 2);
    EXPECT_EQ(output.finish_reasons[0], FinishReason::Cancelled);
  }
  const auto timed = run({.max_new_tokens = 9, .max_time = 0.0});
  EXPECT_EQ(timed.new_token_counts[0], 1);
  EXPECT_EQ(timed.finish_reasons[0], FinishReason::MaxTime);
}

TEST_F(Options, LogitsThatAreNotFiniteAreAnError) {
  const float bad[] = {std::nanf(""), HUGE_VALF, -HUGE_VALF};
  for (const float value : bad) {
    int step = 0;
    model.spoil = [&](Tensor& logits) {
      if (step++ == 2) logits.at<float>({0, 7}) = value;
    };
    for (const Index beams : {1, 2}) {
      step = 0;
      const std::string message =
          message_of([&] { run({.max_new_tokens = 5, .num_beams = beams}); });
      EXPECT_NE(message.find("step 2, row 0: the model's logit of id 7"), std::string::npos)
          << message;
      step = 0;
      EXPECT_NO_THROW(
          run({.max_new_tokens = 5, .num_beams = beams, .remove_invalid_values = true}));
    }
  }
}

TEST_F(Options, SuppressingEveryIdIsAnError) {
  Ids all;
  for (std::int64_t id = 0; id < 24; ++id) all.push_back(id);
  for (const Index beams : {1, 2}) {
    for (const bool sample : {false, true}) {
      EXPECT_NE(message_of([&] {
                  run({.max_new_tokens = 5,
                       .do_sample = sample,
                       .num_beams = beams,
                       .suppress_tokens = all});
                }).find("suppress every id"),
                std::string::npos);
    }
  }
  GenerateCallbacks callbacks;
  callbacks.logits_processor = {
      logits_processor([](const ScoreRow& row) { row.scores[3] = std::nanf(""); })};
  EXPECT_NE(message_of([&] {
              run({.max_new_tokens = 2}, callbacks);
            }).find("step 0, row 0: the score of id 3 is not a number"),
            std::string::npos);
}

TEST_F(Options, DrawsDependOnlyOnSeedStepAndRow) {
  const GenerationConfig config{
      .max_new_tokens = 8, .do_sample = true, .temperature = 2.0, .seed = 11};
  const auto one = run(config);
  EXPECT_EQ(run(config).new_tokens(), one.new_tokens());
  EXPECT_EQ(one.seed, 11u);
  GenerationConfig other = config;
  other.seed = 12;
  EXPECT_NE(run(other).new_tokens(), one.new_tokens());
  // The first row of a batch draws the same numbers as alone.
  const Tensor together = ids({{4, 5, 6}, {7, 8, 9}});
  const auto batched = generate(model, {.input_ids = together}, config);
  EXPECT_EQ(batched.new_tokens()[0], one.new_tokens()[0]);
  GenerationConfig several = config;
  several.num_return_sequences = 3;
  const auto copies = run(several);
  EXPECT_EQ(copies.sequences.dim(0), 3);
  EXPECT_EQ(copies.new_tokens()[0], one.new_tokens()[0]);
  EXPECT_NE(copies.new_tokens()[1], copies.new_tokens()[0]);
  GenerationConfig unset = config;
  unset.seed.reset();
  const auto first = run(unset);
  EXPECT_NE(first.seed, run(unset).seed);
  unset.seed = first.seed;
  EXPECT_EQ(run(unset).new_tokens(), first.new_tokens());
}

// Captures hidden states with too few rows.
class WrongCapture : public TableLanguageModel {
 public:
  using TableLanguageModel::TableLanguageModel;
  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor logits, const ForwardCapture& capture) const override {
    DecodeOutput output = TableLanguageModel::decode(state, embeddings, rows, logits, capture);
    for (Tensor& layer : output.states.hidden_states) layer = Tensor(DType::Float32, {1, 2});
    return output;
  }
};

TEST_F(Options, CapturedStatesOfUnexpectedShapeAreRejected) {
  const WrongCapture wrong(decoder_only(), 3);
  const std::string message = message_of([&] {
    generate(wrong, {.input_ids = prompt}, {.max_new_tokens = 1, .output_hidden_states = true});
  });
  EXPECT_NE(message.find("[1, 2], expected [3, 2]"), std::string::npos) << message;
  EXPECT_NO_THROW(generate(wrong, {.input_ids = prompt}, {.max_new_tokens = 1}));
}

TEST_F(Options, EncoderIdPenaltiesAreIgnoredWithAWarning) {
  const LogCapture log;
  const auto plain = run({.max_new_tokens = 4});
  const auto output = run(
      {.max_new_tokens = 4, .encoder_repetition_penalty = 1.5, .encoder_no_repeat_ngram_size = 2});
  EXPECT_EQ(output.new_tokens(), plain.new_tokens());
  EXPECT_TRUE(log.contains("`encoder_repetition_penalty`"));
  EXPECT_TRUE(log.contains("`encoder_no_repeat_ngram_size`"));
}

TEST_F(Options, StepsAreTimed) {
  const auto output = run({.max_new_tokens = 4});
  EXPECT_GT(output.timings.prompt_seconds, 0);
  EXPECT_EQ(output.timings.step_seconds.size(), 3u);
  EXPECT_GT(output.timings.mean_step_seconds(), 0);
  EXPECT_GE(output.timings.stddev_step_seconds(), 0);
}

}  // namespace
}  // namespace instructblip::testing
