#include "instructblip/layers/rotary.h"

#include <cmath>

#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/fixtures.h"

namespace instructblip {
namespace {

using instructblip::testing::expect_close;
using instructblip::testing::Fixture;

// A RotaryEmbedding for heads of 16 columns.
RotaryEmbedding embedding_of(const RopeParameters& options, Index head_dim = 16) {
  return {options, head_dim, 128};
}

RopeParameters options_of(const std::string& rope_type) {
  RopeParameters options;
  options.rope_type = rope_type;
  return options;
}

// The options that tests/reference/layers.py passes to the reference.
std::map<std::string, RopeParameters> reference_options() {
  std::map<std::string, RopeParameters> all;
  for (const char* type : {"default", "linear", "dynamic", "llama3", "yarn", "longrope"}) {
    all[type] = options_of(type);
  }
  all["dynamic_beyond"] = options_of("dynamic");
  all["dynamic_beyond"].factor = 3.0;
  all["theta"] = options_of("default");
  all["theta"].rope_theta = 500000.0;
  all["linear"].factor = 4.0;
  all["dynamic"].factor = 2.0;
  all["llama3"].factor = 8.0;
  all["llama3"].low_freq_factor = 1.0;
  all["llama3"].high_freq_factor = 4.0;
  all["llama3"].original_max_position_embeddings = 64;
  all["yarn"].factor = 4.0;
  all["yarn"].original_max_position_embeddings = 32;
  RopeParameters& scaled = all["yarn_mscale"] = options_of("yarn");
  scaled.factor = 4.0;
  scaled.original_max_position_embeddings = 64;
  scaled.beta_fast = 16.0;
  scaled.beta_slow = 2.0;
  scaled.mscale = 1.0;
  scaled.mscale_all_dim = 0.7;
  scaled.truncate = false;
  for (int i = 0; i < 8; ++i) {
    all["longrope"].short_factor.push_back(1.0 + 0.1 * i);
    all["longrope"].long_factor.push_back(1.0 + 0.5 * i);
  }
  all["longrope"].original_max_position_embeddings = 20;
  return all;
}

TEST(RotaryTest, EqualsTheReferenceForEveryType) {
  const Fixture fixture("layers/rotary");
  for (const auto& [name, options] : reference_options()) {
    SCOPED_TRACE(name);
    const RotaryEmbedding embedding(options, 16, name == "dynamic_beyond" ? 20 : 128);
    expect_close(TensorView(embedding.inv_freq().data(), DType::Float32, {8}),
                 fixture[name + ".inv_freq"], 1e-6);
    EXPECT_NEAR(embedding.attention_scaling(), fixture[name + ".scaling"].at<float>({0}), 1e-6f);
    for (Index count : {16, 24}) {
      Matrix x = Matrix::from(fixture["x"]);
      const MutableMatrixView rows = x.view().middle_rows(0, count);
      apply_rotary(rows, embedding(RowTable::uniform(1, count)));
      expect_close(Matrix::copy_of(rows).to_tensor(), fixture[name + "." + std::to_string(count)],
                   2e-6);
    }
  }
}

TEST(RotaryTest, EachRowUsesItsOwnPosition) {
  const RotaryEmbedding embedding = embedding_of(options_of("default"));
  const RotaryAngles whole = embedding(RowTable::uniform(1, 9));
  RowTable rows;
  rows.append(2, 5);
  rows.append(1, 0);
  const RotaryAngles some = embedding(rows);
  for (Index i = 0; i < 8; ++i) {
    EXPECT_EQ(some.cos.row(0)[i], whole.cos.row(5)[i]);
    EXPECT_EQ(some.sin.row(1)[i], whole.sin.row(6)[i]);
    EXPECT_EQ(some.cos.row(2)[i], 1.0f);
    EXPECT_EQ(some.sin.row(2)[i], 0.0f);
  }
}

TEST(RotaryTest, LongropeChoosesFrequenciesPerSequence) {
  const RotaryEmbedding embedding = embedding_of(reference_options().at("longrope"));
  RowTable rows;
  rows.append(1, 5);
  rows.append(1, 20);
  const RotaryAngles angles = embedding(rows);
  EXPECT_NEAR(angles.sin.row(0)[1],
              std::sin(5 * embedding.inv_freq()[1]) * embedding.attention_scaling(), 1e-6f);
  EXPECT_NEAR(angles.sin.row(1)[1],
              std::sin(20 * embedding.long_inv_freq()[1]) * embedding.attention_scaling(), 1e-6f);
}

TEST(RotaryTest, DynamicGrowsPerSequence) {
  RopeParameters options = reference_options().at("dynamic");
  const RotaryEmbedding embedding(options, 16, 20);
  RowTable alone, both;
  alone.append(1, 30);
  both.append(1, 5);
  both.append(1, 30);
  const RotaryAngles angles = embedding(both);
  EXPECT_NEAR(angles.sin.row(0)[1], std::sin(5 * embedding.inv_freq()[1]), 1e-6f);
  EXPECT_EQ(angles.sin.row(1)[1], embedding(alone).sin.row(0)[1]);
  EXPECT_GT(std::abs(angles.sin.row(1)[1] - std::sin(30 * embedding.inv_freq()[1])), 1e-3f);
}

TEST(RotaryTest, ZeroBetaMeansTheDefaultInYarn) {
  RopeParameters options = reference_options().at("yarn");
  const RotaryEmbedding expected = embedding_of(options);
  options.beta_fast = options.beta_slow = 0;
  EXPECT_EQ(embedding_of(options).inv_freq(), expected.inv_freq());
}

void expect_error(const RopeParameters& options, const std::string& text, Index head_dim = 16) {
  try {
    embedding_of(options, head_dim);
    ADD_FAILURE() << "no error, expected: " << text;
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(RotaryTest, InvalidOptionsAreErrorsNamingTheKey) {
  expect_error(options_of("mrope"), "\"rope_type\" must be one of default, linear");
  expect_error(options_of("linear"), "\"factor\" is missing");
  expect_error(options_of("longrope"), "\"short_factor\" is missing");
  expect_error(reference_options().at("longrope"), "\"short_factor\" must have 4 numbers", 8);
  RopeParameters options = options_of("llama3");
  options.factor = 8.0;
  expect_error(options, "\"low_freq_factor\"");
  expect_error(options_of("default"), "\"head_dim\" must be even", 7);
  expect_error(options_of("default"), "\"head_dim\" must be from 1", 0);
  options = options_of("default");
  options.rope_theta = 0;
  expect_error(options, "\"rope_theta\" must be a positive number");
  options = options_of("linear");
  options.factor = -1.0;
  expect_error(options, "\"factor\" must be a positive number, found -1");
  options = options_of("yarn");
  options.factor = 2.0;
  options.beta_fast = -2.0;
  expect_error(options, "\"beta_fast\" must be a positive number, found -2");
}

TEST(RotaryTest, WrongShapesAreErrors) {
  const RotaryEmbedding embedding = embedding_of(options_of("default"));
  const RotaryAngles angles = embedding(RowTable::uniform(1, 3));
  Matrix rows(2, 16), cols(3, 24);
  EXPECT_THROW(apply_rotary(rows, angles), InputError);
  EXPECT_THROW(apply_rotary(cols, angles), InputError);
}

}  // namespace
}  // namespace instructblip
