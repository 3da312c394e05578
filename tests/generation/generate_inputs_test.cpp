// The prompts of `generate`: ids, embeddings, masks and an encoder-decoder's beginning.
#include "instructblip/generation/generate_inputs.h"

#include "generation/table_language_model.h"
#include "instructblip/core/error.h"
#include "instructblip/generation/generate.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/log_capture.h"

namespace instructblip::testing {
namespace {

using Ids = std::vector<std::int64_t>;

class Inputs : public ::testing::Test {
 protected:
  Tensor prompt = ids({{4, 5, 6}});
  TableLanguageModel model{decoder_only(), 3, 8.0f, -100.0f};  // never generates its eos id
};

TEST_F(Inputs, EncoderDecodersBeginWithTheStartId) {
  const TableLanguageModel t5(encoder_decoder(), 3, 8.0f, -100.0f);
  const Matrix embeds = t5.embed_tokens(Ids{4, 5, 6});
  GenerateInputs inputs{.inputs_embeds = embeds, .batch = PaddedBatch(1, 3)};
  EXPECT_EQ(generate(t5, inputs, {.max_new_tokens = 4}).sequences.dim(1), 5);
  EXPECT_EQ(generate(t5, inputs, {.max_length = 4}).sequences.dim(1), 4);
  const auto output = generate(t5, inputs, {.max_new_tokens = 4, .decoder_start_token_id = 9});
  EXPECT_EQ(output.sequences.at<std::int64_t>({0, 0}), 9);
  const Tensor beginning = ids({{9, 8}}), other = ids({{8, 7}});
  inputs.decoder_input_ids = beginning;
  const GenerationConfig config{.max_new_tokens = 1, .decoder_start_token_id = 9};
  EXPECT_EQ(generate(t5, inputs, config).sequences.dim(1), 3);
  inputs.decoder_input_ids = other;
  EXPECT_EQ(generate(t5, inputs, config).sequences.dim(1), 4);
  expect_error<InputError>(
      [&] {
        generate(t5, inputs, {.decoder_start_token_id = {1, 2}});
      },
      {"`decoder_start_token_id` holds 2 ids"});
  LanguageModelTraits traits = encoder_decoder();
  traits.decoder_start_token_id.reset();
  traits.bos_token_id.reset();
  const TableLanguageModel startless(traits, 3);
  expect_error<InputError>([&] { generate(startless, inputs); }, {"`decoder_start_token_id`"});
  expect_error<InputError>(
      [&] { generate(model, {.input_ids = prompt, .decoder_input_ids = other}); },
      {"`decoder_input_ids`"});
}

TEST_F(Inputs, EncoderPaddingDoesNotAffectTheDecoder) {
  const TableLanguageModel t5(encoder_decoder(), 3, 8.0f, -100.0f);
  const GenerationConfig config{.max_new_tokens = 20, .repetition_penalty = 50.0};
  const Tensor alone = ids({{5}}), padded = ids({{0, 0, 0, 0, 5}}), mask = ids({{0, 0, 0, 0, 1}});
  const auto expected = generate(t5, {.input_ids = alone}, config).new_tokens();
  EXPECT_EQ(generate(t5, {.input_ids = padded, .attention_mask = mask}, config).new_tokens(),
            expected);
  EXPECT_NE(generate(t5, {.input_ids = alone}, {.max_new_tokens = 20}).new_tokens(), expected);
}

TEST_F(Inputs, WithoutInputsThePromptIsTheBosId) {
  const auto output = generate(model, {}, {.max_new_tokens = 2});
  EXPECT_EQ(output.sequences.at<std::int64_t>({0, 0}), 1);
  EXPECT_EQ(output.sequences.dim(1), 3);
  LanguageModelTraits traits = decoder_only();
  traits.bos_token_id.reset();
  const TableLanguageModel nameless(traits, 3);
  expect_error<InputError>([&] { generate(nameless, {}); }, {"`bos_token_id`"});
}

TEST_F(Inputs, InconsistentInputsAreRejected) {
  const Matrix embeds = model.embed_tokens(Ids{4, 5, 6});
  const PaddedBatch batch(1, 3);
  const Tensor mask = ids({{1, 1}}), all = ids({{0, 0, 0}}), two = ids({{4, 5, 6}, {4, 5, 6}});
  const Tensor counts = ids({{1, 2, 1}}), longer = ids({{4, 5, 6, 7}});
  const Tensor wrong_type(std::vector<float>{1, 2}, {1, 2});
  const auto expect_named = [&](const GenerateInputs& inputs, const std::string& expected) {
    expect_error<InputError>([&] { generate(model, inputs, {.max_new_tokens = 1}); }, {expected});
  };
  expect_named({.input_ids = prompt, .attention_mask = mask},
               "attention_mask has the shape [1, 2], expected [1, 3]");
  expect_named({.input_ids = prompt, .attention_mask = counts}, "attention_mask[0][1] is 2");
  expect_named({.input_ids = prompt, .attention_mask = all}, "prompt 0 of the batch is empty");
  expect_named({.input_ids = wrong_type}, "`input_ids`: expected a contiguous int64");
  expect_named({.inputs_embeds = embeds, .input_ids = prompt}, "`inputs_embeds` needs `batch`");
  expect_named({.inputs_embeds = embeds, .batch = batch, .input_ids = two},
               "`input_ids` is [2, 3]");
  expect_named({.inputs_embeds = embeds, .batch = batch, .input_ids = longer},
               "`input_ids` is [1, 4], but the padded prompts of `batch` are only 3 long");
  expect_named({.inputs_embeds = embeds, .batch = PaddedBatch(1, 2)}, "`batch` has 2 rows");
  expect_named({.inputs_embeds = Matrix(0, 2), .batch = PaddedBatch(1, 3, all)},
               "prompt 0 of the batch is empty");
  expect_named({.inputs_embeds = embeds.view().middle_cols(0, 1), .batch = batch},
               "expected float32 [3, 2]");
  PaddedBatch outside = batch;
  outside.columns[1] = 3;
  expect_named({.inputs_embeds = embeds, .batch = outside}, "column 3, expected 0 to 2");
  expect_named({.input_ids = Tensor(DType::Int64, {0, 3})}, "the batch is empty");
  LanguageModelTraits traits = decoder_only();
  traits.vocab_size = 1;
  traits.pad_token_id.reset();
  expect_error<InputError>(
      [&] {
        generate(TableLanguageModel(traits, 3), {.input_ids = Tensor(DType::Int64, {1, 1})},
                 {.num_beams = 2, .eos_token_id = TokenIds::none()});
      },
      {"compares 4 candidates"});
}

}  // namespace
}  // namespace instructblip::testing
