// What one core of this machine can do while the cores of all threads do the same, measured when it
// is first asked for: multiplications and additions in registers (of float32, of pairs of bfloat16
// and of four bytes) and in tiles, and reading from memory.
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "instructblip/core/threads.h"

namespace instructblip {

// CPU seconds of this process, summed over its threads. Other programs on the machine hardly affect
// them.
inline double processor_seconds(clockid_t clock = CLOCK_PROCESS_CPUTIME_ID) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Calls body(thread) on all threads at the same time. Returns the operations per CPU second, of
// which each call does so many. Two hardware threads of one core share its operations, so a single
// thread would show more than the machine has.
template <class Body>
double rate_of_threads(double operations, const Body& body) {
  const int threads = num_threads();
  double best = 0.0;
  for (int round = 0; round < 5; ++round) {
    std::vector<double> seconds(static_cast<std::size_t>(threads));
    std::atomic<int> ready = 0;
    parallel_for(threads, 1, [&](std::ptrdiff_t thread, std::ptrdiff_t) {
      ++ready;
      while (ready < threads) {
      }
      const double start = processor_seconds(CLOCK_THREAD_CPUTIME_ID);
      body(thread);
      seconds[static_cast<std::size_t>(thread)] =
          processor_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
    });
    double sum = 0.0;
    for (double part : seconds) sum += part;
    best = std::max(best, operations * threads / sum);
  }
  return best;
}

#if defined(__x86_64__)
// Operations per second of an instruction that adds `products` products to each element of its
// registers, in independent chains. The registers zmm or ymm 0 to 12 are given by `name`.
#define INSTRUCTBLIP_PEAK_REGISTERS                                                        \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define INSTRUCTBLIP_PEAK_OPERATIONS(instruction, name, elements, products)                    \
  [] {                                                                                         \
    constexpr int kSteps = 1 << 22;                                                            \
    return rate_of_threads(2.0 * (products) * (elements)*12 * kSteps, [](std::ptrdiff_t) {     \
      /* Products of what a new thread finds in its registers may be slow. */                  \
      asm volatile("vzeroall" : : : INSTRUCTBLIP_PEAK_REGISTERS);                              \
      for (int step = 0; step < kSteps; ++step) {                                              \
        asm volatile(".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n" instruction " %%" name \
                     "12, %%" name "12, %%" name "\\sum\n.endr"                                \
                     :                                                                         \
                     :                                                                         \
                     : INSTRUCTBLIP_PEAK_REGISTERS);                                           \
      }                                                                                        \
    });                                                                                        \
  }()
#endif

// Float32 operations per second: of fused multiplications and additions where the CPU has them.
inline double peak_flops() {
  static const double peak = [] {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
      return INSTRUCTBLIP_PEAK_OPERATIONS("vfmadd231ps", "zmm", 16, 1);
    }
    if (__builtin_cpu_supports("fma")) {
      return INSTRUCTBLIP_PEAK_OPERATIONS("vfmadd231ps", "ymm", 8, 1);
    }
#endif
    using Vector [[gnu::vector_size(16)]] = float;
    constexpr int kSteps = 1 << 20, kChains = 12;
    return rate_of_threads(2.0 * 4 * kChains * kSteps, [](std::ptrdiff_t) {
      Vector sums[kChains] = {};
      for (int step = 0; step < kSteps; ++step) {
        for (Vector& sum : sums) sum = sum * 0.999f + 0.5f;
      }
      benchmark::DoNotOptimize(sums);
    });
  }();
  return peak;
}

#if defined(__x86_64__)
// Of pairs of bfloat16 numbers, and of four bytes, with AVX-512.
inline double peak_pair_flops() {
  static const double peak = INSTRUCTBLIP_PEAK_OPERATIONS("vdpbf16ps", "zmm", 16, 2);
  return peak;
}
inline double peak_byte_operations() {
  static const double peak = INSTRUCTBLIP_PEAK_OPERATIONS("vpdpbusd", "zmm", 16, 4);
  return peak;
}
#undef INSTRUCTBLIP_PEAK_OPERATIONS
#undef INSTRUCTBLIP_PEAK_REGISTERS

// Bfloat16 operations per second of tiles.
[[gnu::target("amx-tile,amx-bf16")]] inline void multiply_in_tiles(int steps) {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  // GCC 12's function reads only 8 bytes in the compiler's eyes, which then leaves out the others.
  asm volatile("" : : "r"(&configuration) : "memory");
  _tile_loadconfig(&configuration);
  for (int step = 0; step < steps; ++step) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}
inline double peak_tile_flops() {
  static const double peak = [] {
    constexpr int kSteps = 1 << 18;
    return rate_of_threads(4.0 * 16 * 16 * 32 * 2 * kSteps,
                           [](std::ptrdiff_t) { multiply_in_tiles(kSteps); });
  }();
  return peak;
}
#else
inline double peak_pair_flops() { return 0.0; }
inline double peak_byte_operations() { return 0.0; }
inline double peak_tile_flops() { return 0.0; }
#endif

// Bytes per second read from an array much larger than the caches, front to back.
inline double peak_bandwidth() {
  static const double peak = [] {
    constexpr std::ptrdiff_t kLines = std::ptrdiff_t{1} << 24, kLine = 8, kSums = 4 * kLine;
    const std::vector<std::uint64_t> data(kLines * kLine, 1);
    const std::ptrdiff_t steps = kLines * kLine / kSums / num_threads();
    return rate_of_threads(static_cast<double>(steps * kSums * sizeof(std::uint64_t)),
                           [&](std::ptrdiff_t thread) {
                             std::uint64_t sums[kSums] = {};
                             const std::uint64_t* part = data.data() + thread * steps * kSums;
                             for (std::ptrdiff_t step = 0; step < steps; ++step, part += kSums) {
                               for (std::ptrdiff_t n = 0; n < kSums; ++n) sums[n] += part[n];
                             }
                             benchmark::DoNotOptimize(sums);
                           });
  }();
  return peak;
}

}  // namespace instructblip
