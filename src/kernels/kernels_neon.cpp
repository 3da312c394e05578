// The level "neon": every 64-bit Arm CPU.
#include "kernels/neon_kernels.h"

namespace instructblip {
namespace {

struct Level : NeonKernels<Level> {
  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes sum;
    vst1q_f32(sum.data(), vfmaq_f32(vld1q_f32(c.data()), vld1q_f32(a.data()), vld1q_f32(b.data())));
    return sum;
  }
  static float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static Lanes lanes(uint32x4_t bits) {
    Lanes values;
    vst1q_f32(values.data(), vreinterpretq_f32_u32(bits));
    return values;
  }
  static Lanes load_bf16(const std::uint16_t* p) { return lanes(vshll_n_u16(vld1_u16(p), 16)); }
  static Lanes load_pairs(const std::uint16_t* p, int odd) {
    const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(p));
    return lanes(odd != 0 ? vandq_u32(pairs, vdupq_n_u32(0xffff0000u)) : vshlq_n_u32(pairs, 16));
  }
  // Four inputs of sixteen outputs are read as four vectors, one for each input.
  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr Index kInputs = 32 / bits;
    int32x4_t total[rows][4];
    for (auto& row : total) {
      for (int32x4_t& sum : row) sum = vdupq_n_s32(0);
    }
    const auto add = [&](uint8x16_t codes, Index k) __attribute__((always_inline)) {
      const int16x8_t first = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes)));
      const int16x8_t second = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(codes)));
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        const std::int16_t x = p.x[r].values[k];
        total[r][0] = vmlal_n_s16(total[r][0], vget_low_s16(first), x);
        total[r][1] = vmlal_n_s16(total[r][1], vget_high_s16(first), x);
        total[r][2] = vmlal_n_s16(total[r][2], vget_low_s16(second), x);
        total[r][3] = vmlal_n_s16(total[r][3], vget_high_s16(second), x);
      });
    };
    const std::uint8_t* w = p.codes(begin);
    for (Index k = begin; k < begin + size; k += kInputs, w += 4 * kIntegerOutputs) {
      const uint8x16x4_t codes = vld4q_u8(w);
      for (int j = 0; j < 4; ++j) {
        if constexpr (bits == 8) {
          add(codes.val[j], k + j);
        } else {
          add(vandq_u8(codes.val[j], vdupq_n_u8(15)), k + j);
          add(vshrq_n_u8(codes.val[j], 4), k + 4 + j);
        }
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < 4; ++v) vst1q_s32(sums + r * kIntegerOutputs + 4 * v, total[r][v]);
    }
  }
  static void transpose(const float* const* rows, float* to, Index stride) {
    const float32x4x2_t a = vtrnq_f32(vld1q_f32(rows[0]), vld1q_f32(rows[1]));
    const float32x4x2_t b = vtrnq_f32(vld1q_f32(rows[2]), vld1q_f32(rows[3]));
    for (int i = 0; i < 2; ++i) {
      vst1q_f32(to + i * stride, vcombine_f32(vget_low_f32(a.val[i]), vget_low_f32(b.val[i])));
      vst1q_f32(to + (i + 2) * stride,
                vcombine_f32(vget_high_f32(a.val[i]), vget_high_f32(b.val[i])));
    }
  }
};

}  // namespace

const KernelTable& neon_kernels() {
  static constexpr KernelTable table = Level::table("neon");
  return table;
}

}  // namespace instructblip
