// generate on the tiny checkpoints of language_models/: ids, scores and states of every step.
#include <algorithm>

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "instructblip/generation/generate.h"
#include "instructblip/models/auto_language_model.h"
#include "support/compare.h"
#include "support/fixtures.h"
#include "support/log_capture.h"

namespace instructblip::testing {
namespace {

class SmallModels : public ::testing::TestWithParam<const char*> {
 protected:
  SmallModels() {
    const std::string name = GetParam();
    ids = fixture[name + ".ids"];
    mask = fixture[name + ".mask"];
    embeds = fixture[name + ".embeds"];
    model = AutoLanguageModel::from_pretrained(fixtures_folder() / "language_models" / name,
                                               {.dtype = DType::Float32});
  }

  /// Generates for the rows [first, first + count), without their padding.
  GenerateOutput run(const GenerationConfig& config, Index first = 0, Index count = 3,
                     bool assisted = false) const {
    const auto slice = [&](const Tensor& tensor) {
      const TensorView view = tensor;
      const Index size = tensor.size() / tensor.dim(0) * static_cast<Index>(size_of(view.dtype));
      Shape shape = view.shape;
      shape[0] = count;
      return TensorView(static_cast<const char*>(view.data) + first * size, view.dtype, shape);
    };
    PaddedBatch batch(count, ids.dim(1), slice(mask));
    const Matrix kept = batch.gather(slice(embeds));
    const bool encodes = model->traits().is_encoder_decoder;
    if (!encodes) batch.use_compact_positions();
    GenerateInputs inputs{.inputs_embeds = kept, .batch = batch};
    if (!encodes) inputs.input_ids = slice(ids);
    if (!assisted) return generate(*model, inputs, config);
    const EmbeddedBatch prompt{batch, Matrix::copy_of(kept)};
    return generate(*model, inputs, config,
                    {.assistant_model = model.get(), .assistant_prompt = &prompt});
  }

  static GenerationConfig config(Index beams, bool records) {
    return {.max_new_tokens = 4,
            .num_beams = beams,
            .no_repeat_ngram_size = 2,
            .output_attentions = records,
            .output_hidden_states = records,
            .output_scores = records,
            .output_logits = records,
            .pad_token_id = 0};
  }

  /// Compares [layer, rows, ..., positions, width] where the position is not padding.
  void expect_states(const std::vector<Tensor>& found, const std::string& name, bool is_prompt,
                     Index copies) const {
    if (!fixture.has(name)) return;
    SCOPED_TRACE(name);
    const Tensor expected = fixture[name];
    ASSERT_EQ(static_cast<Index>(found.size()), expected.dim(0));
    const Index layer_size = expected.size() / expected.dim(0);
    const Index positions = expected.dim(expected.rank() - 2), width = expected.dim(-1);
    const Index per_row = layer_size / expected.dim(1);
    for (std::size_t l = 0; l < found.size(); ++l) {
      std::vector<float> wanted(expected.data<float>() + static_cast<Index>(l) * layer_size,
                                expected.data<float>() + static_cast<Index>(l + 1) * layer_size);
      for (Index i = 0; i < layer_size && is_prompt; ++i) {
        const Index row = i / per_row / copies, position = i / width % positions;
        if (mask.at<std::int64_t>({row, position}) == 0) wanted[static_cast<std::size_t>(i)] = 0;
      }
      Shape shape(expected.shape().begin() + 1, expected.shape().end());
      expect_close(found[l], Tensor(wanted, shape), 2e-5);
    }
  }

  Fixture fixture{"generation/small_models"};
  Tensor ids, mask, embeds;
  std::unique_ptr<LanguageModel> model;
};

TEST_P(SmallModels, EveryStepEqualsTheReference) {
  const bool encodes = model->traits().is_encoder_decoder;
  for (const Index beams : {1, 3}) {
    const std::string key = std::string(GetParam()) + "." + std::to_string(beams);
    SCOPED_TRACE(key);
    const GenerateOutput output = run(config(beams, true));
    expect_equal(output.sequences, fixture[key + ".sequences"]);
    const Tensor scores = fixture[key + ".scores"], logits = fixture[key + ".logits"];
    ASSERT_EQ(static_cast<Index>(output.scores.size()), scores.dim(0));
    for (Index step = 0; step < scores.dim(0); ++step) {
      const Index size = scores.dim(1) * scores.dim(2);
      const auto slice = [&](const Tensor& tensor) {
        const float* begin = tensor.data<float>() + step * size;
        return Tensor(std::vector<float>(begin, begin + size), {scores.dim(1), scores.dim(2)});
      };
      expect_close(output.scores[static_cast<std::size_t>(step)], slice(scores), 2e-5);
      expect_close(output.logits[static_cast<std::size_t>(step)], slice(logits), 2e-5);
    }
    if (beams > 1) {
      expect_close(output.sequences_scores, fixture[key + ".sequences_scores"], 1e-5);
      expect_equal(output.beam_indices, fixture[key + ".beam_indices"]);
    }
    for (const std::size_t step : {std::size_t{0}, std::size_t{2}}) {
      const std::string suffix = "." + std::to_string(step);
      const bool prompt = step == 0 && !encodes;
      if (encodes) {
        expect_states(output.decoder_hidden_states.at(step),
                      key + ".decoder_hidden_states" + suffix, false, beams);
        expect_states(output.decoder_attentions.at(step), key + ".decoder_attentions" + suffix,
                      false, beams);
        expect_states(output.cross_attentions.at(step), key + ".cross_attentions" + suffix, false,
                      beams);
      } else {
        expect_states(output.hidden_states.at(step), key + ".hidden_states" + suffix, prompt,
                      beams);
        expect_states(output.attentions.at(step), key + ".attentions" + suffix, prompt, beams);
      }
    }
    expect_states(output.encoder_hidden_states, key + ".encoder_hidden_states", true, 1);
    expect_states(output.encoder_attentions, key + ".encoder_attentions", true, 1);
  }
}

TEST_P(SmallModels, EveryBeamHasThePromptsStates) {
  const GenerateOutput one = run(config(1, true)), three = run(config(3, true));
  const bool encodes = model->traits().is_encoder_decoder;
  const auto expect_repeated = [&](const std::vector<Tensor>& layers,
                                   const std::vector<Tensor>& beams) {
    ASSERT_EQ(layers.size(), beams.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      ASSERT_EQ(beams[l].dim(0), 9);
      const Index size = layers[l].size() / 3;
      for (Index i = 0; i < 9 * size; ++i) {
        const Index source = i / size / 3 * size + i % size;
        ASSERT_EQ(beams[l].data<float>()[i], layers[l].data<float>()[source]);
      }
    }
  };
  const auto& states = encodes ? one.decoder_hidden_states : one.hidden_states;
  const auto& attentions = encodes ? one.decoder_attentions : one.attentions;
  expect_repeated(states[0], encodes ? three.decoder_hidden_states[0] : three.hidden_states[0]);
  expect_repeated(attentions[0], encodes ? three.decoder_attentions[0] : three.attentions[0]);
}

TEST_P(SmallModels, ARowHasTheSameBitsAloneAndInABatchWithAnyNumberOfThreads) {
  const int threads = num_threads();
  for (const Index beams : {1, 3}) {
    set_num_threads(threads);
    const GenerateOutput together = run(config(beams, false));
    GenerationConfig sampling = config(beams, false);
    sampling.do_sample = true;
    sampling.seed = 5;
    const auto drawn = run(sampling).new_tokens();
    set_num_threads(1);
    EXPECT_EQ(run(sampling).new_tokens(), drawn);
    for (Index b = 0; b < 3; ++b) {
      const GenerateOutput alone = run(config(beams, false), b, 1);
      EXPECT_EQ(alone.new_tokens()[0], together.new_tokens()[static_cast<std::size_t>(b)]);
      if (beams > 1) {
        EXPECT_EQ(alone.sequences_scores.at<float>({0}), together.sequences_scores.at<float>({b}));
      }
    }
  }
  set_num_threads(threads);
}

TEST_P(SmallModels, DraftsDoNotChangeABit) {
  for (const bool samples : {false, true}) {
    GenerationConfig config = SmallModels::config(1, false);
    config.max_new_tokens = 9;
    config.no_repeat_ngram_size = {};
    config.output_logits = true;
    config.do_sample = samples;
    config.seed = 5;
    const LogCapture log;
    const GenerateOutput plain = run(config);
    config.assistant_confidence_threshold = 0.0;
    config.num_assistant_tokens = 3;
    for (const bool assisted : {false, true}) {
      GenerationConfig drafting = config;
      if (!assisted) drafting.prompt_lookup_num_tokens = 3;
      const GenerateOutput output = run(drafting, 0, 3, assisted);
      expect_equal(output.sequences, plain.sequences);
      ASSERT_EQ(output.logits.size(), plain.logits.size());
      for (std::size_t step = 0; step < plain.logits.size(); ++step) {
        expect_equal(output.logits[step], plain.logits[step]);
      }
      EXPECT_GT(output.timings.drafted_ids, 0);
      if (assisted && !samples) {
        EXPECT_GT(output.timings.accepted_ids, 0);
      }
    }
  }
}

TEST_P(SmallModels, OnlyLearnedPositionsLimitTheLength) {
  GenerationConfig config = SmallModels::config(1, false);
  config.max_new_tokens = 60;
  config.eos_token_id = TokenIds::none();
  const LogCapture log;
  try {
    EXPECT_EQ(run(config, 0, 1).new_token_counts[0], 60);
    EXPECT_STRNE(GetParam(), "opt");
  } catch (const InputError& error) {
    EXPECT_STREQ(GetParam(), "opt");
    EXPECT_NE(std::string(error.what()).find("position 16 is beyond the position table"),
              std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Generation, SmallModels, ::testing::Values("llama_mha", "opt", "t5"));

}  // namespace
}  // namespace instructblip::testing
