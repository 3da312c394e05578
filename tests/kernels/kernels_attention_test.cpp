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

TEST_P(AttentionKernelTest, EqualsADoubleLoopOverOddShapes) {
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

TEST_P(AttentionKernelTest, HolesBiasAndProbabilities) {
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
      const float p = probabilities[static_cast<std::size_t>(row * kKeys + j)];
      const bool seen =
          valid[static_cast<std::size_t>(j)] != 0 && j <= kKeys - kQueries + row % kQueries;
      EXPECT_EQ(p > 0, seen) << row << " " << j;
      sum += p;
    }
    EXPECT_NEAR(sum, 1.0f, 1e-5f);
  }
}

}  // namespace
}  // namespace instructblip
