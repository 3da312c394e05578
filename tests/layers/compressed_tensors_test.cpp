// Folders that compressed-tensors wrote (tests/reference/compressed_tensors_folders.py), and what
// is refused.
#include "instructblip/layers/compressed_tensors.h"

#include <fstream>
#include <iterator>
#include <map>
#include <tuple>

#include "instructblip/layers/linear.h"
#include "instructblip/layers/quantized_form.h"
#include "instructblip/models/modeling_instructblip.h"
#include "layers/quantized_folder.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::expect_error;

std::filesystem::path compressed_folder(const std::string& name) {
  return testing::fixtures_folder() / "compressed_tensors" / name;
}

class CompressedFolderTest : public ::testing::TestWithParam<const char*> {};

TEST_P(CompressedFolderTest, GivesTheLogitsOfTransformers) {
  testing::expect_logits_of_quantized_folder(std::string("compressed_tensors/") + GetParam(),
                                             3e-4f);
}

INSTANTIATE_TEST_SUITE_P(Folders, CompressedFolderTest,
                         ::testing::Values("symmetric", "asymmetric"),
                         [](const auto& info) { return std::string(info.param); });

// A layer [outs, ins] with random values, quantised as `scheme`.
QuantizedMatrix random_quantized(Index outs, Index ins, const Quantization& scheme) {
  auto values = std::make_shared<Tensor>(DType::Float32, Shape{outs, ins});
  unsigned state = 12345;
  for (float& value : values->span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 16777216.0f - 0.4f;
  }
  return quantize(SharedTensor(values->view(), values), scheme);
}

using Tensors = std::map<std::string, Tensor>;

Tensors stored(const QuantizedMatrix& matrix, const std::string& scope = "layer") {
  Tensors tensors;
  for (auto& [name, tensor] : to_compressed_tensors(matrix)) {
    tensors.emplace(scope + "." + name, std::move(tensor));
  }
  return tensors;
}

TEST(CompressedTensorsTest, WhatIsPackedIsReadAsItWas) {
  for (const auto& [outs, ins, scheme] :
       {std::tuple{Index{5}, Index{7}, Quantization{.bits = 8}},
        std::tuple{Index{9}, Index{64}, Quantization{.bits = 4}},
        std::tuple{Index{9}, Index{64}, Quantization{.bits = 4, .group_size = 32}},
        std::tuple{Index{11}, Index{96},
                   Quantization{.bits = 4, .group_size = 32, .symmetric = false}},
        std::tuple{Index{8}, Index{64}, Quantization{.bits = 4, .symmetric = false}}}) {
    SCOPED_TRACE(to_string(scheme));
    const QuantizedMatrix matrix = random_quantized(outs, ins, scheme);
    Tensors tensors = stored(matrix);
    EXPECT_EQ(tensors.at("layer.weight_scale").dtype(), DType::BFloat16);
    const Weights weights = Weights::from_tensors(std::move(tensors));
    const auto read = quantized_matrix(weights["layer"], outs, ins);
    weights.finish();
    ASSERT_TRUE(read);
    EXPECT_EQ(read->bits, matrix.bits);
    EXPECT_EQ(read->group_size, matrix.group_size);
    EXPECT_EQ(read->zero_points.has_value(), matrix.zero_points.has_value());
    testing::expect_equal(dequantize(*read), dequantize(matrix));
  }
}

// The numbers are those of the format's description, not of this library's writer.
TEST(CompressedTensorsTest, TheFirstInputHasTheLowBits) {
  Tensors tensors;
  tensors["w.weight_packed"] = Tensor(std::vector<std::int32_t>(8, 0x76543210), {2, 4});
  tensors["w.weight_shape"] = Tensor(std::vector<std::int64_t>{2, 32}, {2});
  tensors["w.weight_scale"] = Tensor(std::vector<float>{2.0f, 0.5f}, {2, 1});
  tensors["w.weight_zero_point"] = Tensor(std::vector<std::int32_t>{0x98}, {1, 1});
  const Weights weights = Weights::from_tensors(std::move(tensors));
  const Tensor values = dequantize(*quantized_matrix(weights["w"], 2, 32));
  weights.finish();
  for (Index k = 0; k < 32; ++k) {
    EXPECT_EQ(values.at<float>({0, k}), 2.0f * static_cast<float>(k % 8 - 8));
    EXPECT_EQ(values.at<float>({1, k}), 0.5f * static_cast<float>(k % 8 - 9));
  }
}

// compressed-tensors uses -128, which this library's own rounding does not.
TEST(CompressedTensorsTest, TheWholeRangeOf8BitsIsMultiplied) {
  const Index outs = 3, ins = 256;
  Tensors tensors;
  tensors["w.weight"] = Tensor(std::vector<std::int8_t>(outs * ins, -128), {outs, ins});
  tensors["w.weight_scale"] = Tensor(std::vector<float>(outs, 1.0f), {outs, 1});
  const Weights weights = Weights::from_tensors(std::move(tensors));
  const Linear layer(weights["w"], ins, outs, false);
  weights.finish();
  for (const Index rows : {1, 5, 40}) {
    const Matrix x = Matrix::from(Tensor(std::vector<float>(rows * ins, -3.0f), {rows, ins}));
    const Matrix y = layer(x);
    for (Index r = 0; r < rows; ++r) {
      for (Index o = 0; o < outs; ++o) EXPECT_FLOAT_EQ(y.row(r)[o], 128.0f * 3.0f * ins);
    }
  }
}

TEST(CompressedTensorsTest, AStackedLayerHasTheBitsOfItsParts) {
  const Quantization scheme{.bits = 4, .group_size = 32};
  Tensors tensors = stored(random_quantized(12, 64, scheme), "q");
  tensors.merge(stored(random_quantized(4, 64, scheme), "k"));
  const Weights weights = Weights::from_tensors(std::move(tensors));
  const Linear both({{weights["q"], 12}, {weights["k"], 4}}, 64, false);
  weights.finish();
  EXPECT_EQ(both.weight().dtype(), DType::UInt8);
  const Matrix x = Matrix::from(Tensor(std::vector<float>(64, 0.3f), {1, 64}));
  const Matrix y = both(x), q = Linear(weights["q"], 64, 12, false)(x),
               k = Linear(weights["k"], 64, 4, false)(x);
  for (Index o = 0; o < 16; ++o) EXPECT_EQ(y.row(0)[o], o < 12 ? q.row(0)[o] : k.row(0)[o - 12]);
}

// What `finish` says after a layer [8, 64] was built from the tensors.
std::string fault_of(Tensors tensors) {
  const Weights weights = Weights::from_tensors(std::move(tensors));
  const Linear layer(weights["layer"], 64, 8, false);
  EXPECT_TRUE(layer.empty());
  try {
    weights.finish();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

Tensors four_bits(bool symmetric = true) {
  return stored(random_quantized(8, 64, {.bits = 4, .group_size = 32, .symmetric = symmetric}));
}

TEST(CompressedTensorsTest, TensorsThatDoNotFitEachOtherAreNamed) {
  const auto expect = [](Tensors tensors, std::initializer_list<std::string_view> texts) {
    const std::string found = fault_of(std::move(tensors));
    for (const std::string_view text : texts) {
      EXPECT_NE(found.find(text), std::string::npos) << "no \"" << text << "\" in:\n" << found;
    }
  };
  Tensors t = four_bits();
  t.erase("layer.weight_scale");
  expect(std::move(t), {"layer.weight_scale: missing, expected [8, 1]"});
  t = four_bits();
  t.erase("layer.weight_shape");
  expect(std::move(t), {"layer.weight_shape: missing, expected [2] of int64"});
  t = four_bits();
  t["layer.weight_shape"] = Tensor(std::vector<std::int64_t>{8, 60}, {2});
  expect(std::move(t), {"weight_shape is [8, 60], expected [8, 64]"});
  t = four_bits();
  t["layer.weight_packed"] = Tensor(DType::Int32, {8, 6});
  expect(std::move(t), {"layer.weight_packed: found [8, 6]", "[8, 8] (4 bits)", "3 bits"});
  t = four_bits();
  t["layer.weight_packed"] = Tensor(DType::UInt8, {8, 32});
  expect(std::move(t), {"layer.weight_packed: stored as U8, expected I32"});
  t = four_bits();
  t["layer.weight_scale"] = Tensor(DType::Float32, {8, 4});
  expect(std::move(t), {"4 groups of 16 inputs", "expected groups of 32"});
  t = four_bits();
  t["layer.weight_scale"] = Tensor(DType::Float32, {8, 3});
  expect(std::move(t), {"3 groups of 64 / 3 inputs"});
  t = four_bits();
  t["layer.weight_scale"] = Tensor(DType::Float32, {1});
  expect(std::move(t), {"layer.weight_scale: found [1], expected [8, 1]"});
  t = four_bits(false);
  t["layer.weight_zero_point"] = Tensor(DType::Int32, {2, 2});
  expect(std::move(t), {"layer.weight_zero_point: found [2, 2], expected [1, 2]"});
  t = four_bits();
  t["layer.weight_g_idx"] = Tensor(DType::Int32, {64});
  expect(std::move(t), {"1 tensor", "weight_g_idx", "actorder"});
  t = stored(random_quantized(8, 64, {.bits = 8}));
  t["layer.weight_zero_point"] = Tensor(std::vector<std::int8_t>(8, 3), {8, 1});
  expect(std::move(t), {"weights of 8 bits with zero points"});
  t = stored(random_quantized(8, 64, {.bits = 8}));
  t["layer.weight_scale"] = Tensor(DType::Float32, {8, 2});
  expect(std::move(t), {"2 groups of 32 inputs", "one scale per output"});
  t.clear();
  t["layer.weight"] = Tensor(DType::Int8, {8, 60});
  t["layer.weight_scale"] = Tensor(DType::Float32, {8, 1});
  expect(std::move(t), {"layer.weight: found [8, 60], expected [8, 64]"});
}

TEST(CompressedTensorsTest, Fp8IsRefusedByName) {
  const testing::TemporaryFolder folder;
  const std::string header =
      R"({"layer.weight":{"dtype":"F8_E4M3","shape":[2,4],"data_offsets":[0,8]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  const auto path = folder.write("model.safetensors", file + header + std::string(8, '\1'));
  const Weights weights(Checkpoint::open(path));
  const Linear layer(weights["layer"], 4, 2, false);
  expect_error<CheckpointError>([&] { weights.finish(); }, {"layer.weight: ", "FP8", "F8_E4M3"});
}

TEST(CompressedTensorsTest, PartsThatAreQuantisedDifferentlyAreNamed) {
  for (const bool plain : {false, true}) {
    Tensors tensors = four_bits();
    if (plain) {
      tensors["k.weight"] = Tensor(DType::Float32, {4, 64});
    } else {
      tensors.merge(stored(random_quantized(4, 64, {.bits = 8}), "k"));
    }
    const Weights weights = Weights::from_tensors(std::move(tensors));
    const Linear both({{weights["layer"], 8}, {weights["k"], 4}}, 64, false);
    EXPECT_TRUE(both.empty());
    expect_error<CheckpointError>(
        [&] { weights.finish(); },
        {"layer + k", "quantised alike", "int4-g32", plain ? "some not at all" : "int8"});
  }
}

TEST(CompressedTensorsTest, ACheckpointWithoutDataHasTheSameShapesAndNoFaults) {
  const auto config = InstructBlipConfig::from_pretrained(compressed_folder("asymmetric"));
  const Weights weights(
      Checkpoint::without_data(Checkpoint::open(compressed_folder("asymmetric"))));
  const InstructBlipForConditionalGeneration model(weights, config);
  const WeightsReport report = weights.report();
  EXPECT_TRUE(report.faults.empty()) << report.faults[0];
  EXPECT_TRUE(report.unexpected.empty()) << report.unexpected[0];
}

// A copy of the "symmetric" folder whose quantization_config has `from` replaced.
void expect_refused(const std::string& from, const std::string& to,
                    std::initializer_list<std::string_view> texts) {
  SCOPED_TRACE(to);
  const testing::TemporaryFolder folder;
  std::ifstream stream(compressed_folder("symmetric") / "config.json");
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  const std::size_t place = text.find(from);
  ASSERT_NE(place, std::string::npos);
  folder.write("config.json", text.replace(place, from.size(), to));
  // No tensor is read: there is no file of weights.
  expect_error<ConfigError>(
      [&] { InstructBlipForConditionalGeneration::from_pretrained(folder.path()); }, texts);
}

TEST(CompressedTensorsTest, OtherKindsAreRefusedByNameBeforeTensorsAreRead) {
  const std::string method = R"("quant_method": "compressed-tensors")";
  for (const char* name : {"hqq", "fp8", "aqlm"}) {
    expect_refused(method, R"("quant_method": ")" + std::string(name) + "\"",
                   {"config.json", name, "not supported", "--weights int8"});
  }
  expect_refused(method, R"("bits": 4)", {"no quant_method"});
  expect_refused(R"("type": "int")", R"("type": "float")", {"\"float\" with 8 bits"});
  expect_refused(R"("num_bits": 4)", R"("num_bits": 3)", {"3 bits"});
  expect_refused(R"("format": "pack-quantized")", R"("format": "float-quantized")",
                 {"float-quantized"});
  expect_refused(R"("quantization_status": "compressed")", R"("quantization_status": "frozen")",
                 {"frozen"});
  expect_refused(R"("sparsity_config": {})",
                 R"("sparsity_config": {"format": "sparse-24-bitmask"})", {"sparse-24-bitmask"});
}

TEST(CompressedTensorsTest, QuantisedActivationsAreAWarning) {
  const testing::TemporaryFolder folder;
  std::ifstream stream(compressed_folder("symmetric") / "config.json");
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  const std::string from = R"("input_activations": null)";
  text.replace(text.find(from), from.size(),
               R"("input_activations": {"num_bits": 8, "type": "int", "dynamic": true})");
  folder.write("config.json", text);
  std::filesystem::copy_file(compressed_folder("symmetric") / "model.safetensors",
                             folder.path() / "model.safetensors");
  const testing::LogCapture log;
  InstructBlipForConditionalGeneration::from_pretrained(folder.path());
  ASSERT_EQ(log.messages().size(), 1u);
  EXPECT_TRUE(log.contains("input_activations: not rounded here"));
}

TEST(CompressedTensorsTest, WeightsAreNotQuantisedTwice) {
  expect_error<ConfigError>(
      [] {
        InstructBlipForConditionalGeneration::from_pretrained(
            compressed_folder("symmetric"), {.quantization = quantization_recipe("int8")});
      },
      {"symmetric", "quantised already (compressed-tensors pack-quantized)", "--weights"});
}

}  // namespace
}  // namespace instructblip
