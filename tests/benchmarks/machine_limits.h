// What one core of this machine can do, measured when it is first asked for: multiplications and
// additions in registers (of float32, of pairs of bfloat16 and of four bytes) and in tiles, and
// reading from memory.
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "instructblip/core/threads.h"

namespace instructblip {

// CPU seconds of this process, summed over its threads. Other programs on the machine hardly affect
// them.
inline double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class Body>
double best_seconds(const Body& body) {
  double best = 1e30;
  for (int i = 0; i < 5; ++i) {
    const double start = processor_seconds();
    body();
    best = std::min(best, processor_seconds() - start);
  }
  return best;
}

// Fused multiplications and additions in independent chains of whole registers, of the widest kind
// that this machine has.
using Vector [[gnu::vector_size(64)]] = float;
constexpr int kChains = 12;
#if defined(__x86_64__)
[[gnu::target_clones("avx512f", "fma", "default")]]
#endif
inline void
multiply_and_add(int steps, Vector* chains) {
  Vector sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = chains[i];
  for (int step = 0; step < steps; ++step) {
    for (Vector& sum : sums) sum = sum * 0.999f + 0.5f;
  }
  for (int i = 0; i < kChains; ++i) chains[i] = sums[i];
}

// Float32 operations per second of one core.
inline double peak_flops() {
  static const double peak = [] {
    constexpr int kSteps = 1 << 20;
    const double seconds = best_seconds([] {
      Vector chains[kChains] = {};
      multiply_and_add(kSteps, chains);
      benchmark::DoNotOptimize(chains);
    });
    return 2.0 * 16 * kChains * kSteps / seconds;
  }();
  return peak;
}

#if defined(__x86_64__)
// Operations per second of an instruction of AVX-512 that adds `products` products to each of 16
// sums, in independent chains.
#define INSTRUCTBLIP_PEAK_OPERATIONS(instruction, products)                                    \
  [] {                                                                                         \
    constexpr int kSteps = 1 << 20;                                                            \
    const double seconds = best_seconds([] {                                                   \
      for (int step = 0; step < kSteps; ++step) {                                              \
        asm volatile(".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n" instruction            \
                     " %%zmm12, %%zmm12, %%zmm\\sum\n.endr"                                    \
                     :                                                                         \
                     :                                                                         \
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                       "xmm9", "xmm10", "xmm11");                                              \
      }                                                                                        \
    });                                                                                        \
    return 2.0 * (products)*16 * 12 * kSteps / seconds;                                        \
  }()
// Of pairs of bfloat16 numbers, and of four bytes.
inline double peak_pair_flops() {
  static const double peak = INSTRUCTBLIP_PEAK_OPERATIONS("vdpbf16ps", 2);
  return peak;
}
inline double peak_byte_operations() {
  static const double peak = INSTRUCTBLIP_PEAK_OPERATIONS("vpdpbusd", 4);
  return peak;
}
#undef INSTRUCTBLIP_PEAK_OPERATIONS

// Bfloat16 operations per second of one core's tiles.
[[gnu::target("amx-tile,amx-bf16")]] inline double peak_tile_flops() {
  static const double peak = [] [[gnu::target("amx-tile,amx-bf16")]] {
    constexpr int kSteps = 1 << 18;
    struct alignas(64) {
      std::uint8_t palette = 1, start = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } configuration;
    _tile_loadconfig(&configuration);
    double best = 1e30;
    for (int i = 0; i < 5; ++i) {
      const double start = processor_seconds();
      for (int step = 0; step < kSteps; ++step) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      best = std::min(best, processor_seconds() - start);
    }
    _tile_release();
    return 4.0 * 16 * 16 * 32 * 2 * kSteps / best;
  }();
  return peak;
}
#else
inline double peak_pair_flops() { return 0.0; }
inline double peak_byte_operations() { return 0.0; }
inline double peak_tile_flops() { return 0.0; }
#endif

// Bytes per second that a core reads from an array much larger than the caches, front to back,
// while the other threads' cores do the same.
inline double peak_bandwidth() {
  static const double peak = [] {
    constexpr std::ptrdiff_t kLines = std::ptrdiff_t{1} << 24, kLine = 8, kSums = 4 * kLine;
    const std::vector<std::uint64_t> data(kLines * kLine, 1);
    const double seconds = best_seconds([&] {
      parallel_for(kLines * kLine / kSums, 1, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        std::uint64_t sums[kSums] = {};
        for (std::ptrdiff_t first = begin * kSums; first < end * kSums; first += kSums) {
          for (std::ptrdiff_t n = 0; n < kSums; ++n) sums[n] += data[first + n];
        }
        benchmark::DoNotOptimize(sums);
      });
    });
    return static_cast<double>(data.size() * sizeof(std::uint64_t)) / seconds;
  }();
  return peak;
}

}  // namespace instructblip
