// What the readers of quantised layers share.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "instructblip/layers/float_copy.h"
#include "instructblip/layers/quantized_form.h"

namespace instructblip {

extern const QuantizedForm kPackedCompressedTensors, kPlainCompressedTensors;
extern const QuantizedForm kBitsAndBytes8Bits, kBitsAndBytes4Bits;
extern const QuantizedForm kGptq, kAwq;

// Reads the tensors of one layer and checks them against each other.
class FormReader {
 public:
  FormReader(const QuantizedForm& form, const Weights& weights, Index outs, Index ins)
      : weights_(weights), form_(form) {
    matrix_.out_features = outs;
    matrix_.in_features = ins;
  }

 protected:
  Index outs() const { return matrix_.out_features; }
  Index ins() const { return matrix_.in_features; }

  // Records a fault, after which the other tensors mean nothing.
  void fail(const std::string& what) {
    weights_[form_.codes].fault(what);
    failed_ = true;
    // They would otherwise be listed as unknown besides.
    weights_[form_.codes].ignore();
    weights_[form_.scales].ignore();
    for (const std::string_view name : form_.others) weights_[name].ignore();
  }

  SharedTensor needed(SharedTensor tensor) {
    complete_ &= tensor.data != nullptr;
    return tensor;
  }

  // Runs the steps of a reader, members without arguments, until one fails.
  template <class Reader>
  QuantizedMatrix run(Reader& reader, std::initializer_list<void (Reader::*)()> steps) {
    for (const auto step : steps) {
      if (!failed_) (reader.*step)();
    }
    if (failed_ || !complete_) matrix_.codes = {};
    return matrix_;
  }

  void note(const Quantization& quantization) { weights_["weight"].note_quantized(quantization); }
  // The quantisation that the matrix and its tensors have; `has_zeros`: zero points, also in a
  // checkpoint without data.
  void note_whole_numbers(bool has_zeros) {
    note({.bits = matrix_.bits,
          .group_size = matrix_.group_size,
          .symmetric = !has_zeros,
          .activation_bits = matrix_.activation_bits});
  }

  static SharedTensor shared(Tensor tensor) {
    auto owner = std::make_shared<const Tensor>(std::move(tensor));
    return SharedTensor(owner->view(), owner);
  }

  void check_inputs_of_4_bits() {
    if (ins() % 32 != 0) {
      fail("weights of 4 bits need a multiple of 32 inputs, and the layer has " +
           std::to_string(ins()));
    }
  }

  // Sets the group size from the number of groups, which the shape of `scales` says.
  void set_groups(Index groups, std::string_view scales) {
    if (groups <= 1) return;
    const Index size = ins() / groups;
    const bool fits = ins() % groups == 0 && size >= 32 && size <= 1024 &&
                      std::has_single_bit(static_cast<std::size_t>(size));
    if (matrix_.bits == 4 && fits) {
      matrix_.group_size = size;
      return;
    }
    fail(std::to_string(groups) + " groups of " +
         (ins() % groups == 0 ? std::to_string(size)
                              : std::to_string(ins()) + " / " + std::to_string(groups)) +
         " inputs (" + std::string(scales) + "), expected " +
         (matrix_.bits == 8 ? "one scale per output, as the weights have 8 bits"
                            : "groups of 32, 64, 128, 256, 512 or 1024 inputs, or one scale per "
                              "output"));
  }

  const Weights weights_;
  const QuantizedForm& form_;
  QuantizedMatrix matrix_;
  bool failed_ = false;   // a fault was recorded
  bool complete_ = true;  // no tensor lacks data
};

// Weights of 4 bits whose scales and zero points are stored as [groups, out].
class GroupedReader : protected FormReader {
 public:
  using FormReader::FormReader;

 protected:
  // scales [groups, out] -> [out, groups]
  void read_scales() {
    matrix_.bits = 4;
    check_inputs_of_4_bits();
    const Weights scope = weights_[form_.scales];
    const CheckpointTensor* const stored = scope.stored();
    const bool has_groups = stored != nullptr && stored->shape.size() == 2 &&
                            stored->shape[1] == outs() && stored->shape[0] > 0;
    const Index groups = has_groups ? stored->shape[0] : 1;
    if (!failed_) set_groups(groups, form_.scales);
    if (failed_) return;
    const SharedTensor scales = needed(scope.get({groups, outs()}));
    if (scales.data == nullptr) return;
    const Tensor values = float_copy(scales);
    Tensor turned(DType::Float32, {outs(), groups});
    for (Index g = 0; g < groups; ++g) {
      for (Index o = 0; o < outs(); ++o) {
        turned.data<float>()[o * groups + g] = values.data<float>()[g * outs() + o];
      }
    }
    matrix_.scales = shared(std::move(turned));
  }

  // qzeros int32 [groups, out / 8]: output o in the bits from 4 * place[o % 8] on, less `offset`.
  void read_zero_points(const int (&place)[8], int offset) {
    const Index groups = matrix_.groups(), words = (outs() + 7) / 8;
    const SharedTensor stored = needed(weights_["qzeros"].get({groups, words}, {DType::Int32}));
    if (stored.data == nullptr) return;
    const auto* const from = static_cast<const std::int32_t*>(stored.data);
    Tensor zeros(DType::UInt8, {outs(), groups});
    for (Index g = 0; g < groups; ++g) {
      for (Index o = 0; o < outs(); ++o) {
        const auto word = static_cast<std::uint32_t>(from[g * words + o / 8]);
        const std::uint32_t zero =
            (word >> (4 * place[o % 8])) + static_cast<std::uint32_t>(offset);
        zeros.data<std::uint8_t>()[o * groups + g] = static_cast<std::uint8_t>(zero & 15);
      }
    }
    const auto values = zeros.span<std::uint8_t>();
    has_zeros_ = std::any_of(values.begin(), values.end(), [](int zero) { return zero != 8; });
    if (has_zeros_) matrix_.zero_points = shared(std::move(zeros));
  }

  bool has_zeros_ = false;  // that are not all in the middle
};

}  // namespace instructblip
