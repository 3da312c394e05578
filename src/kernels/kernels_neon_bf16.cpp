// The level "neon_bf16": Arm CPUs that multiply bfloat16 and matrices of bytes (FEAT_BF16 and
// FEAT_I8MM: Neoverse V1 and N2, Apple's M2). Products with bfloat16 weights use it, with
// activations in bfloat16 or as the sum of two bfloat16 numbers, to 2^-17 of themselves, and so do
// products of integers. Everything else is the level neon's (dispatch.cpp).
#include "kernels/neon_kernels.h"

namespace instructblip {
namespace {

struct ByteLevel : NeonByteKernels<ByteLevel> {
  // A product of matrices is one of two outputs, with eight codes each, and of the two parts of x
  // in a row, or of two rows of single bytes.
  template <int rows, int bits, int bytes>
  static void sums_of(const IntegerProduct& p, const IntegerRow* x, Index begin, Index size,
                      std::int32_t* sums) {
    constexpr int kFours = kIntegerOutputs / 4;
    constexpr int kLines = bytes == 2 ? rows : (rows + 1) / 2;
    int32x4_t total[kLines][2 * kFours];
    for (auto& line : total) {
      for (int32x4_t& sum : line) sum = vdupq_n_s32(0);
    }
    const std::uint8_t* w = p.codes(begin);
    for (Index k = 0; k < size; k += 8, w += kIntegerOutputs * bits) {
      int8x16_t values[kLines];
      unrolled<kLines>([&](auto line) __attribute__((always_inline)) {
        if constexpr (bytes == 2) {
          values[line] = vld1q_s8(x[line].bytes(begin) + 2 * k);
        } else {
          values[line] = vcombine_s8(vld1_s8(x[2 * line].bytes(begin) + k),
                                     vld1_s8(x[std::min(2 * line + 1, rows - 1)].bytes(begin) + k));
        }
      });
      unrolled<kFours>([&](auto four) __attribute__((always_inline)) {
        const uint8x16x2_t codes = load_codes<bits>(w, four);
        const uint32x4_t first = vreinterpretq_u32_u8(codes.val[0]);
        const uint32x4_t second = vreinterpretq_u32_u8(codes.val[1]);
        const uint8x16_t low = vreinterpretq_u8_u32(vzip1q_u32(first, second));
        const uint8x16_t high = vreinterpretq_u8_u32(vzip2q_u32(first, second));
        unrolled<kLines>([&](auto line) __attribute__((always_inline)) {
          int32x4_t& sum = total[line][2 * four];
          int32x4_t& next = total[line][2 * four + 1];
          sum = vusmmlaq_s32(sum, low, values[line]);
          next = vusmmlaq_s32(next, high, values[line]);
        });
      });
    }
    for (int line = 0; line < kLines; ++line) {
      for (int four = 0; four < kFours; ++four) {
        const int32x4_t a = total[line][2 * four], b = total[line][2 * four + 1];
        const int32x4_t first = vuzp1q_s32(a, b), second = vuzp2q_s32(a, b);
        std::int32_t* const to = sums + 4 * four;
        if (bytes == 2) {
          vst1q_s32(to + line * kIntegerOutputs, vaddq_s32(second, vshlq_n_s32(first, 8)));
          continue;
        }
        vst1q_s32(to + 2 * line * kIntegerOutputs, first);
        if (2 * line + 1 < rows) vst1q_s32(to + (2 * line + 1) * kIntegerOutputs, second);
      }
    }
  }
};

// An element is a pair of bfloat16 numbers, and a product the sum of both products, which this
// instruction rounds to odd.
template <int terms>
struct Level : NeonKernels<Level<terms>, terms> {
  using typename NeonKernels<Level, terms>::Lanes;

  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    const auto pairs = [](const Lanes& lanes) __attribute__((always_inline)) {
      return vreinterpretq_bf16_f32(vld1q_f32(lanes.data()));
    };
    Lanes sum;
    vst1q_f32(sum.data(), vbfdotq_f32(vld1q_f32(c.data()), pairs(a), pairs(b)));
    return sum;
  }
};

// Eight numbers in bfloat16.
bfloat16x8_t round_eight(const float32x4x2_t& x) {
  return vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(x.val[0]), x.val[1]);
}

// x - high, and 0 where that is not finite: the sum of both is x or as little finite as x.
float32x4_t low_part(float32x4_t x, float32x4_t high) {
  const float32x4_t greatest = vdupq_n_f32(std::numeric_limits<float>::max());
  const uint32x4_t finite = vcaleq_f32(high, greatest);
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(vsubq_f32(x, high)), finite));
}

// The first terms of eight numbers, then the second ones.
template <int terms>
void to_terms(const float* x, std::ptrdiff_t count, float* to) {
  for (std::ptrdiff_t i = 0; i < count; i += 8, to += 4 * terms) {
    float last[8] = {};
    const float* from = x + i;
    if (count - i < 8) {
      std::copy_n(from, count - i, last);
      from = last;
    }
    const float32x4x2_t values = {vld1q_f32(from), vld1q_f32(from + 4)};
    const bfloat16x8_t high = round_eight(values);
    vst1q_f32(to, vreinterpretq_f32_bf16(high));
    if (terms == 1) continue;
    const float32x4x2_t rest = {low_part(values.val[0], vcvtq_low_f32_bf16(high)),
                                low_part(values.val[1], vcvtq_high_f32_bf16(high))};
    vst1q_f32(to + 4, vreinterpretq_f32_bf16(round_eight(rest)));
  }
}

template <int terms>
constexpr PairKernels kPairs{.products = Level<terms>::products(), .to_terms = to_terms<terms>};

}  // namespace

const IntegerKernels& neon_i8mm_integers() {
  static constexpr IntegerKernels kernels = ByteLevel::integers();
  return kernels;
}
const PairKernels& neon_bf16_pairs() { return kPairs<1>; }
const PairKernels& neon_bf16_split_pairs() { return kPairs<2>; }

}  // namespace instructblip
