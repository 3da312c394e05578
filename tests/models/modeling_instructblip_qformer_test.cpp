// Compares InstructBlipQFormerModel with the reference (tests/reference/instructblip.py).
#include "instructblip/models/modeling_instructblip_qformer.h"

#include <cstring>

#include "instructblip/core/threads.h"
#include "models/instructblip_testing.h"

namespace instructblip::testing {
namespace {

InstructBlipQFormerModel load_qformer(std::string_view kind = "opt", DType dtype = DType::Float32) {
  return InstructBlipQFormerModel::from_pretrained(checkpoint_folder(kind), {.dtype = dtype});
}

struct QFormerCase : FixtureCase<InstructBlipQFormerInputs> {
  using In = InstructBlipQFormerInputs;
  QFormerCase(const Fixture& fixture, const std::string& prefix)
      : FixtureCase(fixture, prefix,
                    {{"input_ids", &In::input_ids},
                     {"attention_mask", &In::attention_mask},
                     {"position_ids", &In::position_ids},
                     {"query_embeds", &In::query_embeds},
                     {"encoder_hidden_states", &In::encoder_hidden_states},
                     {"encoder_attention_mask", &In::encoder_attention_mask}}) {}

  /// [batch, queries + text], 0 for masked text, which is not computed. Masked queries are
  /// computed. Empty without a mask.
  Tensor computed() const {
    const auto mask = tensors.find("attention_mask");
    if (mask == tensors.end()) return {};
    Tensor computed = mask->second;
    const Index queries = inputs.query_embeds.has_value() ? inputs.query_embeds.dim(1) : 0;
    for (Index b = 0; b < computed.dim(0); ++b) {
      std::fill_n(computed.data<std::int64_t>() + b * computed.dim(1), queries, 1);
    }
    return computed;
  }
};

TEST(InstructBlipQFormerModel, MatchesTheReferenceForEveryCombinationOfArguments) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_qformer();
  for (const char* name : {"text", "right", "left", "hole", "query_mask", "image_mask", "positions",
                           "query_only", "text_only", "one_image", "one_image_query_only"}) {
    SCOPED_TRACE(name);
    const std::string prefix = std::string("qformer.") + name + ".";
    const QFormerCase call(expected, prefix);
    const auto output = model.forward(call.inputs);
    expect_close(output.last_hidden_state,
                 without_padding(expected[prefix + "last_hidden_state"], call.computed()));
    expect_close(output.pooler_output, expected[prefix + "pooler_output"]);
    EXPECT_TRUE(output.hidden_states.empty());
    EXPECT_TRUE(output.attentions.empty());
    EXPECT_TRUE(output.cross_attentions.empty());
  }
}

TEST(InstructBlipQFormerModel, RecordsHiddenStatesAndAttentionsOnRequest) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_qformer();
  for (const char* name : {"right", "query_only", "text_only"}) {
    SCOPED_TRACE(name);
    const std::string prefix = std::string("qformer.") + name + ".";
    QFormerCase call(expected, prefix);
    call.inputs.output_hidden_states = call.inputs.output_attentions = true;
    const auto output = model.forward(call.inputs);
    ASSERT_EQ(output.hidden_states.size(), 5u);
    for (std::size_t i = 0; i < 5; ++i) {
      expect_close(output.hidden_states[i],
                   without_padding(expected[prefix + "hidden_states." + std::to_string(i)],
                                   call.computed()));
    }
    const bool has_queries = call.inputs.query_embeds.has_value();
    ASSERT_EQ(output.cross_attentions.size(), has_queries ? 2u : 0u);
    for (std::size_t i = 0; i < output.cross_attentions.size(); ++i) {
      expect_close(output.cross_attentions[i],
                   expected[prefix + "cross_attentions." + std::to_string(i)]);
    }
    // In the reference's list, the cross-attentions of layers 0 and 2 follow the self-attentions of
    // these layers.
    const std::vector<int> indices =
        has_queries ? std::vector{0, 2, 3, 5} : std::vector{0, 1, 2, 3};
    ASSERT_EQ(output.attentions.size(), indices.size());
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const Tensor reference = expected[prefix + "attentions." + std::to_string(indices[i])];
      expect_close(output.attentions[i], without_padding(reference, call.computed()));
    }
  }
}

TEST(InstructBlipQFormerModel, LoadsFromItsOwnFolder) {
  const LogCapture log;
  const Fixture expected("instructblip/qformer/expected");
  const QFormerCase call(expected, "");
  expect_close(load_qformer("qformer").forward(call.inputs).last_hidden_state,
               expected["last_hidden_state"]);
  EXPECT_TRUE(log.messages().empty());
}

TEST(InstructBlipQFormerModel, LoadsFromAWholeCheckpointWithoutWarnings) {
  const LogCapture log;
  load_qformer("t5");
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
}

TEST(InstructBlipQFormerModel, AcceptsOneSetOfQueriesForAllSamples) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_qformer();
  QFormerCase call(expected, "qformer.text.");
  const Tensor all = call.tensors.at("query_embeds");
  Tensor repeated = all;
  const Index size = all.size() / all.dim(0);
  for (Index b = 0; b < all.dim(0); ++b) {
    std::copy_n(all.data<float>(), size, repeated.data<float>() + b * size);
  }
  const TensorView first(all.data<float>(), DType::Float32, {1, all.dim(1), all.dim(2)});
  const auto expect_same = [&] {
    call.inputs.query_embeds = first;
    const Tensor shared = model.forward(call.inputs).last_hidden_state;
    call.inputs.query_embeds = repeated;
    expect_equal(shared, model.forward(call.inputs).last_hidden_state);
  };
  expect_same();
  // Each sample uses its own masks; the reference applies those of the first sample to all.
  const Tensor queries(std::vector<std::int64_t>{1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1, 1}, {3, 4});
  const Tensor image_mask = expected["qformer.image_mask.encoder_attention_mask"];
  call.inputs.input_ids = {};
  call.inputs.attention_mask = queries;
  call.inputs.encoder_attention_mask = image_mask;
  expect_same();
}

TEST(InstructBlipQFormerModel, ASampleGivesTheSameBitsAloneInABatchAndWithPadding) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_qformer();
  const QFormerCase call(expected, "qformer.right.");
  const Tensor together = model.forward(call.inputs).last_hidden_state;
  const Index lengths[] = {6, 4, 1};
  for (Index b = 0; b < 3; ++b) {
    InstructBlipQFormerInputs alone;
    alone.query_embeds = sample(call.tensors.at("query_embeds"), b);
    alone.encoder_hidden_states = sample(call.tensors.at("encoder_hidden_states"), b);
    alone.input_ids = sample(call.tensors.at("input_ids"), b);
    alone.input_ids.shape[1] = lengths[b];
    const Tensor states = model.forward(alone).last_hidden_state;
    const TensorView row(together.data<float>() + b * together.dim(1) * together.dim(2),
                         DType::Float32, states.shape());
    expect_equal(states, row);
  }
}

TEST(InstructBlipQFormerModel, OneImageGivesTheSameBitsAsItsCopiesForAllSamples) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_qformer();
  QFormerCase call(expected, "qformer.one_image.");
  const Tensor image = call.tensors.at("encoder_hidden_states");
  const Tensor mask = call.tensors.at("encoder_attention_mask");
  const auto three_times = [](const Tensor& one) {
    Shape shape = one.shape();
    shape[0] = 3;
    Tensor copies(one.dtype(), shape);
    const auto bytes = static_cast<std::size_t>(one.size()) * size_of(one.dtype());
    for (std::size_t i = 0; i < 3; ++i) {
      std::memcpy(static_cast<char*>(copies.raw()) + i * bytes, one.raw(), bytes);
    }
    return copies;
  };
  call.inputs.output_attentions = true;
  const auto shared = model.forward(call.inputs);
  const Tensor images = three_times(image), masks = three_times(mask);
  call.inputs.encoder_hidden_states = images;
  call.inputs.encoder_attention_mask = masks;
  const auto copied = model.forward(call.inputs);
  expect_equal(shared.last_hidden_state, copied.last_hidden_state);
  for (std::size_t i = 0; i < 2; ++i) {
    expect_equal(shared.cross_attentions.at(i), copied.cross_attentions.at(i));
  }
}

TEST(InstructBlipQFormerModel, ResultDoesNotDependOnTheNumberOfThreads) {
  const Fixture expected("instructblip/opt/expected");
  const auto model = load_qformer();
  const QFormerCase call(expected, "qformer.hole.");
  const int before = num_threads();
  set_num_threads(1);
  const Tensor one = model.forward(call.inputs).last_hidden_state;
  set_num_threads(3);
  const Tensor three = model.forward(call.inputs).last_hidden_state;
  set_num_threads(before);
  expect_equal(three, one);
}

TEST(InstructBlipQFormerModel, ComputesInBFloat16) {
  const Fixture expected("instructblip/opt/expected");
  const QFormerCase call(expected, "qformer.text.");
  expect_close(load_qformer("opt", DType::BFloat16).forward(call.inputs).last_hidden_state,
               expected["qformer.text.last_hidden_state"], 0.05);
}

TEST(InstructBlipQFormerModel, TextThatIsAllPaddingGivesZeros) {
  const Fixture expected("instructblip/opt/expected");
  QFormerCase call(expected, "qformer.text_only.");
  const Tensor nothing(DType::Int64, {3, 6});
  call.inputs.attention_mask = nothing;
  const auto output = load_qformer().forward(call.inputs);
  for (const float value : output.last_hidden_state.span<float>()) EXPECT_EQ(value, 0.0f);
}

using Change = std::function<void(InstructBlipQFormerInputs&)>;

void expect_input_error(const Change& change, std::string_view text) {
  static const Fixture expected("instructblip/opt/expected");
  static const InstructBlipQFormerModel model = load_qformer();
  QFormerCase call(expected, "qformer.right.");
  change(call.inputs);
  expect_error<InputError>([&] { model.forward(call.inputs); }, {text});
}

TEST(InstructBlipQFormerModel, RejectsArgumentsThatDoNotMatch) {
  expect_input_error([](auto& in) { in.input_ids = in.query_embeds = {}; },
                     "query_embeds is required when input_ids is not given");
  expect_input_error([](auto& in) { in.encoder_hidden_states = {}; },
                     "encoder_hidden_states is required when query_embeds is given");
  const Tensor width(DType::Float32, {3, 4, 15}), two(DType::Float32, {2, 4, 16});
  expect_input_error([&](auto& in) { in.query_embeds = width; }, "[3, 4, 15], expected");
  expect_input_error([&](auto& in) { in.query_embeds = two; }, "[3, queries, 16]");
  expect_input_error([&](auto& in) { in.encoder_hidden_states = two; }, "[3, positions, 24]");
  const Tensor mask(DType::Int64, {3, 6});
  expect_input_error([&](auto& in) { in.attention_mask = mask; },
                     "attention_mask has the shape [3, 6], expected [3, 10]");
  expect_input_error([&](auto& in) { in.encoder_attention_mask = mask; },
                     "encoder_attention_mask has the shape [3, 6], expected [3, 5]");
  const Tensor floats(DType::Float32, {3, 10});
  expect_input_error([&](auto& in) { in.attention_mask = floats; }, "expected an integer type");
  expect_input_error([&](auto& in) { in.input_ids = width; }, "input_ids has type float32");
  const Tensor odd(std::vector<std::int64_t>(30, 2), {3, 10});
  expect_input_error([&](auto& in) { in.attention_mask = odd; },
                     "attention_mask[0][0] is 2, expected 0 or 1");
  const Tensor large(std::vector<std::int64_t>(18, 50), {3, 6});
  expect_input_error([&](auto& in) { in.input_ids = large; },
                     "input_ids[0][0] is 50, expected 0 or more and less than 50");
  expect_input_error([&](auto& in) { in.position_ids = large; },
                     "less than 16, max_position_embeddings; shorten the text");
  const Tensor three(DType::Int64, {3, 3});
  expect_input_error([&](auto& in) { in.position_ids = three; },
                     "position_ids has the shape [3, 3], expected [3, 6]");
  const Tensor longer(DType::Int64, {3, 17});
  expect_input_error([&](auto& in) { in.input_ids = longer, in.attention_mask = {}; },
                     "the position of input_ids[0][16] is 16");
  const Tensor none(DType::Int64, {0, 6});
  expect_input_error(
      [&](auto& in) {
        in = {};
        in.input_ids = none;
      },
      "the batch is empty");
}

}  // namespace
}  // namespace instructblip::testing
