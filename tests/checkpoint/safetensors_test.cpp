#include "instructblip/checkpoint/safetensors.h"

#include "instructblip/core/error.h"
#include "support/compare.h"
#include "support/fixtures.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::Fixture;
using testing::TemporaryFolder;

// A file with this header, followed by `data_bytes` zeros.
std::string file_bytes(std::string_view header, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes.append(header).append(data_bytes, '\0');
}

std::string error_of(const std::string& bytes) {
  const TemporaryFolder folder;
  try {
    SafetensorsFile(folder.write("model.safetensors", bytes));
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("model.safetensors"), std::string::npos)
        << error.what();
    return error.what();
  }
  return "no error";
}

void expect_file_refused(const std::string& bytes, std::string_view part) {
  EXPECT_NE(error_of(bytes).find(part), std::string::npos) << error_of(bytes);
}

TEST(SafetensorsTest, ReadsEveryTypeThatTheReferenceWrites) {
  const Fixture fixture("checkpoint/types");
  const std::vector<float> values = {-2.5, -1.5, -0.5, 0.5, 1.5, 2.5};
  testing::expect_equal(fixture["float32"], Tensor(values, {2, 3}));
  EXPECT_EQ(fixture["float16"].dtype(), DType::Float16);
  testing::expect_equal(fixture["float16"].to(DType::Float32), Tensor(values, {2, 3}));
  EXPECT_EQ(fixture["bfloat16"].dtype(), DType::BFloat16);
  testing::expect_equal(fixture["bfloat16"].to(DType::Float32), Tensor(values, {2, 3}));
  testing::expect_equal(fixture["int64"],
                        Tensor(std::vector<std::int64_t>{-1, std::int64_t{1} << 40}, {2}));
  testing::expect_equal(fixture["int32"], Tensor(std::vector<std::int32_t>{-7, 7}, {2, 1}));
  testing::expect_equal(fixture["uint8"], Tensor(std::vector<std::uint8_t>{0, 255}, {2}));
  testing::expect_equal(fixture["bool"], Tensor(std::vector<bool>{true, false, true}, {3}));
  testing::expect_equal(fixture["scalar"], Tensor(std::vector<float>{3.5f}, {}));
  testing::expect_equal(fixture["empty"], Tensor(DType::Float32, {0, 4}));
  EXPECT_EQ(fixture.text("text"), "a dog’s 犬 🐕");
  EXPECT_EQ(fixture.texts("texts"), (std::vector<std::string>{"", "two", "drei ß", ""}));
  EXPECT_EQ(fixture.metadata("made_by"), "safetensors");
}

TEST(SafetensorsTest, AFileThatIsReadHasTheTensorsOfOneThatIsMapped) {
  const std::filesystem::path path = testing::fixtures_folder() / "checkpoint/types.safetensors";
  const SafetensorsFile mapped(path), read(path, false);
  EXPECT_EQ(read.names(), mapped.names());
  EXPECT_EQ(read.metadata(), mapped.metadata());
  for (const auto& [name, entry] : mapped.entries()) {
    if (!dtype_from_safetensors(entry.dtype)) {
      EXPECT_THROW(read.find(name), CheckpointError);
      continue;
    }
    const auto tensor = read.find(name).value();
    testing::expect_equal(tensor, mapped.find(name).value());
    EXPECT_EQ(read.find(name)->data, tensor.data) << "a tensor in use was read again";
  }
}

TEST(SafetensorsTest, AFileThatIsReadMayChangeAfterwards) {
  const TemporaryFolder folder;
  const Tensor ones(std::vector<float>(1000, 1.0f), {1000});
  save_safetensors(folder.path() / "file", {{"first", ones}, {"second", ones}});
  const SafetensorsFile file(folder.path() / "file", false);
  const auto first = file.find("first").value();
  std::filesystem::resize_file(folder.path() / "file", 300);
  testing::expect_equal(first, ones);
  try {
    file.find("second");
    ADD_FAILURE();
  } catch (const CheckpointError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("/file: had "), message.npos) << message;
    EXPECT_NE(message.find("shortened"), message.npos) << message;
  }
}

TEST(SafetensorsTest, AnUnsupportedTypeIsAnErrorOnlyOnAccess) {
  const SafetensorsFile file(testing::fixtures_folder() / "checkpoint/types.safetensors");
  EXPECT_EQ(file.entries().at("float64").dtype, "F64");
  EXPECT_FALSE(file.find("absent"));
  try {
    file.find("float64");
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("float64 is stored as F64"), std::string::npos);
  }
}

TEST(SafetensorsTest, ATensorKeepsItsFileMapped) {
  SharedTensor tensor;
  {
    const SafetensorsFile file(testing::fixtures_folder() / "checkpoint/types.safetensors");
    tensor = file.find("float32").value();
  }
  EXPECT_EQ(static_cast<const float*>(tensor.data)[0], -2.5f);
}

TEST(SafetensorsTest, WhatIsSavedIsReadBack) {
  const TemporaryFolder folder;
  const Tensor bytes(std::vector<std::uint8_t>{1, 2, 3}, {3});
  const Tensor matrix(std::vector<float>{0, 1, 2, 3, 4, 5}, {2, 3});
  TensorView transposed(matrix.raw(), DType::Float32, {3, 2});
  transposed.strides = {1, 3};
  const auto path = folder.path() / "saved.safetensors";
  save_safetensors(path, {{"bytes", bytes}, {"matrix", matrix}, {"transposed", transposed}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  testing::expect_equal(*file.find("bytes"), bytes);
  testing::expect_equal(*file.find("matrix"), matrix);
  testing::expect_equal(*file.find("transposed"),
                        Tensor(std::vector<float>{0, 3, 1, 4, 2, 5}, {3, 2}));
  // Overwriting a mapped file does not change the mapping.
  const SharedTensor mapped = file.find("matrix").value();
  save_safetensors(path, {{"bytes", bytes}});
  testing::expect_equal(mapped, matrix);
  EXPECT_EQ(SafetensorsFile(path).names(), std::vector<std::string>{"bytes"});
}

TEST(SafetensorsTest, SavingRejectsInvalidInput) {
  const TemporaryFolder folder;
  const Tensor one(DType::Float32, {1});
  EXPECT_THROW(save_safetensors(folder.path() / "a", {{"x", one}, {"x", one}}), InputError);
  EXPECT_THROW(save_safetensors(folder.path() / "a", {{"__metadata__", one}}), InputError);
  EXPECT_THROW(save_safetensors(folder.path() / "a", {{"\xff", one}}), InputError);
  EXPECT_THROW(save_safetensors(folder.path() / "absent" / "a", {{"x", one}}), CheckpointError);
}

TEST(SafetensorsTest, AMisalignedTensorIsCopied) {
  const TemporaryFolder folder;
  std::string bytes = file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                 R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                 5);
  const float value = 1.5f;
  std::copy_n(reinterpret_cast<const char*>(&value), 4, bytes.end() - 4);
  const SafetensorsFile file(folder.write("model.safetensors", bytes));
  const SharedTensor tensor = file.find("b").value();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data) % 4, 0u);
  testing::expect_equal(tensor, Tensor(std::vector<float>{value}, {1}));
}

TEST(SafetensorsTest, AnInconsistentHeaderIsAnError) {
  const auto one = [](std::string_view entry) { return "{\"x\":" + std::string(entry) + "}"; };
  expect_file_refused("", "it is empty");
  expect_file_refused("1234567", "truncated");
  expect_file_refused(std::string(8, '\xff'), "not a safetensors file");
  expect_file_refused("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 7\n",
                      "git lfs pull");
  expect_file_refused(file_bytes("{}", 0).substr(0, 9), "truncated");
  expect_file_refused(file_bytes("{", 0), "not valid JSON");
  expect_file_refused(file_bytes("{\"\xff\": 1}", 0), "not valid JSON");
  expect_file_refused(file_bytes("[]", 0), "not a JSON object");
  expect_file_refused(file_bytes(std::string(100000, '['), 0), "nested deeper");
  expect_file_refused(file_bytes("{}", 3), "the file at byte 13");
  expect_file_refused(file_bytes(R"({"__metadata__":3})", 0), "__metadata__");
  expect_file_refused(file_bytes(R"({"__metadata__":{"a":3}})", 0), "not a string");
  expect_file_refused(file_bytes(one("3"), 0), "tensor x");
  expect_file_refused(file_bytes(one("{}"), 0), "lacks \"dtype\"");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})"), 8),
                      "takes 4");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), 3),
                      "outside");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), 4),
                      "outside");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})"), 4),
                      "from 0 to 2^63 - 1, found -4");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), 4),
                      "from 0 to 2^63 - 1, found -1");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})"), 4),
                      "found 1.5");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[18446744073709551615],)"
                                     R"("data_offsets":[0,4]})"),
                                 4),
                      "from 0 to 2^63 - 1, found 18446744073709551615");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[4294967296,4294967297],)"
                                     R"("data_offsets":[0,4]})"),
                                 4),
                      "more elements");
  expect_file_refused(file_bytes(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), 8),
                      "there is a gap between them");
  expect_file_refused(file_bytes(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                 R"("y":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                                 4),
                      "overlap");
  expect_file_refused(file_bytes(R"({"x":{"dtype":"NEW","shape":[9],"data_offsets":[0,4]},)"
                                 R"("y":{"dtype":"NEW","shape":[1],"data_offsets":[2,4]}})",
                                 4),
                      "overlap");
}

TEST(SafetensorsTest, PathsThatAreNotFilesAreErrors) {
  const TemporaryFolder folder;
  EXPECT_THROW(SafetensorsFile{folder.path()}, CheckpointError);
  EXPECT_THROW(SafetensorsFile(folder.path() / "absent.safetensors"), CheckpointError);
}

}  // namespace
}  // namespace instructblip
