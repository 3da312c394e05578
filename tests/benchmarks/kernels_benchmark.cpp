// The speed of the kernels with the shapes of the real models, and its ratio to the limits of this
// machine. The limits are measured in the same run: multiplications and additions in registers, and
// reading from memory. The counters are per core: GFLOP/s, GB/s of weights or keys, and their
// ratios to the limits.
//
//   instructblip_benchmarks --benchmark_filter=Matmul
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "instructblip/core/threads.h"
#include "instructblip/kernels/dispatch.h"
#include "instructblip/kernels/kernels.h"

namespace instructblip {
namespace {

// CPU seconds of this process, summed over its threads. Other programs on the machine hardly affect
// them.
double processor_seconds() {
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

// Operations per second of independent multiplications and additions on one core, with the
// instructions that this file is compiled for.
double peak_flops() {
  static const double peak = [] {
    constexpr int kChains = 48;
    constexpr int kSteps = 1 << 20;
    const double seconds = best_seconds([] {
      float chains[kChains] = {};
      for (int step = 0; step < kSteps; ++step) {
        for (float& value : chains) value = value * 0.999f + 0.5f;
      }
      benchmark::DoNotOptimize(chains);
    });
    return 2.0 * kChains * kSteps / seconds;
  }();
  return peak;
}

// Bytes per second that one core reads from an array much larger than the caches, in eight streams,
// as it reads the rows of a weight.
double peak_bandwidth() {
  static const double peak = [] {
    constexpr std::size_t kStreams = 8, kLength = std::size_t{1} << 21;
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

// Sets the counters from the CPU seconds of the iterations.
class Cost {
 public:
  explicit Cost(benchmark::State& state) : state_(state), start_(processor_seconds()) {}

  void report(double operations, double bytes) {
    const double count =
        static_cast<double>(state_.iterations()) / std::max(1e-9, processor_seconds() - start_);
    state_.counters["GFLOP/s"] = operations * count * 1e-9;
    state_.counters["GB/s"] = bytes * count * 1e-9;
    state_.counters["of_peak"] = operations * count / peak_flops();
    state_.counters["of_memory"] = bytes * count / peak_bandwidth();
    state_.SetLabel(kernel_level());
  }

 private:
  benchmark::State& state_;
  double start_;
};

Matrix filled(Index rows, Index cols) {
  Matrix m(rows, cols);
  std::uint32_t state = 1;
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < cols; ++c) {
      state = state * 1664525u + 1013904223u;
      m.row(r)[c] = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
  }
  return m;
}

// Arguments: rows, outputs, inputs, bfloat16. As in a model, the weight is not in the caches: the
// iterations use many copies of it in turn.
void Matmul(benchmark::State& state) {
  const Index rows = state.range(0), outs = state.range(1), ins = state.range(2);
  const DType dtype = state.range(3) != 0 ? DType::BFloat16 : DType::Float32;
  const auto bytes = static_cast<std::size_t>(outs * ins) * size_of(dtype);
  const auto tensor = std::make_shared<Tensor>(filled(outs, ins).to_tensor().to(dtype));
  std::vector<PreparedMatrix> weights;
  const std::size_t copies = rows > 16 ? 1 : (std::size_t{128} << 20) / bytes + 1;
  for (std::size_t i = 0; i < copies; ++i) {
    const auto copy = std::make_shared<Tensor>(*tensor);
    weights.push_back(PreparedMatrix::prepare(SharedTensor{copy->view(), copy}, {.dtype = dtype}));
  }
  const Matrix x = filled(rows, ins);
  Matrix y(rows, outs);
  std::size_t next = 0;
  Cost cost(state);
  for (auto _ : state) {
    matmul(x, weights[next], y);
    next = (next + 1) % weights.size();
  }
  cost.report(2.0 * static_cast<double>(rows * outs * ins), static_cast<double>(bytes));
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "outs", "ins", "bf16"})
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime();
  for (Index bf16 : {0, 1}) {
    b->Args({257, 4224, 1408, bf16});  // vision: query, key, value
    b->Args({257, 1408, 6144, bf16});  // vision: second layer of the MLP
    b->Args({32, 768, 768, bf16});     // Q-Former: an attention's output
    b->Args({32, 3072, 768, bf16});    // Q-Former: first layer of the MLP
    b->Args({64, 4096, 4096, bf16});   // Vicuna-7B, prompt: an attention's output
    b->Args({1, 4096, 4096, bf16});    // Vicuna-7B, one token
    b->Args({1, 4096, 11008, bf16});   // Vicuna-7B, one token: down
    b->Args({5, 4096, 4096, bf16});    // Vicuna-7B, five beams
  }
}
BENCHMARK(Matmul)->Apply(shapes);

// Arguments: queries, keys, heads, head_dim, causal.
void Attention(benchmark::State& state) {
  const Index queries = state.range(0), keys = state.range(1);
  const AttentionShape shape{state.range(2), state.range(2), state.range(3), 0.1f};
  const Index width = shape.num_heads * shape.head_dim;
  const Matrix q = filled(queries, width), k = filled(keys, width), v = filled(keys, width);
  AttentionSequence sequence;
  sequence.query_count = queries;
  sequence.keys = {{k.row(0), v.row(0), keys, k.view().stride}};
  sequence.causal_offset = state.range(4) != 0 ? keys - queries : -1;
  Matrix output(queries, width);
  Cost cost(state);
  for (auto _ : state) scaled_dot_product_attention(q, shape, std::span(&sequence, 1), output);
  cost.report(4.0 * static_cast<double>(queries * keys * width),
              static_cast<double>(2 * keys * width) * sizeof(float));
}
BENCHMARK(Attention)
    ->ArgNames({"queries", "keys", "heads", "head_dim", "causal"})
    ->Args({257, 257, 16, 88, 0})
    ->Args({64, 64, 32, 128, 1})
    ->Args({1, 256, 32, 128, 1})
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();

// An activation in the epilogue of a matmul with few inputs. Activation 0 is none: the cost of the
// matmul itself.
void Activate(benchmark::State& state) {
  const auto tensor = std::make_shared<Tensor>(filled(6144, 8).to_tensor());
  const PreparedMatrix weight = PreparedMatrix::prepare(SharedTensor{tensor->view(), tensor});
  const Epilogue epilogue{.activation = static_cast<Activation>(state.range(0))};
  const Matrix x = filled(257, 8);
  Matrix y(257, 6144);
  for (auto _ : state) matmul(x, weight, y, epilogue);
  state.SetItemsProcessed(state.iterations() * 257 * 6144);
}
BENCHMARK(Activate)
    ->ArgName("activation")
    ->DenseRange(static_cast<int>(Activation::None), static_cast<int>(Activation::Silu))
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();

void Norm(benchmark::State& state) {
  const Matrix x = filled(257, 1408), weight = filled(2, 1408);
  Matrix y(257, 1408);
  for (auto _ : state) layer_norm(x, weight.row(0), weight.row(1), 1e-6f, y);
  state.SetItemsProcessed(state.iterations() * 257 * 1408);
}
BENCHMARK(Norm)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime();

}  // namespace
}  // namespace instructblip
