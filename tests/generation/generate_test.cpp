#include "instructblip/generation/generate.h"

#include <cmath>
#include <cstring>

#include "generation/table_language_model.h"
#include "instructblip/core/error.h"
#include "instructblip/generation/transition_scores.h"
#include "support/compare.h"
#include "support/fixtures.h"
#include "support/log_capture.h"

namespace instructblip::testing {
namespace {

// generation/generations: random models, prompts and options with the results of the reference's
// generate. It rejected the last cases.
class Generations {
 public:
  Generations() : file_("generation/generations"), configs_(file_.texts("config")) {}

  Index count() const { return static_cast<Index>(configs_.size()); }
  Index answered() const { return file_["sequences.shapes"].dim(0); }

  /// Element i of a list of tensors packed by pack() in generation.py.
  Tensor unpack(const std::string& name, Index i) {
    auto& [values, shapes] = packed_[name];
    if (shapes.empty()) {
      values = file_[name];
      shapes = file_[name + ".shapes"];
    }
    const auto size = [&](Index k) {
      const std::int64_t cols = shapes.at<std::int64_t>({k, 1});
      return shapes.at<std::int64_t>({k, 0}) * (cols < 0 ? 1 : cols);
    };
    std::int64_t begin = 0;
    for (Index k = 0; k < i; ++k) begin += size(k);
    Shape shape{shapes.at<std::int64_t>({i, 0})};
    if (shapes.at<std::int64_t>({i, 1}) >= 0) shape.push_back(shapes.at<std::int64_t>({i, 1}));
    Tensor result(values.dtype(), shape);
    if (result.empty()) return result;  // no memory to copy into
    const auto width = size_of(values.dtype());
    std::memcpy(result.raw(), static_cast<const char*>(values.raw()) + begin * width,
                static_cast<std::size_t>(result.size()) * width);
    return result;
  }

  const std::string& config_text(Index i) const { return configs_[static_cast<std::size_t>(i)]; }

  /// `seed_offset` makes another model of the same kind.
  TableLanguageModel model(Index i, std::uint32_t seed_offset = 0) {
    const auto number = [&](Index column) { return models_.at<float>({i, column}); };
    const auto id = [&](Index column) -> std::optional<std::int64_t> {
      if (number(column) == -2) return std::nullopt;
      return static_cast<std::int64_t>(number(column));
    };
    LanguageModelTraits traits;
    traits.is_encoder_decoder = number(0) != 0;
    traits.vocab_size = static_cast<Index>(number(1));
    traits.pad_token_id = id(6);
    traits.bos_token_id = id(7);
    traits.decoder_start_token_id = id(8);
    traits.max_position_embeddings = id(9);
    const Tensor eos = unpack("eos", i);
    traits.eos_token_id.assign(eos.span<std::int64_t>().begin(), eos.span<std::int64_t>().end());
    return TableLanguageModel(traits, static_cast<std::uint32_t>(number(2)) + seed_offset,
                              number(3), number(4));
  }

  GenerateOutput generate(Index i, const GenerationConfig& config,
                          const GenerateCallbacks& callbacks = {}) {
    const TableLanguageModel table = model(i);
    const Tensor input_ids = unpack("ids", i), mask = unpack("mask", i);
    const Tensor features = unpack("features", i), decoder_ids = unpack("decoder_ids", i);
    const auto kind = models_.at<float>({i, 5});  // 0: ids and embeddings, 1: ids, 2: embeddings
    GenerateInputs inputs;
    if (kind != 2) inputs.input_ids = input_ids;
    if (decoder_ids.size() > 0) inputs.decoder_input_ids = decoder_ids;
    Matrix embeds;
    if (kind == 1) {
      inputs.attention_mask = mask;
    } else {
      const Index batch = input_ids.dim(0), length = input_ids.dim(1);
      Tensor padded(DType::Float32, {batch, length, 2});
      for (Index b = 0; b < batch; ++b) {
        for (Index c = 0; c < length; ++c) {
          const auto id = static_cast<float>(input_ids.at<std::int64_t>({b, c}));
          padded.at<float>({b, c, 0}) = c == 0 ? features.at<float>({b}) : id;
          padded.at<float>({b, c, 1}) = 1.0f;
        }
      }
      inputs.batch = PaddedBatch(batch, length, mask);
      embeds = inputs.batch.gather(padded);
      inputs.batch.use_compact_positions();
      inputs.inputs_embeds = embeds;
    }
    return instructblip::generate(table, inputs, config, callbacks);
  }

 private:
  Fixture file_;
  std::vector<std::string> configs_;
  Tensor models_ = file_["model"];
  std::map<std::string, std::pair<Tensor, Tensor>> packed_;
};

Tensor weighted_sums(const std::vector<Tensor>& steps) {
  const Index rows = steps.at(0).dim(0), width = steps.at(0).dim(1);
  Tensor sums(DType::Float32, {static_cast<Index>(steps.size()), rows});
  for (std::size_t s = 0; s < steps.size(); ++s) {
    for (Index r = 0; r < rows; ++r) {
      double sum = 0;
      for (Index v = 0; v < width; ++v) {
        const float score = steps[s].data<float>()[r * width + v];
        if (std::isfinite(score)) sum += static_cast<double>(score) * static_cast<double>(v + 1);
      }
      sums.at<float>({static_cast<Index>(s), r}) = static_cast<float>(sum);
    }
  }
  return sums;
}

TEST(Generate, EqualsTheReferenceInHundredsOfRandomCases) {
  Generations cases;
  ASSERT_GE(cases.answered(), 300);
  for (Index i = 0; i < cases.answered(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i) + ": " + cases.config_text(i));
    GenerationConfig config = GenerationConfig::from_json(cases.config_text(i));
    const GenerateOutput output = cases.generate(i, config);
    expect_equal(output.sequences, cases.unpack("sequences", i));
    const Tensor scores = cases.unpack("sequences_scores", i);
    if (scores.size() > 0) {
      expect_close(output.sequences_scores, scores, 1e-5);
      expect_equal(output.beam_indices, cases.unpack("beam_indices", i));
    }
    config.output_scores = true;
    config.output_logits = true;
    const GenerateOutput recorded = cases.generate(i, config);
    expect_equal(recorded.sequences, output.sequences);
    const Tensor sums = cases.unpack("scores", i);
    if (sums.size() == 0) continue;  // beams of probability 0: which of them continues is arbitrary
    expect_close(weighted_sums(recorded.scores), sums, 1e-5);
    expect_close(weighted_sums(recorded.logits), cases.unpack("logits", i), 1e-5);
    for (const bool normalize : {false, true}) {
      const Tensor expected =
          cases.unpack(normalize ? "transition_log_probs" : "transition_scores", i);
      if (expected.size() == 0) continue;
      expect_close(compute_transition_scores(recorded.sequences, recorded.scores,
                                             recorded.beam_indices, normalize),
                   expected, 1e-5);
    }
  }
}

void expect_same_bits(const std::vector<Tensor>& steps, const std::vector<Tensor>& expected) {
  ASSERT_EQ(steps.size(), expected.size());
  for (std::size_t s = 0; s < steps.size(); ++s) expect_equal(steps[s], expected[s]);
}

TEST(Generate, DraftsDoNotChangeTheResult) {
  Generations cases;
  const LogCapture log;
  Index looked_up = 0, guessed = 0, drafted = 0, steps = 0;
  for (Index i = 0; i < cases.answered(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i) + ": " + cases.config_text(i));
    GenerationConfig config = GenerationConfig::from_json(cases.config_text(i));
    if (config.num_beams.value_or(1) > 1) continue;
    config.seed = 3;
    for (const bool records : {false, true}) {
      config.output_scores = config.output_logits = records;
      const GenerateOutput plain = cases.generate(i, config);
      const auto expect_same = [&](const GenerateOutput& output) {
        expect_equal(output.sequences, plain.sequences);
        EXPECT_EQ(output.new_token_counts, plain.new_token_counts);
        EXPECT_EQ(output.finish_reasons, plain.finish_reasons);
        expect_same_bits(output.scores, plain.scores);
        expect_same_bits(output.logits, plain.logits);
      };
      GenerationConfig lookup = config;
      lookup.prompt_lookup_num_tokens = 3;
      const GenerateOutput found = cases.generate(i, lookup);
      expect_same(found);
      looked_up += found.timings.accepted_ids;
      GenerationConfig assisted = config;
      assisted.num_assistant_tokens = 4;
      assisted.assistant_confidence_threshold = 0.0;
      for (const std::uint32_t seed : {0u, 1u}) {
        const TableLanguageModel assistant = cases.model(i, seed);
        // Without ids there is nothing that this assistant could embed.
        try {
          const GenerateOutput output =
              cases.generate(i, assisted, {.assistant_model = &assistant});
          expect_same(output);
          if (seed != 0) continue;
          guessed += output.timings.accepted_ids;
          drafted += output.timings.drafted_ids;
          steps += std::ssize(output.timings.step_seconds);
        } catch (const InputError& error) {
          EXPECT_NE(std::string(error.what()).find("assistant_prompt"), std::string::npos)
              << error.what();
        }
      }
    }
  }
  EXPECT_GT(looked_up, 20);
  EXPECT_GT(guessed, steps / 3);
  EXPECT_LT(guessed, drafted);
}

TEST(Generate, RejectsWhatTheReferenceRejects) {
  Generations cases;
  ASSERT_GT(cases.count(), cases.answered());
  for (Index i = cases.answered(); i < cases.count(); ++i) {
    SCOPED_TRACE(cases.config_text(i));
    EXPECT_THROW(cases.generate(i, GenerationConfig::from_json(cases.config_text(i))), InputError);
  }
}

TEST(Generate, AnswerIsTheSameAloneAndInAPaddedBatch) {
  const TableLanguageModel model(decoder_only(), 7, 8.0f, 2.0f);
  const Tensor batch = ids({{0, 0, 5, 6}, {3, 4, 5, 6}, {0, 1, 7, 8}});
  const Tensor alone[] = {ids({{5, 6}}), ids({{3, 4, 5, 6}}), ids({{1, 7, 8}})};
  for (const Index beams : {1, 3}) {
    const GenerationConfig config{.max_new_tokens = 12, .num_beams = beams};
    const auto together = generate(model, {.input_ids = batch}, config);
    for (std::size_t i = 0; i < 3; ++i) {
      const auto single = generate(model, {.input_ids = alone[i]}, config);
      EXPECT_EQ(single.new_tokens()[0], together.new_tokens()[i]);
      if (beams > 1) {
        EXPECT_EQ(single.sequences_scores.at<float>({0}),
                  together.sequences_scores.at<float>({static_cast<Index>(i)}));
      }
    }
  }
}

TEST(Generate, PromptLookupVerifiesWhatFollowedTheLastIds) {
  const auto rows_fed = [](const Tensor& prompt, const GenerationConfig& config) {
    TableLanguageModel model(decoder_only(), 7, 1.0f, 100.0f);
    model.bonus_ids = {5};  // every new id is a 5
    const auto output = generate(model, {.input_ids = prompt}, config);
    EXPECT_EQ(output.new_tokens()[0], std::vector<std::int64_t>(8, 5));
    return model.rows_per_call;
  };
  GenerationConfig config{.max_new_tokens = 8};
  EXPECT_EQ(rows_fed(ids({{3, 4}}), config), (std::vector<Index>{2, 1, 1, 1, 1, 1, 1, 1}));
  config.prompt_lookup_num_tokens = 3;
  // The first 5 has no predecessor. The second one is followed by as many as there are already.
  EXPECT_EQ(rows_fed(ids({{3, 4}}), config), (std::vector<Index>{2, 1, 2, 3, 1}));
  EXPECT_EQ(rows_fed(ids({{5, 5, 5, 5, 9}}), config), (std::vector<Index>{5, 4, 3}));
  // After a 5, the prompt has ids that are wrong or, like EOS, not drafted.
  EXPECT_EQ(rows_fed(ids({{5, 6, 7, 9}}), config), (std::vector<Index>{4, 4, 4, 2, 3}));
  EXPECT_EQ(rows_fed(ids({{5, 2, 7, 9}}), config), (std::vector<Index>{4, 1, 1, 2, 3}));
}

TEST(Generate, AssistantsThatDoNotFitAreErrors) {
  const TableLanguageModel model(decoder_only(), 7), encodes(encoder_decoder(), 7);
  LanguageModelTraits wide = decoder_only();
  wide.vocab_size = 25;
  const TableLanguageModel other(wide, 7);
  const Tensor prompt = ids({{3, 4}});
  const GenerationConfig config{.max_new_tokens = 4};
  EXPECT_THROW(generate(model, {.input_ids = prompt}, config, {.assistant_model = &other}),
               InputError);
  EXPECT_THROW(generate(model, {.input_ids = prompt}, config, {.assistant_model = &encodes}),
               InputError);
  const EmbeddedBatch empty;
  EXPECT_THROW(generate(model, {.input_ids = prompt}, config,
                        {.assistant_model = &model, .assistant_prompt = &empty}),
               InputError);
}

}  // namespace
}  // namespace instructblip::testing
