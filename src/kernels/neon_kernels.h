// What the levels of Arm CPUs have in common.
#pragma once

#include <arm_neon.h>

#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

template <class Level, int terms = 1>
struct NeonKernels : VectorKernels<Level, 4, terms> {
  using typename VectorKernels<Level, 4, terms>::Lanes;
  // 4 x 6 sums, 6 weights and a value fill 32 registers.
  static constexpr int kDotOutputs = 6;
  // 6 x 4 sums, 4 weights and a value.
  static constexpr int kPanelVectors = 4;

  // GCC 12 makes Eigen's constant in memory.
  static Lanes broadcast(const float* p) {
    Lanes values;
    vst1q_f32(values.data(), vld1q_dup_f32(p));
    return values;
  }
};

// Products of integers with instructions that add products of bytes. An x of 16 bits is 256 * high
// + low; a block has, for every 8 inputs, their high bytes and then their low ones. `Level` has
// sums_of, the sums of some rows with x of one or two bytes.
template <class Level>
struct NeonByteKernels : NeonKernels<Level> {
  using Base = NeonKernels<Level>;
  using typename Base::Index;

  static std::int32_t round_block(const float* x, Index count, Index width, int bits,
                                  const Rounding& rounding, std::int16_t* to) {
    auto* const bytes = reinterpret_cast<std::int8_t*>(to);
    if (bits == 8) return Base::Integers::round_and_fill(x, count, width, rounding, bytes);
    std::int16_t numbers[kIntegerBlock];
    const std::int32_t sum = Base::Integers::round_and_fill(x, count, width, rounding, numbers);
    for (Index i = 0; i < width; i += 8) {
      const int16x8_t values = vld1q_s16(numbers + i);
      const int8x8_t high = vrshrn_n_s16(values, 8), low = vmovn_s16(values);
      vst1q_s8(bytes + 2 * i, vcombine_s8(high, low));
    }
    return sum;
  }

  // The codes of inputs 0 to 3 and of inputs 4 to 7 of eight, of outputs 4 * four to 4 * four + 3.
  template <int bits>
  [[gnu::always_inline]] static uint8x16x2_t load_codes(const std::uint8_t* w, int four) {
    const uint8x16_t codes = vld1q_u8(w + 16 * four);
    if (bits == 8) return {codes, vld1q_u8(w + 4 * kIntegerOutputs + 16 * four)};
    return {vandq_u8(codes, vdupq_n_u8(15)), vshrq_n_u8(codes, 4)};
  }

  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    if (p.x_bits == 8) return Level::template sums_of<rows, bits, 1>(p, p.x, begin, size, sums);
    constexpr int kRows = rows > 2 ? rows / 2 : rows;
    for (int r = 0; r < rows; r += kRows) {
      Level::template sums_of<kRows, bits, 2>(p, p.x + r, begin, size, sums + r * kIntegerOutputs);
    }
  }
};

}  // namespace
}  // namespace instructblip
