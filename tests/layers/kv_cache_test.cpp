#include "instructblip/layers/kv_cache.h"

#include "instructblip/core/error.h"
#include "instructblip/layers/attention.h"
#include "instructblip/layers/state_recorder.h"
#include "kernels/kernel_testing.h"

namespace instructblip {
namespace {

constexpr Index kWidth = 6;

// A key that encodes its origin: the sequence's tag, the layer and the position.
Matrix tagged(const RowTable& rows, const std::vector<float>& tags, Index layer, float sign) {
  Matrix m(rows.rows(), kWidth);
  for (Index s = 0; s < rows.sequences(); ++s) {
    for (Index r = rows.begin(s); r < rows.begin(s + 1); ++r) {
      const auto position = static_cast<float>(rows.positions[static_cast<std::size_t>(r)]);
      const float value =
          tags[static_cast<std::size_t>(s)] * 10000 + static_cast<float>(layer) * 1000 + position;
      for (Index c = 0; c < kWidth; ++c) m.row(r)[c] = sign * value;
    }
  }
  return m;
}

RowTable next_rows(const KvCache& cache, const std::vector<Index>& counts) {
  RowTable rows;
  for (std::size_t s = 0; s < counts.size(); ++s) {
    rows.append(counts[s], cache.length(static_cast<Index>(s)));
  }
  return rows;
}

void feed(KvCache& cache, const std::vector<Index>& counts, const std::vector<float>& tags) {
  const RowTable rows = next_rows(cache, counts);
  cache.extend(rows);
  for (Index layer = 0; layer < cache.layers(); ++layer) {
    cache.write(layer, tagged(rows, tags, layer, 1), tagged(rows, tags, layer, -1), rows);
  }
}

// The keys of a sequence in a layer, one number per position. Also checks that the values match the
// keys.
std::vector<float> content(const KvCache& cache, Index layer, Index sequence) {
  std::vector<float> found;
  for (const KeyValueSpan& span : cache.spans(layer, sequence)) {
    EXPECT_GT(span.count, 0);
    for (Index i = 0; i < span.count; ++i) {
      found.push_back(span.keys[i * span.stride + kWidth - 1]);
      EXPECT_EQ(span.values[i * span.stride], -found.back());
    }
  }
  return found;
}

std::vector<float> expected(const std::vector<std::pair<float, Index>>& parts, Index layer) {
  std::vector<float> values;
  for (const auto& [tag, count] : parts) {
    for (Index i = 0; i < count; ++i) {
      values.push_back(tag * 10000 + static_cast<float>(layer) * 1000 +
                       static_cast<float>(values.size()));
    }
  }
  return values;
}

TEST(KvCacheTest, KeepsWhatWasWrittenAcrossBlocks) {
  for (Index first : {1, 3, 4, 5, 8, 9}) {
    for (Index second : {0, 1, 3, 4, 7}) {
      KvCache cache(2, kWidth, 2, 4);
      feed(cache, {first, 2}, {1, 2});
      feed(cache, {second, 3}, {1, 2});
      EXPECT_EQ(cache.length(0), first + second);
      for (Index layer = 0; layer < 2; ++layer) {
        EXPECT_EQ(content(cache, layer, 0), expected({{1.0f, first + second}}, layer));
        EXPECT_EQ(content(cache, layer, 1), expected({{2.0f, 5}}, layer));
      }
    }
  }
}

TEST(KvCacheTest, ForkedSequencesShareThePrefixAndThenDiverge) {
  for (Index prefix : {1, 3, 4, 6, 8}) {
    KvCache cache(2, kWidth, 1, 4);
    feed(cache, {prefix}, {1});
    const float* shared = cache.spans(0, 0).front().keys;
    const std::vector<Index> fork{0, 0, 0};
    cache.reorder(fork);
    EXPECT_EQ(cache.sequences(), 3);
    EXPECT_EQ(cache.spans(0, 2).front().keys, shared) << "reordering copies no keys";
    feed(cache, {2, 0, 5}, {2, 3, 4});
    EXPECT_EQ(content(cache, 1, 0), expected({{1.0f, prefix}, {2.0f, 2}}, 1));
    EXPECT_EQ(content(cache, 1, 1), expected({{1.0f, prefix}}, 1));
    EXPECT_EQ(content(cache, 1, 2), expected({{1.0f, prefix}, {4.0f, 5}}, 1));
    if (prefix >= 4) {
      EXPECT_EQ(cache.spans(0, 0).front().keys, cache.spans(0, 2).front().keys);
    }
  }
}

TEST(KvCacheTest, ReorderingSwapsAndDropsSequences) {
  KvCache cache(1, kWidth, 3, 4);
  feed(cache, {3, 5, 2}, {1, 2, 3});
  const std::vector<Index> beams{1, 1, 0};
  cache.reorder(beams);
  feed(cache, {1, 1, 1}, {5, 6, 7});
  EXPECT_EQ(content(cache, 0, 0), expected({{2.0f, 5}, {5.0f, 1}}, 0));
  EXPECT_EQ(content(cache, 0, 1), expected({{2.0f, 5}, {6.0f, 1}}, 0));
  EXPECT_EQ(content(cache, 0, 2), expected({{1.0f, 3}, {7.0f, 1}}, 0));
  const std::vector<Index> finished{2};
  cache.reorder(finished);
  EXPECT_EQ(cache.sequences(), 1);
  EXPECT_EQ(content(cache, 0, 0), expected({{1.0f, 3}, {7.0f, 1}}, 0));
}

TEST(KvCacheTest, TruncatedSequencesContinueWithoutChangingOthers) {
  for (Index length : {0, 1, 3, 4, 5, 8, 9}) {
    KvCache cache(2, kWidth, 1, 4);
    feed(cache, {9}, {1});
    const std::vector<Index> fork{0, 0};
    cache.reorder(fork);
    cache.truncate(0, length);
    EXPECT_EQ(cache.length(0), length);
    feed(cache, {3, 1}, {2, 3});
    EXPECT_EQ(content(cache, 1, 0), expected({{1.0f, length}, {2.0f, 3}}, 1));
    EXPECT_EQ(content(cache, 1, 1), expected({{1.0f, 9}, {3.0f, 1}}, 1));
  }
}

TEST(KvCacheTest, InvalidCallsAreErrors) {
  KvCache cache(1, kWidth, 1, 4);
  feed(cache, {2}, {1});
  const std::vector<Index> outside{0, 1};
  EXPECT_THROW(cache.reorder(outside), InputError);
  EXPECT_THROW(cache.extend(RowTable::uniform(2, 1)), InputError);
  const RowTable row = RowTable::uniform(1, 1);
  EXPECT_THROW(cache.write(0, Matrix(1, 5), Matrix(1, 5), row), InputError);
  EXPECT_THROW(cache.write(1, Matrix(1, kWidth), Matrix(1, kWidth), row), InputError);
  const RowTable three = RowTable::uniform(1, 3), two = RowTable::uniform(2, 1);
  EXPECT_THROW(cache.write(0, Matrix(3, kWidth), Matrix(3, kWidth), three), InputError);
  EXPECT_THROW(cache.write(0, Matrix(2, kWidth), Matrix(2, kWidth), two), InputError);
  for (const Index outside : {-1, 1}) {
    EXPECT_THROW(cache.length(outside), InputError);
    EXPECT_THROW(cache.truncate(outside, 0), InputError);
    EXPECT_THROW(cache.spans(0, outside), InputError);
    EXPECT_THROW(cache.spans(outside, 0), InputError);
  }
  for (const Index length : {-1, 3}) EXPECT_THROW(cache.truncate(0, length), InputError);
  EXPECT_THROW(KvCache(-1, kWidth, 1), InputError);
  EXPECT_THROW(KvCache(1, -1, 1), InputError);
  EXPECT_THROW(KvCache(1, kWidth, -1), InputError);
  EXPECT_THROW(KvCache(1, kWidth, 1, 0), InputError);
  EXPECT_EQ(content(cache, 0, 0), expected({{1.0f, 2}}, 0));
}

TEST(AttentionTest, ACacheFilledInAnyStepsGivesTheSameBitsAsNone) {
  const AttentionShape shape{4, 2, 3, 0.5f};
  constexpr Index kLength = 40;
  const Matrix q = random_matrix(kLength, 12, 1), k = random_matrix(kLength, kWidth, 2);
  const Matrix v = random_matrix(kLength, kWidth, 3);
  const RowTable all = RowTable::uniform(1, kLength);
  std::vector<AttentionSequence> causal = self_attention(k, v, all);
  causal[0].causal_offset = 0;
  const Matrix whole = attend(q, shape, causal);
  for (Index block : {1, 4, 32}) {
    for (Index step : {1, 3, 7, 40}) {
      KvCache cache(1, kWidth, 1, block);
      for (Index begin = 0; begin < kLength; begin += step) {
        const Index count = std::min(step, kLength - begin);
        RowTable rows;
        rows.append(count, begin);
        cache.extend(rows);
        cache.write(0, k.view().middle_rows(begin, count), v.view().middle_rows(begin, count),
                    rows);
        const Matrix part =
            attend(q.view().middle_rows(begin, count), shape, cached_attention(cache, 0, rows));
        ASSERT_TRUE(same_bits(part, whole.view().middle_rows(begin, count))) << begin;
      }
    }
  }
}

TEST(AttentionTest, CrossAttentionObeysSourcesAndValidity) {
  const AttentionShape shape{1, 1, kWidth, 0.5f};
  RowTable text, image;
  text.append(2);
  text.append(3);
  image.append(4);
  image.append(5);
  const Matrix q = random_matrix(5, kWidth, 1), k = random_matrix(9, kWidth, 2);
  std::vector<std::uint8_t> valid(9, 1);
  valid[5] = 0;
  std::vector<AttentionSequence> sequences = cross_attention(k, k, text, image, valid.data());
  StateRecorder recorder(ForwardCapture{.attentions = true});
  recorder.add_cross_attentions(sequences, 1);
  const Matrix y = attend(q, shape, sequences);
  ASSERT_EQ(recorder.cross_attentions.size(), 1u);
  const std::vector<Tensor>& captured = recorder.cross_attentions[0];
  ASSERT_EQ(captured.size(), 2u);
  EXPECT_EQ(captured[0].shape(), (Shape{1, 2, 4}));
  EXPECT_EQ(captured[1].shape(), (Shape{1, 3, 5}));
  EXPECT_EQ(captured[1].at<float>({0, 2, 1}), 0.0f);
  for (Index i = 0; i < 3; ++i) {
    for (Index c = 0; c < kWidth; ++c) {
      double sum = 0;
      for (Index j = 0; j < 5; ++j) {
        sum += static_cast<double>(captured[1].at<float>({0, i, j})) * k.row(4 + j)[c];
      }
      EXPECT_NEAR(y.row(2 + i)[c], sum, 1e-6);
    }
  }
  const std::vector<AttentionSequence> self = self_attention(k, k, image, valid.data());
  EXPECT_EQ(self[1].key_valid, valid.data() + 4);
  EXPECT_EQ(self[1].causal_offset, -1);

  const std::vector<Index> sources{1, 0};
  const auto swapped = cross_attention(k, k, text, image, valid.data(), sources);
  EXPECT_EQ(swapped[0].query_count, 2);
  EXPECT_EQ(swapped[0].keys[0].count, 5);
  EXPECT_EQ(swapped[0].key_valid, valid.data() + 4);
  EXPECT_EQ(swapped[1].keys[0].keys, k.row(0));
}

TEST(AttentionTest, ARecorderWithoutRequestsRecordsNothing) {
  const Matrix k = random_matrix(3, kWidth, 1);
  std::vector<AttentionSequence> sequences = self_attention(k, k, RowTable::uniform(1, 3));
  StateRecorder recorder;
  recorder.add_attentions(sequences, 1);
  recorder.add_hidden_states(k);
  EXPECT_TRUE(recorder.attentions.empty());
  EXPECT_TRUE(recorder.hidden_states.empty());
  EXPECT_EQ(sequences[0].probabilities, nullptr);
}

}  // namespace
}  // namespace instructblip
