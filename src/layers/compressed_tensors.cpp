#include "instructblip/layers/compressed_tensors.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "layers/form_reader.h"

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

class CompressedReader : FormReader {
 public:
  CompressedReader(const QuantizedForm& form, const Weights& weights, Index outs, Index ins)
      : FormReader(form, weights, outs, ins), is_packed_(weights["weight_packed"].exists()) {}

  QuantizedMatrix read() {
    using Self = CompressedReader;
    return run<Self>(*this, {&Self::check_kind, &Self::read_bits, &Self::read_scales,
                             &Self::read_zero_points, &Self::read_codes, &Self::note_kind});
  }

 private:
  void check_kind() {
    const std::string foreign = foreign_kind(weights_);
    if (!foreign.empty()) fail(foreign);
  }

  void note_kind() {
    note_whole_numbers(matrix_.bits == 4 && weights_["weight_zero_point"].exists());
  }

  void read_bits() {
    matrix_.bits = 8;
    if (!is_packed_) return read_activation_bits();
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
    if (bits == 4) check_inputs_of_4_bits();
    read_activation_bits();
  }

  void read_activation_bits() {
    const auto& rounds = weights_.stored_quantization().rounds_activations;
    if (matrix_.bits == 8 && rounds && rounds(weights_.name())) matrix_.activation_bits = 8;
  }

  void read_scales() {
    const Weights scope = weights_["weight_scale"];
    Index groups = 1;
    if (const CheckpointTensor* stored = scope.stored()) {
      const Shape& shape = stored->shape;
      if (shape.size() == 2 && shape[0] == outs() && shape[1] > 0) groups = shape[1];
    }
    set_groups(groups, form_.scales);
    if (failed_) return;
    const SharedTensor scales = needed(scope.get({outs(), groups}));
    if (scales.data == nullptr) return;
    matrix_.scales = shared(float_copy(scales));
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
    matrix_.zero_points = shared(std::move(values));
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

  bool is_packed_;
};

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

bool is_packed(const Weights& layer) { return layer["weight_packed"].exists(); }

bool is_plain(const Weights& layer) {
  const CheckpointTensor* const weight = layer["weight"].stored();
  return weight != nullptr && (weight->dtype == "I8" || weight->dtype.starts_with("F8"));
}

template <const QuantizedForm& form>
QuantizedMatrix read(const Weights& layer, Index out_features, Index in_features) {
  return CompressedReader(form, layer, out_features, in_features).read();
}

constexpr std::string_view kOthers[] = {"weight", "weight_shape", "weight_zero_point",
                                        "weight_g_idx", "weight_global_scale"};

}  // namespace

const QuantizedForm kPackedCompressedTensors{.method = "compressed-tensors",
                                             .codes = "weight_packed",
                                             .scales = "weight_scale",
                                             .others = kOthers,
                                             .is_stored = is_packed,
                                             .read = read<kPackedCompressedTensors>};
const QuantizedForm kPlainCompressedTensors{.method = "compressed-tensors",
                                            .codes = "weight",
                                            .scales = "weight_scale",
                                            .others = std::span(kOthers).subspan(1),
                                            .is_stored = is_plain,
                                            .read = read<kPlainCompressedTensors>};

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
