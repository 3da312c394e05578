// Checks that every language model must pass.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/padded_batch.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"

namespace instructblip::testing {

inline std::filesystem::path language_model_folder(std::string_view name) {
  return fixtures_folder() / "language_models" / name;
}

/// Compares [batch, ..., length, width] at the unmasked positions; elsewhere `found` must be zero.
/// `axis` is the dimension of the positions.
inline void expect_close_where_kept(const Tensor& found, Tensor expected, const Tensor& mask,
                                    Index axis = 1, double relative = 1e-5,
                                    const char* file = __builtin_FILE(),
                                    int line = __builtin_LINE()) {
  const Index batch = expected.dim(0), length = expected.dim(axis), width = expected.dim(-1);
  const Index middle = expected.size() / (batch * length * width);
  for (Index b = 0; b < batch; ++b) {
    for (Index m = 0; m < middle; ++m) {
      for (Index t = 0; t < length; ++t) {
        if (mask.data<std::int64_t>()[b * length + t] != 0) continue;
        std::fill_n(expected.data<float>() + ((b * middle + m) * length + t) * width, width, 0.0f);
      }
    }
  }
  expect_close(found, expected, relative, file, line);
}

template <class Model>
void expect_causal_lm_equals_the_reference(const Model& model, const std::string& name) {
  const Fixture fixture("language_models/" + name);
  const Tensor ids = fixture["input_ids"], mask = fixture["attention_mask"];
  const Tensor labels = fixture["labels"], embeds = fixture["inputs_embeds"];
  const LanguageModelOutputs output = model.forward({.input_ids = ids,
                                                     .attention_mask = mask,
                                                     .labels = labels,
                                                     .output_hidden_states = true,
                                                     .output_attentions = true});
  expect_close_where_kept(output.logits, fixture["logits"], mask);
  ASSERT_TRUE(output.loss.has_value());
  EXPECT_NEAR(*output.loss, fixture["loss"].template data<float>()[0], 1e-5 * *output.loss);
  ASSERT_FALSE(fixture.has("hidden_states." + std::to_string(output.hidden_states.size())));
  for (std::size_t i = 0; i < output.hidden_states.size(); ++i) {
    SCOPED_TRACE("hidden_states." + std::to_string(i));
    expect_close_where_kept(output.hidden_states[i], fixture["hidden_states." + std::to_string(i)],
                            mask);
  }
  ASSERT_FALSE(fixture.has("attentions." + std::to_string(output.attentions.size())));
  for (std::size_t i = 0; i < output.attentions.size(); ++i) {
    SCOPED_TRACE("attentions." + std::to_string(i));
    expect_close_where_kept(output.attentions[i], fixture["attentions." + std::to_string(i)], mask,
                            2);
  }
  expect_close(model.forward({.inputs_embeds = embeds}).logits, fixture["embeds.logits"]);

  const LanguageModelOutputs base = model.model().forward(
      {.input_ids = ids, .attention_mask = mask, .output_hidden_states = true});
  expect_equal(base.last_hidden_state, output.hidden_states.back());
  EXPECT_EQ(base.hidden_states.size(), output.hidden_states.size());
  EXPECT_TRUE(base.attentions.empty());
}

/// Runs a fixture's batch as `generate` does: only the unmasked positions, numbered from 0.
inline void expect_decode_equals(const LanguageModel& model, const Fixture& fixture,
                                 const Tensor& expected) {
  const Tensor ids = fixture["input_ids"], mask = fixture["attention_mask"];
  PaddedBatch batch(ids.dim(0), ids.dim(1), mask);
  batch.use_compact_positions();
  const Matrix embeddings = model.embed_tokens(batch.gather_ids(ids));
  const auto state = model.start(embeddings, batch.rows);
  const DecodeOutput output = model.decode(*state, embeddings, batch.rows, LogitsFor::AllRows);
  expect_close_where_kept(batch.scatter(Matrix::from(output.logits)), expected, mask);
}

inline std::vector<std::int64_t> some_ids(Index count, std::int64_t first, Index vocab_size) {
  std::vector<std::int64_t> ids;
  for (Index i = 0; i < count; ++i) ids.push_back(3 + (first + i * i * 7) % (vocab_size - 3));
  return ids;
}

/// Feeds `ids` to the sequences of a state (one list each, continuing at its length) and returns
/// all logits.
inline Tensor feed(const LanguageModel& model, DecoderState& state,
                   const std::vector<std::vector<std::int64_t>>& ids) {
  RowTable rows;
  std::vector<std::int64_t> flat;
  for (std::size_t s = 0; s < ids.size(); ++s) {
    rows.append(static_cast<Index>(ids[s].size()), state.length(static_cast<Index>(s)));
    flat.insert(flat.end(), ids[s].begin(), ids[s].end());
  }
  return model.decode(state, model.embed_decoder_tokens(flat), rows, LogitsFor::AllRows).logits;
}

/// A state after prompts of different lengths. Only encoder-decoders use the prompts.
inline std::unique_ptr<DecoderState> start(const LanguageModel& model,
                                           const std::vector<std::vector<std::int64_t>>& prompts) {
  RowTable rows;
  std::vector<std::int64_t> flat;
  for (const auto& prompt : prompts) {
    rows.append(static_cast<Index>(prompt.size()));
    flat.insert(flat.end(), prompt.begin(), prompt.end());
  }
  return model.start(model.embed_tokens(flat), rows);
}

inline std::vector<float> rows_of(const Tensor& logits, Index begin, Index count) {
  const float* data = logits.data<float>() + begin * logits.dim(1);
  return {data, data + count * logits.dim(1)};
}

/// Checks that batches, splits of the prompt, reordering and the number of threads do not change a
/// single bit.
inline void expect_same_bits_however_fed(const LanguageModel& model) {
  const Index vocab_size = model.traits().vocab_size;
  const std::vector<std::vector<std::int64_t>> prompts{
      some_ids(9, 5, vocab_size), some_ids(4, 11, vocab_size), some_ids(13, 2, vocab_size)};
  const std::vector<std::int64_t> ids = some_ids(13, 1, vocab_size);
  const auto count = static_cast<Index>(ids.size());
  const auto slice = [&](Index begin, Index end) {
    return std::vector<std::int64_t>(ids.begin() + begin, ids.begin() + end);
  };
  const auto alone = start(model, {prompts[0]});
  const std::vector<float> expected = rows_of(feed(model, *alone, {ids}), 0, count);

  const int threads_before = num_threads();
  for (int threads = 1; threads <= 3; ++threads) {
    set_num_threads(threads);
    const auto batch = start(model, {prompts[1], prompts[0], prompts[2]});
    const Tensor logits =
        feed(model, *batch, {some_ids(5, 4, vocab_size), ids, some_ids(16, 9, vocab_size)});
    EXPECT_EQ(rows_of(logits, 5, count), expected) << "in a batch, " << threads << " threads";
  }
  set_num_threads(threads_before);

  for (Index split = 1; split < count; ++split) {
    const auto state = start(model, {prompts[0]});
    std::vector<float> found = rows_of(feed(model, *state, {slice(0, split)}), 0, split);
    const Tensor rest = feed(model, *state, {slice(split, count)});
    const std::vector<float> second = rows_of(rest, 0, count - split);
    found.insert(found.end(), second.begin(), second.end());
    EXPECT_EQ(found, expected) << "split at " << split;
  }

  const auto stepwise = start(model, {prompts[0]});
  for (Index i = 0; i < count; ++i) {
    EXPECT_EQ(rows_of(feed(model, *stepwise, {slice(i, i + 1)}), 0, 1),
              std::vector<float>(expected.begin() + i * vocab_size,
                                 expected.begin() + (i + 1) * vocab_size))
        << "id " << i;
  }

  // Sequence 1 of two becomes the first and the third of three.
  const auto state = start(model, {prompts[1], prompts[0]});
  feed(model, *state, {some_ids(7, 3, vocab_size), slice(0, 6)});
  const std::vector<Index> sources{1, 0, 1};
  state->reorder(sources);
  ASSERT_EQ(state->sequences(), 3);
  EXPECT_EQ(state->length(2), 6);
  feed(model, *state, {{}, some_ids(3, 8, vocab_size), {}});
  const Tensor logits = feed(model, *state, {slice(6, 9), {}, slice(6, count)});
  EXPECT_EQ(rows_of(logits, 0, 3), std::vector<float>(expected.begin() + 6 * vocab_size,
                                                      expected.begin() + 9 * vocab_size));
  EXPECT_EQ(rows_of(logits, 3, count - 6),
            std::vector<float>(expected.begin() + 6 * vocab_size, expected.end()));
}

/// Weights that were rounded to bfloat16, and float32 activations.
template <class Model>
void expect_bfloat16_equals_rounded_weights(const Model& model, const std::string& name) {
  const Fixture fixture("language_models/" + name);
  const Tensor ids = fixture["input_ids"], mask = fixture["attention_mask"];
  expect_close_where_kept(model.forward({.input_ids = ids, .attention_mask = mask}).logits,
                          fixture["bfloat16_weights.logits"], mask, 1, bfloat16_tolerance());
}

template <class Model>
void expect_bad_arguments_refused(const Model& model) {
  const Index vocab_size = model.traits().vocab_size;
  const Tensor ids(std::vector<std::int64_t>{5, 6, 7, 8}, {2, 2});
  const Tensor embeds(DType::Float32, {1, 2, model.traits().embedding_size});
  expect_error<InputError>([&] { model.forward({}); }, {"input_ids", "inputs_embeds"});
  expect_error<InputError>([&] { model.forward({.input_ids = ids, .inputs_embeds = embeds}); },
                           {"exactly one"});
  const Tensor beyond(std::vector<std::int64_t>{5, vocab_size}, {1, 2});
  expect_error<InputError>([&] { model.forward({.input_ids = beyond}); },
                           {std::to_string(vocab_size)});
  const Tensor negative(std::vector<std::int64_t>{-1}, {1, 1});
  expect_error<InputError>([&] { model.forward({.input_ids = negative}); }, {"-1"});
  const Tensor flat(std::vector<std::int64_t>{5, 6}, {2});
  expect_error<InputError>([&] { model.forward({.input_ids = flat}); }, {"[2]", "[batch, length]"});
  const Tensor narrow(DType::Float32, {1, 2, 3});
  expect_error<InputError>([&] { model.forward({.inputs_embeds = narrow}); }, {"3"});
  const Tensor fractions(DType::Float32, {2, 2});
  expect_error<InputError>([&] { model.forward({.input_ids = fractions}); }, {"float32", "int64"});
  const Tensor long_mask(std::vector<std::int64_t>(6, 1), {2, 3});
  expect_error<InputError>([&] { model.forward({.input_ids = ids, .attention_mask = long_mask}); },
                           {"attention_mask", "[2, 3]", "[2, 2]"});
  const Tensor odd_mask(std::vector<std::int64_t>{1, 1, 2, 1}, {2, 2});
  expect_error<InputError>([&] { model.forward({.input_ids = ids, .attention_mask = odd_mask}); },
                           {"attention_mask[1][0] is 2"});
  const Tensor odd_labels(std::vector<std::int64_t>{1, vocab_size, 2, 1}, {2, 2});
  expect_error<InputError>([&] { model.forward({.input_ids = ids, .labels = odd_labels}); },
                           {"labels", std::to_string(vocab_size)});

  const auto state = model.start(MatrixView{}, RowTable::uniform(2, 0));
  const Matrix one = model.embed_tokens(std::vector<std::int64_t>{5});
  expect_error<InputError>([&] { model.decode(*state, one, RowTable::uniform(1, 1)); },
                           {"1 sequences", "2"});
  expect_error<InputError>([&] { model.decode(*state, one, RowTable::uniform(2, 1)); }, {"[1, "});
  const std::vector<Index> absent{2};
  expect_error<InputError>([&] { state->reorder(absent); });

  // A row that is masked out entirely, and an empty batch.
  const Tensor nothing(std::vector<std::int64_t>{1, 1, 0, 0}, {2, 2});
  const Tensor logits = model.forward({.input_ids = ids, .attention_mask = nothing}).logits;
  for (Index i = 0; i < 2 * vocab_size; ++i) {
    EXPECT_EQ(logits.template data<float>()[2 * vocab_size + i], 0.0f);
  }
  const Tensor all_ignored(std::vector<std::int64_t>(4, -100), {2, 2});
  EXPECT_TRUE(std::isnan(*model.forward({.input_ids = ids, .labels = all_ignored}).loss));
}

}  // namespace instructblip::testing
