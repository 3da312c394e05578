// Bodies for processors with AVX2 and FMA; see kernel_table.h for what each does. Compiled with
// these instructions switched on, so nothing here may include a header that defines functions, and
// nothing may be called before the processor was asked.
#pragma once

#include <cstddef>
#include <cstdint>

namespace instructblip::avx2 {

constexpr std::ptrdiff_t kLanes = 8;

void dots(const float* const* x, std::ptrdiff_t rows, const float* const* w, std::ptrdiff_t outs,
          std::ptrdiff_t k, float* out, std::ptrdiff_t out_stride);
void dots_bf16(const float* const* x, std::ptrdiff_t rows, const std::uint16_t* const* w,
               std::ptrdiff_t outs, std::ptrdiff_t k, float* out, std::ptrdiff_t out_stride);
void widen_bf16(const std::uint16_t* from, std::ptrdiff_t count, float* to);
void weighted_sum(const float* p, std::ptrdiff_t p_stride, std::ptrdiff_t rows,
                  const float* const* v, std::ptrdiff_t keys, std::ptrdiff_t d, float* out,
                  std::ptrdiff_t out_stride);
void softmax(float* x, std::ptrdiff_t count);
void gelu(float* x, std::ptrdiff_t count);
void gelu_tanh(float* x, std::ptrdiff_t count);
void quick_gelu(float* x, std::ptrdiff_t count);
void silu(float* x, std::ptrdiff_t count);

}  // namespace instructblip::avx2
