// Folders that other programs quantised (tests/reference/foreign_folders.py), and what is refused.
#include "instructblip/layers/quantized_form.h"

#include <fstream>
#include <iterator>
#include <map>
#include <tuple>

#include "instructblip/layers/linear.h"
#include "instructblip/models/modeling_instructblip.h"
#include "layers/quantized_folder.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::expect_error;

std::filesystem::path foreign_folder(const std::string& name) {
  return testing::fixtures_folder() / "foreign" / name;
}

class ForeignFolderTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ForeignFolderTest, GivesTheLogitsOfItsValues) {
  testing::expect_logits_of_quantized_folder(std::string("foreign/") + GetParam(), 1e-4f);
}

INSTANTIATE_TEST_SUITE_P(Folders, ForeignFolderTest,
                         ::testing::Values("int8", "nf4", "fp4", "gptq", "gptq_zeros", "gptq_v2",
                                           "awq"),
                         [](const auto& info) { return std::string(info.param); });

using Tensors = std::map<std::string, Tensor>;

Tensor text_tensor(const std::string& text) {
  return Tensor(std::vector<std::uint8_t>(text.begin(), text.end()),
                {static_cast<Index>(text.size())});
}

std::string state(const std::string& shape, int block) {
  return R"({"quant_type": "nf4", "blocksize": )" + std::to_string(block) +
         R"(, "dtype": "float16", "shape": )" + shape + "}";
}

const std::vector<float> kValues = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

// A layer [outs, ins] of bitsandbytes whose codes count up; the value of code c is c - 8.
Tensors nf4(Index outs, Index ins, int block) {
  const Index count = outs * ins;
  std::vector<std::uint8_t> codes(to_size((count + 1) / 2));
  for (Index i = 0; i < count; ++i) {
    codes[to_size(i / 2)] |= static_cast<std::uint8_t>(i % 16 << (i % 2 == 0 ? 4 : 0));
  }
  std::vector<float> scales(to_size((count + block - 1) / block));
  for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = 0.5f + static_cast<float>(i);
  Tensors tensors;
  const auto bytes = static_cast<Index>(codes.size()), blocks = static_cast<Index>(scales.size());
  tensors["w.weight"] = Tensor(codes, {bytes, 1});
  tensors["w.weight.absmax"] = Tensor(scales, {blocks});
  tensors["w.weight.quant_map"] = Tensor(kValues, {16});
  const std::string shape = "[" + std::to_string(outs) + ", " + std::to_string(ins) + "]";
  tensors["w.weight.quant_state.bitsandbytes__nf4"] = text_tensor(state(shape, block));
  return tensors;
}

Weights weights_of(Tensors tensors, const std::string& stored = "") {
  return Weights(Checkpoint::from_tensors(std::move(tensors)), {.stored_quantization = stored});
}

TEST(BitsAndBytesTest, BlocksRunOverTheFlattenedMatrix) {
  for (const auto& [outs, ins, block] :
       {std::tuple{Index{4}, Index{128}, 64}, std::tuple{Index{6}, Index{96}, 64},
        std::tuple{Index{5}, Index{7}, 8}, std::tuple{Index{3}, Index{20}, 64},
        std::tuple{Index{3}, Index{9}, 4096}}) {
    SCOPED_TRACE(std::to_string(outs) + " x " + std::to_string(ins));
    const Weights weights = weights_of(nf4(outs, ins, block));
    const auto matrix = quantized_matrix(weights["w"], outs, ins);
    weights.finish();
    ASSERT_TRUE(matrix && matrix->codes.data != nullptr);
    const Tensor values = dequantize(*matrix);
    for (Index i = 0; i < outs * ins; ++i) {
      const float scale = 0.5f + static_cast<float>(i / block);
      EXPECT_EQ(values.data<float>()[i], scale * static_cast<float>(i % 16 - 8)) << i;
    }
    EXPECT_EQ(to_string(weights.quantized_matrices().at("w.weight")),
              "nf4-g" + std::to_string(block));
    const Linear layer(weights["w"], ins, outs, false);
    EXPECT_EQ(layer.weight().dtype(), DType::UInt8);
  }
}

TEST(BitsAndBytesTest, ScalesMayBeQuantisedThemselves) {
  Tensors tensors = nf4(8, 64, 64);
  tensors["w.weight.absmax"] = Tensor(std::vector<std::uint8_t>{0, 1, 2, 3, 255, 4, 5, 6}, {8});
  std::vector<float> map(256);
  for (std::size_t i = 0; i < map.size(); ++i) map[i] = static_cast<float>(i) / 255;
  tensors["w.weight.nested_quant_map"] = Tensor(map, {256});
  tensors["w.weight.nested_absmax"] = Tensor(std::vector<float>{0.25f, 0.5f}, {2});
  tensors["w.weight.quant_state.bitsandbytes__nf4"] = text_tensor(
      R"({"quant_type": "nf4", "blocksize": 64, "shape": [8, 64], "nested_blocksize": 4, )"
      R"("nested_offset": 0.125})");
  const Weights weights = weights_of(std::move(tensors));
  const auto matrix = quantized_matrix(weights["w"], 8, 64);
  weights.finish();
  const auto* const scales = static_cast<const float*>(matrix->scales.data);
  EXPECT_EQ(scales[1], map[1] * 0.25f + 0.125f);
  EXPECT_EQ(scales[4], 0.625f);
  EXPECT_EQ(scales[7], map[6] * 0.5f + 0.125f);
}

TEST(BitsAndBytesTest, TheBytesMayBeStoredAsAnotherType) {
  Tensors tensors = nf4(2, 64, 64);
  const Tensor bytes = std::move(tensors["w.weight"]);
  const TensorView pairs(bytes.raw(), DType::BFloat16, {32, 1});
  tensors["w.weight"] = Tensor::copy_of(pairs);
  const Weights weights = weights_of(std::move(tensors));
  const auto matrix = quantized_matrix(weights["w"], 2, 64);
  weights.finish();
  EXPECT_EQ(dequantize(*matrix).at<float>({0, 3}), 0.5f * -5.0f);
}

TEST(BitsAndBytesTest, TheScaleOf8BitsStandsFor127) {
  Tensors tensors;
  tensors["w.weight"] = Tensor(std::vector<std::int8_t>{127, -128, 0, 1, 2, 3}, {2, 3});
  tensors["w.SCB"] = Tensor(std::vector<float>{254.0f, 12.7f}, {2});
  tensors["w.weight_format"] = Tensor(std::vector<std::uint8_t>{0}, Shape{});
  const Weights weights = weights_of(std::move(tensors));
  const Linear layer(weights["w"], 3, 2, false);
  weights.finish();
  const Matrix y = layer(Matrix::from(Tensor(std::vector<float>{1, 2, 0}, {1, 3})));
  EXPECT_FLOAT_EQ(y.row(0)[0], 254.0f - 512.0f);
  EXPECT_FLOAT_EQ(y.row(0)[1], 0.1f * 5.0f);
}

// [in / 8 or out / 8, ...] words whose 8 codes are given by `code(row, column, place)`.
template <class Code>
Tensor words(Index rows, Index columns, const Code& code) {
  Tensor tensor(DType::Int32, {rows, columns});
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < columns; ++c) {
      std::uint32_t word = 0;
      for (Index p = 0; p < 8; ++p) word |= static_cast<std::uint32_t>(code(r, c, p)) << (4 * p);
      tensor.at<std::int32_t>({r, c}) = static_cast<std::int32_t>(word);
    }
  }
  return tensor;
}

// A layer [16, 64] with groups of 32 inputs. The code of input i and output o is (i + 3 * o) % 16.
Tensors gptq(int zero = 5) {
  Tensors tensors;
  tensors["w.qweight"] =
      words(8, 16, [](Index r, Index c, Index p) { return (8 * r + p + 3 * c) % 16; });
  tensors["w.qzeros"] = words(2, 2, [&](Index, Index, Index) { return zero; });
  tensors["w.scales"] = Tensor(std::vector<float>(32, 0.5f), {2, 16}).to(DType::Float16);
  Tensor order(DType::Int32, {64});
  for (int i = 0; i < 64; ++i) order.data<std::int32_t>()[i] = i / 32;
  tensors["w.g_idx"] = std::move(order);
  return tensors;
}

Tensors awq() {
  const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  Tensors tensors;
  tensors["w.qweight"] =
      words(64, 2, [&](Index r, Index c, Index p) { return (r + 3 * (8 * c + order[p])) % 16; });
  tensors["w.qzeros"] = words(2, 2, [&](Index, Index c, Index p) { return 8 * c + order[p]; });
  tensors["w.scales"] = Tensor(std::vector<float>(32, 0.5f), {2, 16}).to(DType::Float16);
  return tensors;
}

Tensor values_of(Tensors tensors, const std::string& stored = "") {
  const Weights weights = weights_of(std::move(tensors), stored);
  const auto matrix = quantized_matrix(weights["w"], 16, 64);
  weights.finish();
  return dequantize(*matrix);
}

TEST(GptqTest, TheZeroPointIsOneMoreThanStoredAnd15StandsFor0) {
  for (const auto& [stored, zero, format] :
       {std::tuple{5, 6, ""}, std::tuple{7, 8, "gptq"}, std::tuple{15, 0, "gptq"},
        std::tuple{5, 5, "gptq_v2"}, std::tuple{15, 15, "gptq_v2"}}) {
    const Tensor values = values_of(gptq(stored), format);
    for (Index o = 0; o < 16; ++o) {
      for (Index i = 0; i < 64; ++i) {
        const auto code = static_cast<float>((i + 3 * o) % 16 - zero);
        ASSERT_EQ(values.at<float>({o, i}), 0.5f * code);
      }
    }
  }
}

TEST(AwqTest, OutputsStandInTheOrderOfTheirKernels) {
  for (const char* stored : {"", "awq gemm"}) {
    const Tensor values = values_of(awq(), stored);
    for (Index o = 0; o < 16; ++o) {
      for (Index i = 0; i < 64; ++i) {
        const auto code = static_cast<float>((i + 3 * o) % 16 - o);
        ASSERT_EQ(values.at<float>({o, i}), 0.5f * code);
      }
    }
  }
}

// What `finish` says after a layer [outs, ins] was built from the tensors.
void expect_fault(Tensors tensors, const std::string& stored, Index outs, Index ins,
                  std::initializer_list<std::string_view> texts) {
  const Weights weights = weights_of(std::move(tensors), stored);
  const Linear layer(weights["w"], ins, outs, false);
  EXPECT_TRUE(layer.empty());
  expect_error<CheckpointError>([&] { weights.finish(); }, texts);
}

TEST(BitsAndBytesTest, TensorsThatDoNotFitAreNamed) {
  const auto expect = [](Tensors tensors, std::initializer_list<std::string_view> texts) {
    expect_fault(std::move(tensors), "bitsandbytes nf4", 4, 128, texts);
  };
  const std::string key = "w.weight.quant_state.bitsandbytes__nf4";
  Tensors t = nf4(4, 128, 64);
  t.erase("w.weight.absmax");
  expect(std::move(t), {"w.weight.absmax: missing, expected [8]"});
  t = nf4(4, 128, 64);
  t.erase("w.weight.quant_map");
  expect(std::move(t), {"w.weight.quant_map: missing, expected [16]"});
  t = nf4(4, 128, 64);
  t.erase(key);
  expect(std::move(t), {"1 tensor", "bitsandbytes__nf4 (or __fp4) is missing"});
  t = nf4(4, 128, 64);
  t["w.weight.quant_state.bitsandbytes__fp4"] = text_tensor("{}");
  expect(std::move(t), {"both nf4 and fp4"});
  t = nf4(4, 128, 64);
  t[key] = text_tensor(state("[4, 128]", 0));
  expect(std::move(t), {"blocksize", "found 0"});
  t[key] = text_tensor(state("[128, 4]", 64));
  t.merge(nf4(4, 128, 64));
  expect(std::move(t), {"\"shape\": expected [4, 128]"});
  t = nf4(4, 128, 64);
  t[key] = text_tensor(R"({"quant_type": "nf4", "blocksi)");
  expect(std::move(t), {"quant_state.bitsandbytes__nf4"});
  t = nf4(4, 128, 64);
  t[key] = text_tensor(R"({"quant_type": "fp4", "blocksize": 64, "shape": [4, 128]})");
  expect(std::move(t), {"quant_type", "expected \"nf4\", found \"fp4\""});
  t = nf4(4, 128, 64);
  t[key] = text_tensor(state("[4, 128]", 32));
  expect(std::move(t), {"w.weight.absmax: found [8], expected [16]"});
  t = nf4(4, 128, 64);
  t["w.weight"] = Tensor(DType::UInt8, {255, 1});
  expect(std::move(t), {"w.weight: found [255, 1], expected [256, 1]"});
  t = nf4(4, 128, 64);
  t["w.weight.nested_absmax"] = Tensor(DType::Float32, {1});
  expect(std::move(t), {"nested_blocksize"});
  t.clear();
  t["w.weight"] = Tensor(DType::UInt8, {256, 1});
  expect(std::move(t), {"bitsandbytes__nf4 (or __fp4) is missing"});
  t.clear();
  t["w.weight"] = Tensor(DType::Int8, {4, 128});
  expect(std::move(t), {"w.SCB: missing, expected [4]"});
  t.clear();
  t["w.weight"] = Tensor(DType::Int8, {4, 128});
  t["w.SCB"] = Tensor(DType::Float32, {4});
  t["w.weight_format"] = Tensor(std::vector<std::uint8_t>{2}, Shape{});
  expect(std::move(t), {"weight_format is 2", "expected 0"});
}

TEST(GptqTest, TensorsThatDoNotFitAreNamed) {
  const auto expect = [](Tensors tensors, std::initializer_list<std::string_view> texts) {
    expect_fault(std::move(tensors), "gptq", 16, 64, texts);
  };
  Tensors t = gptq();
  t["w.g_idx"].data<std::int32_t>()[3] = 1;
  expect(std::move(t), {"w.qweight", "g_idx has 1 for input 3", "\"desc_act\": false"});
  t = gptq();
  t["w.g_idx"].data<std::int32_t>()[0] = -1;
  expect(std::move(t), {"g_idx has -1 for input 0"});
  t = gptq();
  t["w.qweight"] = Tensor(DType::Int32, {16, 16});
  expect(std::move(t), {"weights of 8 bits", "GPTQ"});
  t = gptq();
  t["w.qweight"] = Tensor(DType::Int32, {7, 16});
  expect(std::move(t), {"w.qweight: found [7, 16], expected [8, 16]"});
  t = gptq();
  t.erase("w.qzeros");
  expect(std::move(t), {"w.qzeros: missing, expected [2, 2]"});
  t = gptq();
  t.erase("w.scales");
  expect(std::move(t), {"w.scales: missing"});
  t = gptq();
  t["w.scales"] = Tensor(DType::Float32, {4, 16});
  expect(std::move(t), {"4 groups of 16 inputs (scales)"});
  expect_fault(awq(), "awq gemm", 16, 48, {"multiple of 32 inputs"});
  expect_fault(awq(), "awq gemm", 24, 64, {"w.scales: found [2, 16], expected [1, 24]"});
}

TEST(QuantizedFormTest, PartsOfDifferentFormsAreNamed) {
  Tensors tensors = nf4(16, 64, 64);
  for (auto& [name, tensor] : gptq()) tensors["q" + name.substr(1)] = std::move(tensor);
  const Weights weights = weights_of(std::move(tensors));
  const Linear both({{weights["w"], 16}, {weights["q"], 16}}, 64, false);
  EXPECT_TRUE(both.empty());
  expect_error<CheckpointError>([&] { weights.finish(); },
                                {"w + q", "quantised alike", "nf4-g64", "int4-g32-zero"});
}

TEST(QuantizedFormTest, ACheckpointWithoutDataHasTheSameShapesAndNoFaults) {
  for (const char* name : {"int8", "nf4", "fp4", "gptq", "awq"}) {
    SCOPED_TRACE(name);
    const auto config = InstructBlipConfig::from_pretrained(foreign_folder(name));
    const Weights weights(Checkpoint::without_data(Checkpoint::open(foreign_folder(name))));
    const InstructBlipForConditionalGeneration model(weights, config);
    const WeightsReport report = weights.report();
    EXPECT_TRUE(report.faults.empty()) << report.faults[0];
    EXPECT_TRUE(report.unexpected.empty()) << report.unexpected[0];
  }
}

// A copy of a folder without weights whose quantization_config has `from` replaced.
void expect_refused(const char* name, const std::string& from, const std::string& to,
                    std::initializer_list<std::string_view> texts) {
  SCOPED_TRACE(to);
  const testing::TemporaryFolder folder;
  std::ifstream stream(foreign_folder(name) / "config.json");
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  const std::size_t place = text.find(from);
  ASSERT_NE(place, std::string::npos);
  folder.write("config.json", text.replace(place, from.size(), to));
  expect_error<ConfigError>(
      [&] { InstructBlipForConditionalGeneration::from_pretrained(folder.path()); }, texts);
}

TEST(QuantizedFormTest, OtherVariantsAreRefusedByNameBeforeTensorsAreRead) {
  expect_refused("nf4", R"("bnb_4bit_quant_type": "nf4")", R"("bnb_4bit_quant_type": "int4")",
                 {"config.json", "\"int4\" of bitsandbytes", "--weights int8"});
  expect_refused("nf4", R"("load_in_4bit": true)", R"("load_in_4bit": false)",
                 {"neither load_in_8bit nor load_in_4bit"});
  expect_refused("gptq", R"("bits": 4)", R"("bits": 8)", {"8 bits (GPTQ)", "--weights int8"});
  expect_refused("gptq", R"("group_size": 128)", R"("group_size": 16)",
                 {"groups of 16 inputs (GPTQ", "1024"});
  expect_refused("gptq", R"("checkpoint_format": "gptq")", R"("checkpoint_format": "marlin")",
                 {"\"marlin\" of GPTQ"});
  expect_refused("awq", R"("version": "gemm")", R"("version": "GEMV")", {"\"gemv\" of AWQ"});
  expect_refused("awq", R"("zero_point": true)", R"("zero_point": false)", {"no zero points"});
  expect_refused("awq", R"("bits": 4,)", "", {"\"quantization_config\"", "\"bits\" is missing"});
}

TEST(QuantizedFormTest, WeightsAreNotQuantisedTwice) {
  expect_error<ConfigError>(
      [] {
        InstructBlipForConditionalGeneration::from_pretrained(
            foreign_folder("nf4"), {.quantization = quantization_recipe("int8")});
      },
      {"nf4", "quantised already (bitsandbytes nf4)", "--weights"});
}

}  // namespace
}  // namespace instructblip
