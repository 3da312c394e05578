#include "instructblip/layers/padded_batch.h"

#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/expect_error.h"

namespace instructblip::testing {
namespace {

using Ids = std::vector<std::int64_t>;
using Indices = std::vector<Index>;

// Two sequences in four columns: [1 0 1 1] and [0 0 1 0].
PaddedBatch example() { return PaddedBatch(2, 4, Tensor(Ids{1, 0, 1, 1, 0, 0, 1, 0}, {2, 4})); }

Tensor floats(const std::vector<float>& values, const Shape& shape) {
  return Tensor(values, shape);
}

TEST(PaddedBatch, HoldsTheColumnsThatTheMaskKeeps) {
  const PaddedBatch batch = example();
  EXPECT_EQ(batch.rows.offsets, (Indices{0, 3, 4}));
  EXPECT_EQ(batch.columns, (Indices{0, 2, 3, 2}));
  EXPECT_EQ(batch.rows.positions, batch.columns);
  EXPECT_EQ(batch.column(3), 2);
  EXPECT_EQ(PaddedBatch(2, 2).columns, (Indices{0, 1, 0, 1}));
}

TEST(PaddedBatch, RejectsMasksOfUnexpectedShapesTypesAndValues) {
  expect_error<InputError>(
      [] {
        PaddedBatch(2, 4, Tensor(Ids{1, 1}, {1, 2}), "decoder_mask");
      },
      {"decoder_mask", "[1, 2]", "[2, 4]"});
  expect_error<InputError>(
      [] {
        PaddedBatch(1, 2, floats({1, 1}, {1, 2}));
      },
      {"attention_mask", "float32", "integer"});
  expect_error<InputError>(
      [] {
        PaddedBatch(1, 2, Tensor(Ids{1, 2}, {1, 2}));
      },
      {"attention_mask[0][1] is 2", "0 or 1"});
  expect_error<InputError>(
      [] {
        PaddedBatch(1, 2, Tensor(DType::Int64, {0, 2}));
      },
      {"attention_mask", "[0, 2]", "[1, 2]"});
}

TEST(PaddedBatch, CompactPositionsCountKeptColumns) {
  PaddedBatch batch = example();
  batch.use_compact_positions();
  EXPECT_EQ(batch.rows.positions, (Indices{0, 1, 2, 0}));
  EXPECT_EQ(batch.columns, (Indices{0, 2, 3, 2}));
}

TEST(PaddedBatch, ScatterIsTheInverseOfGather) {
  const Tensor values = floats({1, 2, 3, 4, 5, 6, 7, 8}, {2, 4, 1});
  const PaddedBatch batch = example();
  const Matrix kept = batch.gather(values);
  EXPECT_EQ(kept.rows(), 4);
  expect_equal(batch.scatter(kept), floats({1, 0, 3, 4, 0, 0, 7, 0}, {2, 4, 1}));
}

TEST(PaddedBatch, ScattersAttentionsByQueriesAndKeys) {
  const PaddedBatch keys = example(), queries(2, 1);
  const std::vector<Tensor> attentions = {floats({1, 2, 3}, {1, 1, 3}), floats({4}, {1, 1, 1})};
  expect_equal(queries.scatter_attentions(attentions, keys),
               floats({1, 0, 2, 3, 0, 0, 4, 0}, {2, 1, 1, 4}));
}

TEST(PaddedBatch, RejectsValuesOfUnexpectedShapes) {
  const PaddedBatch batch = example(), queries(2, 1);
  expect_error<InputError>([&] { batch.scatter(Matrix(3, 2)); }, {"[3, 2]", "[4, 2]"});
  expect_error<InputError>(
      [&] {
        batch.scatter(std::vector{floats({1, 2, 3, 4}, {4})});
      },
      {"[4]", "[4, 4]"});
  const Tensor three = floats({1, 2, 3}, {1, 1, 3});
  expect_error<InputError>([&] { queries.scatter_attentions({three}, batch); },
                           {"1 sequences", "expected 2"});
  expect_error<InputError>(
      [&] {
        queries.scatter_attentions({three, three}, batch);
      },
      {"[1, 1, 3]", "[1, 1, 1]"});
}

TEST(PaddedBatch, RepeatsSequencesAndAppendsAColumn) {
  PaddedBatch batch = example().repeated(2);
  EXPECT_EQ(batch.batch, 4);
  EXPECT_EQ(batch.rows.offsets, (Indices{0, 3, 6, 7, 8}));
  EXPECT_EQ(batch.columns, (Indices{0, 2, 3, 0, 2, 3, 2, 2}));
  batch = example();
  batch.use_compact_positions();
  batch.append_column();
  EXPECT_EQ(batch.length, 5);
  EXPECT_EQ(batch.rows.offsets, (Indices{0, 4, 6}));
  EXPECT_EQ(batch.columns, (Indices{0, 2, 3, 4, 2, 4}));
  EXPECT_EQ(batch.rows.positions, (Indices{0, 1, 2, 3, 0, 1}));
}

}  // namespace
}  // namespace instructblip::testing
