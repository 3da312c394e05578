// What one core of this machine can do, measured when it is first asked for: multiplications and
// additions in registers and in tiles, and reading from memory.
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
inline double peak_tile_flops() { return 0.0; }
#endif

// Bytes per second that one core reads from an array much larger than the caches, in eight streams,
// as it reads the rows of a weight.
inline double peak_bandwidth() {
  static const double peak = [] {
    constexpr std::size_t kStreams = 8, kLength = std::size_t{1} << 24;
    const std::vector<std::uint64_t> data(kStreams * kLength, 1);
    const double seconds = best_seconds([&] {
      std::uint64_t sums[kStreams] = {};
      for (std::size_t i = 0; i < kLength; i += 8) {
        for (std::size_t s = 0; s < kStreams; ++s) {
          for (std::size_t n = 0; n < 8; ++n) sums[s] += data[s * kLength + i + n];
        }
      }
      benchmark::DoNotOptimize(sums);
    });
    return static_cast<double>(data.size() * sizeof(std::uint64_t)) / seconds;
  }();
  return peak;
}

}  // namespace instructblip
