// Weights that AutoAWQ quantised (https://github.com/casper-hansen/AutoAWQ), in its version "gemm".
// Below the scope of a layer [out, in] lie:
//
//   qweight    int32 [in, out / 8]: 8 outputs, in this order from the low bits on: 0, 2, 4, 6, 1,
//              3, 5, 7
//   qzeros     int32 [groups, out / 8]: zero points in the same order
//   scales     floating-point [groups, out]
#include "instructblip/core/threads.h"
#include "layers/form_reader.h"

namespace instructblip {
namespace {

// Where the code of output o stands: the bits from 4 * kPlaces[o % 8] on.
constexpr int kPlaces[8] = {0, 4, 1, 5, 2, 6, 3, 7};
constexpr Index kCodesPerThread = 1 << 18;

class AwqReader : GroupedReader {
 public:
  using GroupedReader::GroupedReader;

  QuantizedMatrix read() {
    using Self = AwqReader;
    return run<Self>(*this, {&Self::read_scales, &Self::read_zeros, &Self::read_codes});
  }

 private:
  void read_zeros() {
    has_zeros_ = true;  // in a checkpoint without data
    read_zero_points(kPlaces, 0);
  }

  void read_codes() {
    const Index words = (outs() + 7) / 8;
    const SharedTensor stored = weights_["qweight"].get({ins(), words}, {DType::Int32});
    note_whole_numbers(has_zeros_);
    if (stored.data == nullptr) return;
    Tensor codes = Tensor::uninitialized(DType::UInt8, {outs(), ins() / 2});
    const auto* const from = static_cast<const std::int32_t*>(stored.data);
    auto* const to = codes.data<std::uint8_t>();
    parallel_for(words, kCodesPerThread / std::max<Index>(1, ins() * 8) + 1,
                 [&](Index begin, Index end) {
                   for (Index word = begin; word < end; ++word) {
                     copy_outputs(from + word, words, std::min<Index>(8, outs() - word * 8),
                                  to + word * 4 * ins());
                   }
                 });
    matrix_.codes = shared(std::move(codes));
  }

  // All inputs of the outputs of one word.
  void copy_outputs(const std::int32_t* from, Index words, Index count, std::uint8_t* to) const {
    for (Index i = 0; i < ins(); i += 2) {
      const auto even = static_cast<std::uint32_t>(from[i * words]);
      const auto odd = static_cast<std::uint32_t>(from[(i + 1) * words]);
      for (Index o = 0; o < count; ++o) {
        const int place = 4 * kPlaces[o];
        to[(o * ins() + i) / 2] =
            static_cast<std::uint8_t>((even >> place & 15) | (odd >> place & 15) << 4);
      }
    }
  }
};

bool is_awq(const Weights& layer) { return layer["qweight"].exists(); }

constexpr std::string_view kOthersOfAwq[] = {"qzeros"};

}  // namespace

const QuantizedForm kAwq{.method = "awq",
                         .codes = "qweight",
                         .scales = "scales",
                         .others = kOthersOfAwq,
                         .is_stored = is_awq,
                         .read = [](const Weights& layer, Index outs, Index ins) {
                           return AwqReader(kAwq, layer, outs, ins).read();
                         }};

}  // namespace instructblip
