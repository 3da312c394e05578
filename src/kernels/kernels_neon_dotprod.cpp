// The level "neon_dotprod": Arm CPUs that add four products of bytes in one instruction
// (FEAT_DotProd: Neoverse N1, Apple's M1). Everything else is the level neon's (dispatch.cpp).
#include "kernels/neon_kernels.h"

namespace instructblip {
namespace {

struct Level : NeonByteKernels<Level> {
  // Signed bytes are multiplied: 128 is subtracted from codes of 8 bits, and added again to the
  // sum.
  template <int rows, int bits, int bytes>
  static void sums_of(const IntegerProduct& p, const IntegerRow* x, Index begin, Index size,
                      std::int32_t* sums) {
    constexpr int kFours = kIntegerOutputs / 4;
    int32x4_t total[rows][bytes][kFours];
    for (auto& row : total) {
      for (auto& part : row) {
        for (int32x4_t& sum : part) sum = vdupq_n_s32(0);
      }
    }
    const uint8x16_t middle = vdupq_n_u8(bits == 8 ? 128 : 0);
    const std::uint8_t* w = p.codes(begin);
    for (Index k = 0; k < size; k += 8, w += kIntegerOutputs * bits) {
      int8x16_t values[rows];
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        const std::int8_t* const from = x[r].bytes(begin) + bytes * k;
        values[r] = bytes == 2 ? vld1q_s8(from) : vcombine_s8(vld1_s8(from), vdup_n_s8(0));
      });
      unrolled<kFours>([&](auto four) __attribute__((always_inline)) {
        const uint8x16x2_t codes = load_codes<bits>(w, four);
        const int8x16_t first = vreinterpretq_s8_u8(veorq_u8(codes.val[0], middle));
        const int8x16_t second = vreinterpretq_s8_u8(veorq_u8(codes.val[1], middle));
        unrolled<rows * bytes>([&](auto i) __attribute__((always_inline)) {
          constexpr int r = i / bytes, byte = i % bytes;
          int32x4_t& sum = total[r][byte][four];
          sum = vdotq_laneq_s32(sum, first, values[r], 2 * byte);
          sum = vdotq_laneq_s32(sum, second, values[r], 2 * byte + 1);
        });
      });
    }
    for (int r = 0; r < rows; ++r) {
      const std::int32_t x_sum = bits == 8 ? x[r].sums[begin / p.block] : 0;
      for (int four = 0; four < kFours; ++four) {
        int32x4_t sum = vmlaq_n_s32(total[r][bytes - 1][four], vdupq_n_s32(128), x_sum);
        if (bytes == 2) sum = vaddq_s32(sum, vshlq_n_s32(total[r][0][four], 8));
        vst1q_s32(sums + r * kIntegerOutputs + 4 * four, sum);
      }
    }
  }
};

}  // namespace

const IntegerKernels& neon_dotprod_integers() {
  static constexpr IntegerKernels kernels = Level::integers();
  return kernels;
}

}  // namespace instructblip
