// Weights that bitsandbytes quantised (https://github.com/bitsandbytes-foundation/bitsandbytes), as
// transformers saves them with BitsAndBytesConfig. Below the scope of a layer [out, in] lie, for 8
// bits (LLM.int8):
//
//   weight           int8 [out, in]
//   SCB              floating-point [out]: the greatest magnitude, which stands for 127
//   weight_format    optional: uint8, 0 if the rows lie one after the other
//
// and for 4 bits (NF4 and FP4), of which a block of the flattened matrix has a scale:
//
//   weight           uint8 [out * in / 2, 1], the first element in the high half; or the same bytes
//                    as another type (bnb_4bit_quant_storage)
//   weight.quant_map          floating-point [16]: the values of the codes
//   weight.absmax             floating-point [blocks]: the scales; or uint8 if they are quantised
//                             themselves: nested_quant_map[absmax] * nested_absmax + nested_offset
//   weight.nested_quant_map   floating-point [256]
//   weight.nested_absmax      floating-point [blocks / nested_blocksize]
//   weight.quant_state.bitsandbytes__nf4 (or __fp4)   uint8: JSON with blocksize, shape, ...
#include <numeric>

#include "core/json_reader.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "layers/form_reader.h"

namespace instructblip {
namespace {

constexpr Index kBytesPerThread = 1 << 18;
constexpr std::string_view kQuantTypes[] = {"nf4", "fp4"};

Index blocks_of(Index count, Index size) { return count / size + (count % size != 0 ? 1 : 0); }

class Reader8Bits : FormReader {
 public:
  using FormReader::FormReader;
  QuantizedMatrix read() {
    using Self = Reader8Bits;
    return run<Self>(*this, {&Self::read_scales, &Self::read_codes});
  }

 private:
  void read_scales() {
    const SharedTensor greatest = needed(weights_["SCB"].get({outs()}));
    Tensor scales = float_copy(greatest).reshaped({outs(), 1});
    for (float& scale : scales.span<float>()) scale /= 127.0f;
    matrix_.scales = shared(std::move(scales));
  }

  void read_codes() {
    if (weights_["weight_format"].exists()) {
      const SharedTensor format = weights_["weight_format"].get({}, {DType::UInt8});
      const int kind = format.data == nullptr ? 0 : *static_cast<const std::uint8_t*>(format.data);
      if (kind != 0) {
        return fail("weight_format is " + std::to_string(kind) +
                    ", an order for one kind of GPU; expected 0, rows one after the other: save "
                    "the model again with a newer bitsandbytes");
      }
    }
    matrix_.codes = needed(weights_["weight"].get({outs(), ins()}, {DType::Int8}));
    note_whole_numbers(false);
  }
};

class Reader4Bits : FormReader {
 public:
  Reader4Bits(const QuantizedForm& form, const Weights& weights, Index outs, Index ins)
      : FormReader(form, weights, outs, ins), scope_(weights["weight"]) {
    matrix_.bits = 4;
  }

  QuantizedMatrix read() {
    using Self = Reader4Bits;
    return run<Self>(*this, {&Self::find_state, &Self::read_state, &Self::read_values,
                             &Self::read_scales, &Self::read_codes});
  }

 private:
  void find_state() {
    for (const std::string_view kind : kQuantTypes) {
      const Weights state = state_of(kind);
      if (!state.exists()) continue;
      if (!kind_.empty()) return fail("has quant_state of both nf4 and fp4");
      kind_ = kind;
    }
    if (kind_.empty()) {
      fail(
          "weight.quant_state.bitsandbytes__nf4 (or __fp4) is missing: the tensor says how the "
          "weight of 4 bits is to be read");
    }
  }

  Weights state_of(std::string_view kind) const {
    return scope_["quant_state"]["bitsandbytes__" + std::string(kind)];
  }

  // The block size, from the JSON text or, in a checkpoint without data, the number of blocks.
  void read_state() {
    const Weights scope = state_of(kind_);
    const Shape& found = scope.stored()->shape;
    const SharedTensor state = scope.get({found.size() == 1 ? found[0] : 1}, {DType::UInt8});
    if (state.data == nullptr) {
      complete_ = false;
      const CheckpointTensor* const scales = scope_["absmax"].stored();
      const Index count = scales != nullptr && scales->shape.size() == 1 ? scales->shape[0] : 0;
      for (block_ = 4096; block_ > 32 && blocks_of(outs() * ins(), block_) != count;) block_ /= 2;
      return;
    }
    const std::string name = "weight.quant_state.bitsandbytes__" + std::string(kind_);
    try {
      const std::string_view text(static_cast<const char*>(state.data), to_size(state.size()));
      const Json json = parse_json<CheckpointError>(text, name);
      read_state(JsonReader<CheckpointError>(json, name));
    } catch (const CheckpointError& error) {
      fail(error.what());
    }
  }

  void read_state(const JsonValue& state) {
    state.require_object();
    const auto kind = state.require<std::string>("quant_type");
    if (kind != kind_) state.at("quant_type").expected("\"" + std::string(kind_) + "\"");
    block_ = state.at("blocksize").whole_number(1, Index{1} << 40);
    const JsonValue shape = state.at("shape");
    if (shape.size() != 2 || shape.at(0).as<std::int64_t>() != outs() ||
        shape.at(1).as<std::int64_t>() != ins()) {
      shape.expected(to_string(Shape{outs(), ins()}));
    }
    if (!is_nested()) return;
    nested_block_ = state.at("nested_blocksize").whole_number(1, Index{1} << 40);
    offset_ = static_cast<float>(state.require<double>("nested_offset"));
  }

  bool is_nested() const {
    const CheckpointTensor* const scales = scope_["absmax"].stored();
    return scope_["nested_absmax"].exists() || (scales != nullptr && scales->dtype == "U8");
  }

  void read_values() {
    const SharedTensor map = needed(scope_["quant_map"].get({16}));
    matrix_.codebook = Codebook{kind_, {}};
    const Tensor values = float_copy(map);
    std::copy_n(values.data<float>(), 16, matrix_.codebook->values.begin());
  }

  // The scale of each block, then of each group of inputs that lies in one block.
  void read_scales() {
    const Index blocks = blocks_of(outs() * ins(), block_);
    Tensor scales = is_nested() ? nested_scales(blocks) : plain_scales(blocks);
    matrix_.group_size = std::gcd(ins(), block_);
    note({.bits = 4, .group_size = block_, .symmetric = true, .codebook = kind_});
    if (!complete_) return;
    const Index groups = matrix_.groups();
    if (matrix_.group_size == block_) {
      matrix_.scales = shared(scales.reshaped({outs(), groups}));
      return;
    }
    Tensor spread = Tensor::uninitialized(DType::Float32, {outs(), groups});
    for (Index i = 0; i < spread.size(); ++i) {
      spread.data<float>()[i] = scales.data<float>()[i * matrix_.group_size / block_];
    }
    matrix_.scales = shared(std::move(spread));
  }

  Tensor plain_scales(Index blocks) { return float_copy(needed(scope_["absmax"].get({blocks}))); }

  Tensor nested_scales(Index blocks) {
    const SharedTensor codes = needed(scope_["absmax"].get({blocks}, {DType::UInt8}));
    const SharedTensor map = needed(scope_["nested_quant_map"].get({256}));
    const SharedTensor greatest =
        needed(scope_["nested_absmax"].get({blocks_of(blocks, nested_block_)}));
    if (!complete_) return {};
    const Tensor values = float_copy(map), scales = float_copy(greatest);
    Tensor result = Tensor::uninitialized(DType::Float32, {blocks});
    const auto* const from = static_cast<const std::uint8_t*>(codes.data);
    for (Index i = 0; i < blocks; ++i) {
      const float product = values.data<float>()[from[i]] * scales.data<float>()[i / nested_block_];
      result.data<float>()[i] = product + offset_;
    }
    return result;
  }

  void read_codes() {
    const Index bytes = (outs() * ins() + 1) / 2;
    const CheckpointTensor* const stored = scope_.stored();
    const auto type = stored == nullptr ? std::nullopt : dtype_from_safetensors(stored->dtype);
    const Index size = type ? static_cast<Index>(size_of(*type)) : 1;
    const SharedTensor codes = needed(
        scope_.get({(bytes + size - 1) / size, 1},
                   {DType::UInt8, DType::Int8, DType::BFloat16, DType::Float16, DType::Float32}));
    if (!complete_) return;
    Tensor rows(DType::UInt8, {outs(), (ins() + 1) / 2});
    const auto* const from = static_cast<const std::uint8_t*>(codes.data);
    auto* const to = rows.data<std::uint8_t>();
    parallel_for(outs(), kBytesPerThread / std::max<Index>(1, ins()) + 1,
                 [&](Index begin, Index end) {
                   for (Index o = begin; o < end; ++o) copy_row(from, o, to + o * rows.dim(1));
                 });
    matrix_.codes = shared(std::move(rows));
  }

  // The first input in the low half.
  void copy_row(const std::uint8_t* from, Index o, std::uint8_t* to) const {
    const Index first = o * ins();
    if (ins() % 2 == 0) {
      std::transform(from + first / 2, from + (first + ins()) / 2, to, [](unsigned byte) {
        return static_cast<std::uint8_t>(byte >> 4 | byte << 4);
      });
      return;
    }
    for (Index i = 0; i < ins(); ++i) {
      const Index element = first + i;
      const int code = from[element / 2] >> (element % 2 == 0 ? 4 : 0) & 15;
      to[i / 2] = static_cast<std::uint8_t>(to[i / 2] | code << (i % 2 * 4));
    }
  }

  Weights scope_;
  std::string_view kind_;  // "nf4" or "fp4"
  Index block_ = 1, nested_block_ = 256;
  float offset_ = 0.0f;
};

bool is_type(const Weights& tensor, std::string_view dtype) {
  return tensor.exists() && tensor.stored()->dtype == dtype;
}

bool is_8_bits(const Weights& layer) {
  return is_type(layer["weight"], "I8") &&
         (layer["SCB"].exists() || !layer.stored_quantization().method.empty());
}

bool is_4_bits(const Weights& layer) {
  const Weights weight = layer["weight"];
  return weight["absmax"].exists() || weight["quant_map"].exists() ||
         (is_type(weight, "U8") && !layer.stored_quantization().method.empty());
}

constexpr std::string_view kOthers8Bits[] = {"weight_format"};
constexpr std::string_view kOthers4Bits[] = {
    "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map",
    "weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"};

}  // namespace

const QuantizedForm kBitsAndBytes8Bits{
    .method = "bitsandbytes",
    .codes = "weight",
    .scales = "SCB",
    .others = kOthers8Bits,
    .is_stored = is_8_bits,
    .read = [](const Weights& layer, Index outs, Index ins) {
      return Reader8Bits(kBitsAndBytes8Bits, layer, outs, ins).read();
    }};
const QuantizedForm kBitsAndBytes4Bits{
    .method = "bitsandbytes",
    .codes = "weight",
    .scales = "weight.absmax",
    .others = kOthers4Bits,
    .is_stored = is_4_bits,
    .read = [](const Weights& layer, Index outs, Index ins) {
      return Reader4Bits(kBitsAndBytes4Bits, layer, outs, ins).read();
    }};

}  // namespace instructblip
