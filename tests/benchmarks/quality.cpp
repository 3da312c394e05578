// What rounding weights costs, for compare_quality.py:
//   instructblip_quality perplexity FOLDER IDS WEIGHTS [DTYPE]
//       of a language model's folder, over the rows of `input_ids` in the safetensors file IDS
//   instructblip_quality layer FILE WEIGHTS
//       the error of `inputs` times the transposed `weight`, relative to `expected`, all float32
// WEIGHTS names a scheme as in --weights (language=...), DTYPE is float32 (default) or bfloat16.
#include <cmath>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

#include "instructblip/instructblip.h"

namespace {

using namespace instructblip;

SharedTensor tensor(const SafetensorsFile& file, const std::string& name, DType dtype) {
  const std::optional<SharedTensor> found = file.find(name);
  if (!found || found->dtype != dtype || found->rank() != 2 || found->size() == 0) {
    throw InputError(file.path().string() + ": expected a tensor " + name + " of type " +
                     std::string(name_of(dtype)) + " with two dimensions");
  }
  return *found;
}

double perplexity(const std::string& folder, const std::string& ids, const std::string& weights,
                  DType dtype) {
  const SharedTensor input_ids = tensor(SafetensorsFile(ids), "input_ids", DType::Int64);
  const auto model = AutoLanguageModel::from_pretrained(
      folder, {.dtype = dtype, .quantization = quantization_recipe(weights)});
  double loss = 0;
  for (Index row = 0; row < input_ids.dim(0); ++row) {
    const TensorView one = input_ids.narrow(0, row, 1);
    loss += model->forward({.input_ids = one, .labels = one}).loss.value();
  }
  return std::exp(loss / static_cast<double>(input_ids.dim(0)));
}

double layer_error(const std::string& path, const std::string& weights) {
  const SafetensorsFile file(path);
  const SharedTensor expected = tensor(file, "expected", DType::Float32);
  const Matrix inputs = Matrix::from(tensor(file, "inputs", DType::Float32));
  const PreparedMatrix weight =
      PreparedMatrix::prepare(tensor(file, "weight", DType::Float32),
                              {.quantization = quantization_recipe(weights).language_model});
  Matrix found(inputs.rows(), weight.out_features());
  matmul(inputs, weight, found);
  const Matrix wanted = Matrix::from(expected);
  double error = 0, size = 0;
  for (Index row = 0; row < wanted.rows(); ++row) {
    for (Index col = 0; col < wanted.cols(); ++col) {
      const double value = wanted.row(row)[col];
      error += std::pow(found.row(row)[col] - value, 2);
      size += value * value;
    }
  }
  return std::sqrt(error / size);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  std::cout << std::setprecision(9);
  try {
    if (arguments.size() >= 4 && arguments.size() <= 5 && arguments[0] == "perplexity") {
      const bool is_bfloat16 = arguments.size() == 5 && arguments[4] == "bfloat16";
      std::cout << perplexity(arguments[1], arguments[2], arguments[3],
                              is_bfloat16 ? DType::BFloat16 : DType::Float32)
                << '\n';
    } else if (arguments.size() == 3 && arguments[0] == "layer") {
      std::cout << layer_error(arguments[1], arguments[2]) << '\n';
    } else {
      std::cerr << "usage: instructblip_quality perplexity FOLDER IDS WEIGHTS [DTYPE]\n"
                   "       instructblip_quality layer FILE WEIGHTS\n";
      return 2;
    }
  } catch (const Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
