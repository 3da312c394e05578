#include "instructblip/layers/compressed_tensors.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "instructblip/layers/float_copy.h"

namespace instructblip {
namespace {

Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

// int32 words for `count` codes.
Index words_for(Index count, int bits) { return ceil_div(count * bits, 32); }

// What makes the weight one of another kind, as text; empty if nothing does.
std::string foreign_kind(const Weights& weights) {
  const CheckpointTensor* const packed = weights["weight_packed"].stored();
  const CheckpointTensor* const weight = weights["weight"].stored();
  const std::string& type = packed != nullptr ? packed->dtype : weight->dtype;
  const std::string advice =
      "; load the checkpoint that this one was made from, or one whose "
      "weights are whole numbers of 8 or 4 bits";
  if (weights["weight_g_idx"].exists()) {
    return "its inputs are in another order (weight_g_idx, \"actorder\": \"group\"), which is not "
           "supported" +
           advice;
  }
  if (weights["weight_global_scale"].exists()) {
    return "4-bit floating point (NVFP4, weight_global_scale) is not supported" + advice;
  }
  if (type.starts_with("F8")) {
    return "8-bit floating point (FP8, stored as " + type + ") is not supported" + advice;
  }
  if (type == (packed != nullptr ? "I32" : "I8")) return "";
  return "stored as " + type + ", expected " + (packed != nullptr ? "I32" : "I8") + advice;
}

// Reads the tensors of one layer and checks them against each other.
class CompressedReader {
 public:
  CompressedReader(const Weights& weights, Index outs, Index ins)
      : weights_(weights), is_packed_(weights["weight_packed"].exists()) {
    matrix_.out_features = outs;
    matrix_.in_features = ins;
  }

  QuantizedMatrix read() {
    const std::string foreign = foreign_kind(weights_);
    if (!foreign.empty()) {
      fail(foreign);
      return matrix_;
    }
    read_bits();
    if (!failed_) read_scales();
    if (!failed_) read_zero_points();
    if (!failed_) read_codes();
    if (!failed_) {
      const bool has_zeros = matrix_.bits == 4 && weights_["weight_zero_point"].exists();
      weights_["weight"].note_quantized(
          {.bits = matrix_.bits, .group_size = matrix_.group_size, .symmetric = !has_zeros});
    }
    if (failed_ || !complete_) matrix_.codes = {};
    return matrix_;
  }

 private:
  Index outs() const { return matrix_.out_features; }
  Index ins() const { return matrix_.in_features; }

  void fail(const std::string& what) {
    weights_[is_packed_ ? "weight_packed" : "weight"].fault(what);
    failed_ = true;
    // They would otherwise be listed as unknown besides.
    for (const char* name : {"weight", "weight_packed", "weight_scale", "weight_zero_point",
                             "weight_shape", "weight_g_idx", "weight_global_scale"}) {
      weights_[name].ignore();
    }
  }

  SharedTensor needed(SharedTensor tensor) {
    complete_ &= tensor.data != nullptr;
    return tensor;
  }

  void read_bits() {
    matrix_.bits = 8;
    if (!is_packed_) return;
    const Shape& shape = weights_["weight_packed"].stored()->shape;
    int bits = 0;
    for (const int candidate : {4, 8, 1, 2, 3, 5, 6, 7}) {
      if (bits == 0 && shape == Shape{outs(), words_for(ins(), candidate)}) bits = candidate;
    }
    if (bits != 4 && bits != 8) {
      return fail(
          "found " + to_string(shape) + ", expected " +
          to_string(Shape{outs(), words_for(ins(), 4)}) + " (4 bits) or " +
          to_string(Shape{outs(), words_for(ins(), 8)}) + " (8 bits)" +
          (bits == 0 ? "" : "; weights of " + std::to_string(bits) + " bits are not supported"));
    }
    matrix_.bits = bits;
    if (bits == 4 && ins() % 32 != 0) {
      fail("weights of 4 bits need a multiple of 32 inputs, and the layer has " +
           std::to_string(ins()));
    }
  }

  void read_scales() {
    const Weights scope = weights_["weight_scale"];
    Index groups = 1;
    if (const CheckpointTensor* stored = scope.stored()) {
      const Shape& shape = stored->shape;
      if (shape.size() == 2 && shape[0] == outs() && shape[1] > 0) groups = shape[1];
    }
    if (groups > 1) {
      const Index size = ins() / groups;
      const bool fits = ins() % groups == 0 && size >= 32 && size <= 1024 &&
                        std::has_single_bit(static_cast<std::size_t>(size));
      if (matrix_.bits == 8 || !fits) {
        return fail(std::to_string(groups) + " groups of " +
                    (ins() % groups == 0 ? std::to_string(size)
                                         : std::to_string(ins()) + " / " + std::to_string(groups)) +
                    " inputs (weight_scale), expected " +
                    (matrix_.bits == 8 ? "one scale per output, as the weights have 8 bits"
                                       : "groups of 32, 64, 128, 256, 512 or 1024 inputs, or one "
                                         "scale per output"));
      }
      matrix_.group_size = size;
    }
    const SharedTensor scales = needed(scope.get({outs(), groups}));
    if (scales.data == nullptr) return;
    auto values = std::make_shared<const Tensor>(float_copy(scales));
    matrix_.scales = SharedTensor(values->view(), values);
  }

  // [out, groups], each in the middle of the range if it is 0.
  void read_zero_points() {
    const Weights scope = weights_["weight_zero_point"];
    if (!scope.exists()) return;
    const Index groups = matrix_.groups();
    const bool packed = scope.stored()->dtype == "I32";
    const Shape shape{packed ? words_for(outs(), matrix_.bits) : outs(), groups};
    const SharedTensor stored = needed(scope.get(shape, {DType::Int32, DType::Int8}));
    if (stored.data == nullptr) return;
    const int bits = matrix_.bits, middle = 1 << (bits - 1), mask = (1 << bits) - 1;
    Tensor values(DType::UInt8, {outs(), groups});
    bool all_in_the_middle = true;
    for (Index o = 0; o < outs(); ++o) {
      for (Index g = 0; g < groups; ++g) {
        int value = 0;
        if (packed) {
          const Index per_word = 32 / bits;
          const auto word = static_cast<std::uint32_t>(
              static_cast<const std::int32_t*>(stored.data)[o / per_word * groups + g]);
          value = static_cast<int>(word >> (o % per_word * bits)) & mask;
        } else {
          value = static_cast<const std::int8_t*>(stored.data)[o * groups + g] + middle;
        }
        if (value < 0 || value > mask) {
          return fail("weight_zero_point has " + std::to_string(value - middle) +
                      ", outside the range of " + std::to_string(bits) + " bits");
        }
        all_in_the_middle &= value == middle;
        values.data<std::uint8_t>()[o * groups + g] = static_cast<std::uint8_t>(value);
      }
    }
    if (bits == 8) {
      if (!all_in_the_middle) {
        fail(
            "weights of 8 bits with zero points (weight_zero_point) are not supported; save them "
            "with \"symmetric\": true");
      }
      return;
    }
    auto shared = std::make_shared<const Tensor>(std::move(values));
    matrix_.zero_points = SharedTensor(shared->view(), shared);
  }

  void read_codes() {
    if (!is_packed_) {
      matrix_.codes = weights_["weight"].get({outs(), ins()}, {DType::Int8});
      return;
    }
    const Index words = words_for(ins(), matrix_.bits);
    const SharedTensor packed = weights_["weight_packed"].get({outs(), words}, {DType::Int32});
    const SharedTensor shape =
        needed(weights_["weight_shape"].get({2}, {DType::Int64, DType::Int32}));
    if (shape.data != nullptr) {
      const Tensor said = Tensor::copy_of(shape).to(DType::Int64);
      if (said.at<std::int64_t>({0}) != outs() || said.at<std::int64_t>({1}) != ins()) {
        return fail("weight_shape is " +
                    to_string(Shape{said.at<std::int64_t>({0}), said.at<std::int64_t>({1})}) +
                    ", expected " + to_string(Shape{outs(), ins()}));
      }
    }
    if (packed.data == nullptr || !complete_) return;
    if (matrix_.bits == 4) {
      // The same bytes: the low half first.
      matrix_.codes =
          SharedTensor(TensorView(packed.data, DType::UInt8, {outs(), ins() / 2}), packed.owner);
      return;
    }
    auto codes = std::make_shared<Tensor>(Tensor::uninitialized(DType::Int8, {outs(), ins()}));
    auto* to = static_cast<std::uint8_t*>(codes->raw());
    const auto* from = static_cast<const std::uint8_t*>(packed.data);
    for (Index o = 0; o < outs(); ++o, from += words * 4, to += ins()) {
      std::transform(from, from + ins(), to,
                     [](std::uint8_t code) { return static_cast<std::uint8_t>(code ^ 0x80u); });
    }
    matrix_.codes = SharedTensor(codes->view(), codes);
  }

  Weights weights_;
  bool is_packed_;
  bool failed_ = false;   // a fault was recorded, and the other tensors mean nothing
  bool complete_ = true;  // no tensor lacks data
  QuantizedMatrix matrix_;
};

std::string described(const QuantizedMatrix& matrix) {
  return to_string(Quantization{.bits = matrix.bits,
                                .group_size = matrix.group_size,
                                .symmetric = !matrix.zero_points.has_value()});
}

Tensor packed_zero_points(const QuantizedMatrix& matrix) {
  const Index groups = matrix.groups();
  Tensor packed(DType::Int32, {ceil_div(matrix.out_features, 8), groups});
  const auto* zeros = static_cast<const std::uint8_t*>(matrix.zero_points.data);
  for (Index o = 0; o < matrix.out_features; ++o) {
    for (Index g = 0; g < groups; ++g) {
      std::int32_t& word = packed.data<std::int32_t>()[o / 8 * groups + g];
      word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) |
                                       std::uint32_t{zeros[o * groups + g]} << (o % 8 * 4));
    }
  }
  return packed;
}

}  // namespace

bool is_compressed(const Weights& weights) {
  if (weights["weight_packed"].exists()) return true;
  const CheckpointTensor* const weight = weights["weight"].stored();
  return weight != nullptr && (weight->dtype == "I8" || weight->dtype.starts_with("F8"));
}

std::optional<QuantizedMatrix> compressed_matrix(const Weights& weights, Index out_features,
                                                 Index in_features) {
  if (!is_compressed(weights)) return std::nullopt;
  return CompressedReader(weights, out_features, in_features).read();
}

bool are_quantized_alike(std::span<const QuantizedMatrix> matrices, std::size_t count,
                         const Weights& first, const std::string& names) {
  const auto has_no_data = [](const QuantizedMatrix& matrix) {
    return matrix.codes.data == nullptr || matrix.scales.data == nullptr;
  };
  if (matrices.size() == count && std::any_of(matrices.begin(), matrices.end(), has_no_data)) {
    return false;  // noted, or a checkpoint without data
  }
  std::string found = described(matrices[0]);
  bool alike = true;
  for (const QuantizedMatrix& matrix : matrices.subspan(1)) {
    alike &= described(matrix) == described(matrices[0]);
    found += ", " + described(matrix);
  }
  if (matrices.size() == count && alike) return true;
  if (matrices.size() < count) found += ", and some not at all";
  first.fault("the layers " + names +
              " are multiplied together and must be quantised alike; found " + found);
  return false;
}

std::vector<std::pair<std::string, Tensor>> to_compressed_tensors(const QuantizedMatrix& matrix) {
  const Index outs = matrix.out_features, ins = matrix.in_features;
  std::vector<std::pair<std::string, Tensor>> tensors;
  if (matrix.bits == 8) {
    tensors.emplace_back("weight", Tensor::copy_of(matrix.codes));
  } else {
    // The same bytes, as the number of inputs is a multiple of 32.
    const TensorView words(matrix.codes.data, DType::Int32, {outs, ins / 8});
    tensors.emplace_back("weight_packed", Tensor::copy_of(words));
    tensors.emplace_back("weight_shape", Tensor(std::vector<std::int64_t>{outs, ins}, Shape{2}));
  }
  const Tensor scales = Tensor::copy_of(matrix.scales);
  Tensor rounded = scales.to(DType::BFloat16);
  const bool is_exact = same_elements(rounded.view(), scales.view());
  tensors.emplace_back("weight_scale", is_exact ? std::move(rounded) : scales);
  if (matrix.zero_points.data != nullptr) {
    tensors.emplace_back("weight_zero_point", packed_zero_points(matrix));
  }
  return tensors;
}

}  // namespace instructblip
