#include <limits>

#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"

namespace instructblip {
namespace {

class AttentionKernelTest : public KernelTest {};
INSTRUCTBLIP_TEST_ALL_LEVELS(AttentionKernelTest);

AttentionSequence sequence_of(MatrixView keys, MatrixView values, Index queries, Index causal) {
  AttentionSequence sequence;
  sequence.query_count = queries;
  sequence.keys = {{keys.row(0), values.row(0), keys.rows, keys.stride}};
  sequence.causal_offset = causal;
  return sequence;
}

void expect_attention(MatrixView q, const AttentionShape& shape, const AttentionSequence& sequence,
                      MatrixView output) {
  const KeyValueSpan& span = sequence.keys.front();
  const Index group = shape.num_heads / shape.num_key_value_heads;
  for (Index i = 0; i < sequence.query_count; ++i) {
    for (Index h = 0; h < shape.num_heads; ++h) {
      std::vector<double> weights;
      std::vector<Index> seen;
      double sum = 0;
      for (Index j = 0; j < span.count; ++j) {
        if (sequence.causal_offset >= 0 && j > sequence.causal_offset + i) continue;
        if (sequence.key_valid != nullptr && sequence.key_valid[j] == 0) continue;
        double dot = 0;
        for (Index d = 0; d < shape.head_dim; ++d) {
          dot += static_cast<double>(q.row(sequence.query_begin + i)[h * shape.head_dim + d]) *
                 span.keys[j * span.stride + h / group * shape.head_dim + d];
        }
        dot *= shape.scale;
        if (sequence.bias != nullptr) {
          dot += sequence.bias[h * sequence.bias_head_stride + i * sequence.bias_query_stride + j];
        }
        seen.push_back(j);
        weights.push_back(std::exp(dot));
        sum += weights.back();
      }
      for (Index d = 0; d < shape.head_dim; ++d) {
        double expected = 0;
        for (std::size_t n = 0; n < seen.size(); ++n) {
          expected += weights[n] / sum *
                      span.values[seen[n] * span.stride + h / group * shape.head_dim + d];
        }
        ASSERT_NEAR(output.row(sequence.query_begin + i)[h * shape.head_dim + d], expected, 2e-6)
            << "query " << i << " head " << h << " element " << d << ", " << span.count
            << " keys, head_dim " << shape.head_dim;
      }
    }
  }
}

TEST_P(AttentionKernelTest, MatchesADoublePrecisionLoopForOddShapes) {
  for (Index head_dim : {1, 3, 8, 17, 64, 88}) {
    for (Index keys : {1, 2, 5, 63, 64, 65, 130}) {
      for (Index queries : {1, 2, 5, 7}) {
        if (queries > keys) continue;
        const AttentionShape shape{4, 2, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim))};
        const Matrix q = random_matrix(queries, 4 * head_dim, 1);
        const Matrix k = random_matrix(keys, 2 * head_dim, 2);
        const Matrix v = random_matrix(keys, 2 * head_dim, 3);
        for (Index causal : {Index{-1}, keys - queries}) {
          const AttentionSequence sequence = sequence_of(k, v, queries, causal);
          Matrix output(queries, 4 * head_dim);
          scaled_dot_product_attention(q, shape, std::span(&sequence, 1), output);
          expect_attention(q, shape, sequence, output);
        }
      }
    }
  }
}

TEST_P(AttentionKernelTest, MaskBiasAndProbabilitiesMatchADoublePrecisionLoop) {
  const AttentionShape shape{2, 2, 8, 0.3f};
  constexpr Index kKeys = 71, kQueries = 6;
  const Matrix q = random_matrix(kQueries, 16, 1);
  const Matrix k = random_matrix(kKeys, 16, 2), v = random_matrix(kKeys, 16, 3);
  const Matrix bias = random_matrix(2 * kQueries, kKeys, 4);
  std::vector<std::uint8_t> valid(kKeys, 1);
  for (std::size_t j : {0u, 3u, 4u, 17u, 66u, 70u}) valid[j] = 0;
  AttentionSequence sequence = sequence_of(k, v, kQueries, kKeys - kQueries);
  sequence.key_valid = valid.data();
  sequence.bias = bias.row(0);
  sequence.bias_query_stride = bias.view().stride;
  sequence.bias_head_stride = kQueries * bias.view().stride;
  std::vector<float> probabilities(2 * kQueries * kKeys, -1.0f);
  sequence.probabilities = probabilities.data();
  Matrix output(kQueries, 16);
  scaled_dot_product_attention(q, shape, std::span(&sequence, 1), output);
  expect_attention(q, shape, sequence, output);
  for (Index row = 0; row < 2 * kQueries; ++row) {
    float sum = 0;
    for (Index j = 0; j < kKeys; ++j) {
      const float p = probabilities.data()[row * kKeys + j];
      const bool attended = valid.data()[j] != 0 && j <= kKeys - kQueries + row % kQueries;
      EXPECT_EQ(p > 0, attended) << row << " " << j;
      sum += p;
    }
    EXPECT_NEAR(sum, 1.0f, 1e-5f);
  }
}

Matrix attend_one(MatrixView q, const AttentionShape& shape, const AttentionSequence& sequence) {
  Matrix output(q.rows, q.cols);
  scaled_dot_product_attention(q, shape, std::span(&sequence, 1), output);
  return output;
}

TEST_P(AttentionKernelTest, PromptHasTheSameBitsHoweverItIsSplit) {
  for (Index head_dim : {5, 16}) {
    const AttentionShape shape{2, 1, head_dim, 0.4f};
    constexpr Index kLength = 70;
    const Matrix q = random_matrix(kLength, 2 * head_dim, 1);
    const Matrix k = random_matrix(kLength, head_dim, 2), v = random_matrix(kLength, head_dim, 3);
    const Matrix whole = attend_one(q, shape, sequence_of(k, v, kLength, 0));
    for (Index split = 1; split < kLength; ++split) {
      const Matrix first = attend_one(
          q.view().middle_rows(0, split), shape,
          sequence_of(k.view().middle_rows(0, split), v.view().middle_rows(0, split), split, 0));
      const Index rest = kLength - split;
      AttentionSequence sequence = sequence_of(k, v, rest, split);
      sequence.keys = {{k.row(0), v.row(0), split, k.view().stride},
                       {k.row(split), v.row(split), rest, k.view().stride}};
      const Matrix second = attend_one(q.view().middle_rows(split, rest), shape, sequence);
      ASSERT_TRUE(same_bits(first, whole.view().middle_rows(0, split))) << split;
      ASSERT_TRUE(same_bits(second, whole.view().middle_rows(split, rest))) << split;
    }
  }
}

TEST_P(AttentionKernelTest, MaskedKeysDoNotChangeTheBits) {
  constexpr Index kLength = 70, kHole = 9;
  const Matrix q = random_matrix(kLength, 16, 1);
  const Matrix k = random_matrix(kLength, 16, 2), v = random_matrix(kLength, 16, 3);
  for (DType activations : {DType::Float32, DType::BFloat16}) {
    const AttentionShape shape{2, 2, 8, 0.4f, DType::BFloat16, activations};
    const Matrix whole = attend_one(q, shape, sequence_of(k, v, kLength, -1));
    for (Index begin : {0, 1, 31, 64, 70}) {
      Matrix wide_k(kLength + kHole, 16), wide_v(kLength + kHole, 16);
      std::vector<std::uint8_t> valid(static_cast<std::size_t>(kLength + kHole), 1);
      for (Index j = 0; j < kLength + kHole; ++j) {
        const bool hole = j >= begin && j < begin + kHole;
        if (hole) valid.data()[j] = 0;
        for (Index c = 0; c < 16; ++c) {
          const float nan = std::numeric_limits<float>::quiet_NaN();
          wide_k.row(j)[c] = hole ? nan : k.row(j < begin ? j : j - kHole)[c];
          wide_v.row(j)[c] = hole ? nan : v.row(j < begin ? j : j - kHole)[c];
        }
      }
      AttentionSequence sequence = sequence_of(wide_k, wide_v, kLength, -1);
      sequence.key_valid = valid.data();
      EXPECT_TRUE(same_bits(attend_one(q, shape, sequence), whole))
          << begin << ' ' << name_of(activations);
    }
  }
}

TEST_P(AttentionKernelTest, LaterKeysDoNotAffectEarlierQueries) {
  const AttentionShape shape{1, 1, 8, 0.4f};
  const Matrix q = random_matrix(9, 8, 1);
  Matrix k = random_matrix(9, 8, 2), v = random_matrix(9, 8, 3);
  const Matrix before = attend_one(q, shape, sequence_of(k, v, 9, 0));
  k.row(5)[0] = v.row(5)[0] = std::numeric_limits<float>::quiet_NaN();
  const Matrix after = attend_one(q, shape, sequence_of(k, v, 9, 0));
  EXPECT_TRUE(same_bits(before.view().middle_rows(0, 5), after.view().middle_rows(0, 5)));
  for (Index i = 5; i < 9; ++i) EXPECT_TRUE(std::isnan(after.row(i)[0])) << i;
}

TEST_P(AttentionKernelTest, SequenceHasTheSameBitsInAnyBatchAndWithAnyThreadCount) {
  const AttentionShape shape{4, 2, 24, 0.2f};
  const std::vector<Index> lengths{3, 1, 40, 0, 17};
  const Matrix q = random_matrix(61, 96, 1), k = random_matrix(61, 48, 2);
  const Matrix v = random_matrix(61, 48, 3);
  std::vector<AttentionSequence> sequences;
  Index begin = 0;
  for (Index length : lengths) {
    AttentionSequence sequence = sequence_of(k.view().middle_rows(begin, length),
                                             v.view().middle_rows(begin, length), length, 0);
    sequence.query_begin = begin;
    sequences.push_back(sequence);
    begin += length;
  }
  for (int threads : {1, 2, 3, 5}) {
    set_num_threads(threads);
    Matrix together(61, 96);
    scaled_dot_product_attention(q, shape, sequences, together);
    for (AttentionSequence sequence : sequences) {
      const Index first = sequence.query_begin, count = sequence.query_count;
      sequence.query_begin = 0;
      EXPECT_TRUE(same_bits(attend_one(q.view().middle_rows(first, count), shape, sequence),
                            together.view().middle_rows(first, count)));
    }
  }
}

Matrix rounded(MatrixView m) {
  return Matrix::from(Matrix::copy_of(m).to_tensor().to(DType::BFloat16).to(DType::Float32));
}

TEST_P(AttentionKernelTest, BFloat16IsRoundedInTilesUnlessAttentionIsCausal) {
  for (Index length : {1, 16, 33, 70, 257}) {
    for (Index head_dim : {24, 88}) {
      const AttentionShape exact{2, 1, head_dim, 0.1f};
      const AttentionShape shape{2, 1, head_dim, 0.1f, DType::BFloat16, DType::BFloat16};
      const Matrix q = random_matrix(length, 2 * head_dim, 1);
      const Matrix k = random_matrix(length, head_dim, 2), v = random_matrix(length, head_dim, 3);
      const Matrix causal = attend_one(q, shape, sequence_of(k, v, length, 0));
      ASSERT_TRUE(same_bits(causal, attend_one(q, exact, sequence_of(k, v, length, 0))));
      const Matrix output = attend_one(q, shape, sequence_of(k, v, length, -1));
      if (GetParam() != "amx") {
        ASSERT_TRUE(same_bits(output, attend_one(q, exact, sequence_of(k, v, length, -1))));
        continue;
      }
      const Matrix rounded_q = rounded(q), rounded_k = rounded(k), rounded_v = rounded(v);
      AttentionSequence sequence = sequence_of(rounded_k, rounded_v, length, -1);
      Tensor probabilities(DType::Float32, {2, length, length});
      sequence.probabilities = probabilities.data<float>();
      attend_one(rounded_q, exact, sequence);
      const Matrix rounded_p = rounded(Matrix::from(probabilities));
      double error = 0.0;
      for (Index i = 0; i < length; ++i) {
        for (Index o = 0; o < 2 * head_dim; ++o) {
          double expected = 0.0;
          for (Index j = 0; j < length; ++j) {
            expected += static_cast<double>(rounded_p.row(o / head_dim * length + i)[j]) *
                        rounded_v.row(j)[o % head_dim];
          }
          // A probability between two numbers may be rounded to the other one.
          ASSERT_NEAR(output.row(i)[o], expected, 5e-3);
          error += std::abs(output.row(i)[o] - expected);
        }
      }
      EXPECT_LT(error / static_cast<double>(length * 2 * head_dim), 3e-5) << length;
    }
  }
}

// Rounding any of its matrices to bfloat16 would change outputs by more than 1e-3.
TEST_P(AttentionKernelTest, Float32ActivationsOfABFloat16ModelKeepTheirPrecisionInTiles) {
  for (Index length : {1, 16, 33, 70, 257}) {
    for (Index head_dim : {24, 88}) {
      const AttentionShape exact{2, 1, head_dim, 0.5f};
      const AttentionShape shape{2, 1, head_dim, 0.5f, DType::BFloat16};
      const Matrix q = random_matrix(length, 2 * head_dim, 1);
      const Matrix k = random_matrix(length, head_dim, 2), v = random_matrix(length, head_dim, 3);
      const Matrix causal = attend_one(q, shape, sequence_of(k, v, length, 0));
      ASSERT_TRUE(same_bits(causal, attend_one(q, exact, sequence_of(k, v, length, 0))));
      const Matrix output = attend_one(q, shape, sequence_of(k, v, length, -1));
      const Matrix expected = attend_one(q, exact, sequence_of(k, v, length, -1));
      if (GetParam() != "amx") {
        ASSERT_TRUE(same_bits(output, expected));
        continue;
      }
      for (Index i = 0; i < length; ++i) {
        for (Index o = 0; o < 2 * head_dim; ++o) {
          ASSERT_NEAR(output.row(i)[o], expected.row(i)[o], 1e-4) << i << ' ' << o;
        }
      }
    }
  }
}

TEST_P(AttentionKernelTest, BFloat16HasTheSameBitsForAnyNumberOfQueriesAndThreads) {
  constexpr Index kQueries = 70, kKeys = 45;
  const Matrix q = random_matrix(kQueries, 96, 1), k = random_matrix(kKeys, 48, 2);
  const Matrix v = random_matrix(kKeys, 48, 3);
  for (DType activations : {DType::Float32, DType::BFloat16}) {
    const AttentionShape shape{4, 2, 24, 0.2f, DType::BFloat16, activations};
    set_num_threads(2);
    const Matrix whole = attend_one(q, shape, sequence_of(k, v, kQueries, -1));
    for (int threads : {1, 5}) {
      set_num_threads(threads);
      for (Index count : {1, 7, 16, 33, 64}) {
        for (Index first : {Index{0}, kQueries - count}) {
          AttentionSequence sequence = sequence_of(k, v, count, -1);
          sequence.keys = {{k.row(0), v.row(0), 20, k.view().stride},
                           {k.row(20), v.row(20), kKeys - 20, k.view().stride}};
          EXPECT_TRUE(same_bits(attend_one(q.view().middle_rows(first, count), shape, sequence),
                                whole.view().middle_rows(first, count)))
              << name_of(activations) << ' ' << count << " from " << first;
        }
      }
    }
  }
}

TEST_P(AttentionKernelTest, QueryWithoutValidKeysGivesZeros) {
  const AttentionShape shape{1, 1, 4, 1.0f};
  const Matrix q = random_matrix(6, 4, 1), k = random_matrix(6, 4, 2), v = random_matrix(6, 4, 3);
  std::vector<std::uint8_t> valid{0, 0, 0, 1, 1, 1};
  AttentionSequence sequence = sequence_of(k, v, 6, 0);
  sequence.key_valid = valid.data();
  std::vector<float> probabilities(36, -1.0f);
  sequence.probabilities = probabilities.data();
  const Matrix y = attend_one(q, shape, sequence);
  for (Index i = 0; i < 3; ++i) {
    for (Index c = 0; c < 4; ++c) EXPECT_EQ(y.row(i)[c], 0.0f);
    for (Index j = 0; j < 6; ++j) EXPECT_EQ(probabilities.data()[6 * i + j], 0);
  }
  EXPECT_EQ(y.row(3)[0], v.row(3)[0]);
  sequence.keys.clear();
  sequence.key_valid = nullptr;
  sequence.probabilities = nullptr;
  const Matrix none = attend_one(q, shape, sequence);
  EXPECT_EQ(none.row(5)[3], 0.0f);
}

TEST_P(AttentionKernelTest, LargeScoresDoNotOverflow) {
  const AttentionShape shape{1, 1, 4, 100.0f};
  Matrix q = random_matrix(2, 4, 1), k = random_matrix(5, 4, 2), v = random_matrix(5, 4, 3);
  for (Index c = 0; c < 4; ++c) k.row(2)[c] = q.row(0)[c] * 30.0f;
  const Matrix y = attend_one(q, shape, sequence_of(k, v, 2, -1));
  for (Index c = 0; c < 4; ++c) EXPECT_NEAR(y.row(0)[c], v.row(2)[c], 1e-6f);
}

TEST_P(AttentionKernelTest, InvalidArgumentsAreRejected) {
  const Matrix q = random_matrix(2, 8, 1), k = random_matrix(5, 8, 2);
  const AttentionSequence good = sequence_of(k, k, 2, -1);
  EXPECT_THROW(attend_one(q, {3, 2, 4, 1.0f}, good), InputError);
  EXPECT_THROW(attend_one(q, {2, 0, 4, 1.0f}, good), InputError);
  EXPECT_THROW(attend_one(q, {2, 2, 5, 1.0f}, good), InputError);
  AttentionSequence sequence = good;
  sequence.query_count = 3;
  EXPECT_THROW(attend_one(q, {2, 2, 4, 1.0f}, sequence), InputError);
  sequence = good;
  sequence.keys[0].stride = 7;
  EXPECT_THROW(attend_one(q, {2, 2, 4, 1.0f}, sequence), InputError);
  sequence = good;
  sequence.keys[0].values = nullptr;
  EXPECT_THROW(attend_one(q, {2, 2, 4, 1.0f}, sequence), InputError);
}

}  // namespace
}  // namespace instructblip
