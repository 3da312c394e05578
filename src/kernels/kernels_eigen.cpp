// The level "eigen": no special instructions, for every machine. The other levels are tested
// against it.
#include <cstring>

#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

struct Level : VectorKernels<Level, 4> {
#if __has_builtin(__builtin_shufflevector)
  // The portable loop is several times slower without an instruction that widens integers.
  static Lanes load_bf16(const std::uint16_t* p) {
    using Halves [[gnu::vector_size(8)]] = std::uint16_t;
    Halves bits;
    std::memcpy(&bits, p, sizeof(bits));
    const auto wide = __builtin_shufflevector(bits, Halves{}, 4, 0, 5, 1, 6, 2, 7, 3);
    Lanes values;
    std::memcpy(values.data(), &wide, sizeof(wide));
    return values;
  }
#endif
  // Eigen's own functions, so that this level shares no polynomial of exp with the others.
  static Lanes exp(const Lanes& x) { return x.exp(); }
  // Element by element with std::exp: Eigen's vector function stops at the smallest normal number.
  static Lanes softmax_exp(const Lanes& x) { return (x < -87.0f).select(Lanes::Zero(), x.exp()); }
  static Lanes gelu_tanh_factor(const Lanes& v) { return 1.0f + 0.044715f * v * v; }
};

}  // namespace

const KernelTable& eigen_kernels() {
  static constexpr KernelTable table = Level::table("eigen");
  return table;
}

}  // namespace instructblip
