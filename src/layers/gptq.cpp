// Weights that AutoGPTQ or GPTQModel quantised (https://github.com/ModelCloud/GPTQModel). Below the
// scope of a layer [out, in] lie:
//
//   qweight    int32 [in / 8, out]: 8 inputs, the first one in the low bits
//   qzeros     int32 [groups, out / 8]: zero points, of 8 outputs, less 1 ("gptq") or as they are
//              ("gptq_v2")
//   scales     floating-point [groups, out]
//   g_idx      optional: int32 [in], the group of each input
#include <cstring>

#include "instructblip/core/threads.h"
#include "layers/form_reader.h"

namespace instructblip {
namespace {

constexpr Index kBlock = 16;  // outputs whose words are one line of the cache
constexpr Index kWordsPerThread = 1 << 15;

class GptqReader : GroupedReader {
 public:
  using GroupedReader::GroupedReader;

  QuantizedMatrix read() {
    using Self = GptqReader;
    return run<Self>(*this, {&Self::check_bits, &Self::read_scales, &Self::check_order,
                             &Self::read_zeros, &Self::read_codes});
  }

 private:
  void check_bits() {
    const Shape& shape = weights_["qweight"].stored()->shape;
    for (const int bits : {2, 3, 8}) {
      if (shape == Shape{ins() * bits / 32, outs()}) {
        return fail("weights of " + std::to_string(bits) +
                    " bits in the form of GPTQ are not supported, only those of 4 bits");
      }
    }
  }

  void check_order() {
    if (!weights_["g_idx"].exists()) return;
    const SharedTensor order = needed(weights_["g_idx"].get({ins()}, {DType::Int32}));
    if (order.data == nullptr) return;
    const Index size = matrix_.group_size == 0 ? ins() : matrix_.group_size;
    for (Index i = 0; i < ins(); ++i) {
      const Index group = static_cast<const std::int32_t*>(order.data)[i];
      if (group == i / size) continue;
      return fail("its inputs are in another order (g_idx has " + std::to_string(group) +
                  " for input " + std::to_string(i) + ", expected " + std::to_string(i / size) +
                  "), which is not supported; quantise the model with \"desc_act\": false");
    }
  }

  // A stored 15 stands for 0, as in AutoGPTQ.
  void read_zeros() {
    const bool as_they_are = weights_.stored_quantization().method == "gptq_v2";
    read_zero_points({0, 1, 2, 3, 4, 5, 6, 7}, as_they_are ? 0 : 1);
  }

  // The bytes of a word are those of 8 codes here.
  void read_codes() {
    const Index words = ins() / 8;
    const SharedTensor stored = weights_["qweight"].get({words, outs()}, {DType::Int32});
    note_whole_numbers(has_zeros_);
    if (stored.data == nullptr) return;
    Tensor codes = Tensor::uninitialized(DType::UInt8, {outs(), words * 4});
    const auto* const from = static_cast<const char*>(stored.data);
    auto* const to = codes.data<std::uint8_t>();
    const Index blocks = (outs() + kBlock - 1) / kBlock;
    parallel_for(blocks, kWordsPerThread / std::max<Index>(1, words * kBlock) + 1,
                 [&](Index begin, Index end) {
                   for (Index b = begin; b < end; ++b) {
                     const Index last = std::min((b + 1) * kBlock, outs());
                     for (Index w = 0; w < words; ++w) {
                       for (Index o = b * kBlock; o < last; ++o) {
                         std::memcpy(to + (o * words + w) * 4, from + (w * outs() + o) * 4, 4);
                       }
                     }
                   }
                 });
    matrix_.codes = shared(std::move(codes));
  }
};

// qweight is [in, out / 8] in the form of AWQ.
bool is_gptq(const Weights& layer) {
  const CheckpointTensor* const codes = layer["qweight"].stored();
  const CheckpointTensor* const scales = layer["scales"].stored();
  if (codes == nullptr) return false;
  return scales == nullptr || codes->shape.empty() || scales->shape.empty() ||
         codes->shape.back() * 8 != scales->shape.back();
}

constexpr std::string_view kOthersOfGptq[] = {"qzeros", "g_idx"};

}  // namespace

const QuantizedForm kGptq{.method = "gptq",
                          .codes = "qweight",
                          .scales = "scales",
                          .others = kOthersOfGptq,
                          .is_stored = is_gptq,
                          .read = [](const Weights& layer, Index outs, Index ins) {
                            return GptqReader(kGptq, layer, outs, ins).read();
                          }};

}  // namespace instructblip
