// The speed of the kernels with the shapes of the real models, and its ratio to the limits of this
// machine, which are measured in the same run (machine_limits.h). The counters are per core:
// GFLOP/s, GB/s of weights or keys, and their ratios to the limits.
//
//   instructblip_kernels_benchmark --benchmark_filter=Matmul
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "benchmarks/machine_limits.h"
#include "instructblip/core/threads.h"
#include "instructblip/kernels/dispatch.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/kernels/quantized_matrix.h"

namespace instructblip {
namespace {

// Sets the counters from the CPU seconds of the iterations.
class Cost {
 public:
  explicit Cost(benchmark::State& state) : state_(state), start_(processor_seconds()) {}

  // `peak`: operations per second of a core.
  void report(double operations, double bytes, double peak = peak_flops()) {
    const double count =
        static_cast<double>(state_.iterations()) / std::max(1e-9, processor_seconds() - start_);
    state_.counters["GFLOP/s"] = operations * count * 1e-9;
    state_.counters["GB/s"] = bytes * count * 1e-9;
    state_.counters["of_peak"] = operations * count / peak;
    state_.counters["of_memory"] = bytes * count / peak_bandwidth();
    state_.SetLabel(kernel_level());
  }

 private:
  benchmark::State& state_;
  double start_;
};

// Sums of several random numbers, so that most elements are much smaller than the largest of a row,
// as in a model.
Matrix filled(Index rows, Index cols) {
  Matrix m(rows, cols);
  std::uint32_t state = 1;
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < cols; ++c) {
      float sum = 0.0f;
      for (int i = 0; i < 8; ++i) {
        state = state * 1664525u + 1013904223u;
        sum += static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
      }
      m.row(r)[c] = sum;
    }
  }
  return m;
}

// The types of weights and activations. Weights of 8 and 4 bits are multiplied with whole numbers
// of 16 bits, or of 8 bits where it says "both".
enum Types { kFloat32, kBFloat16, kBFloat16Both, kInt8, kInt8Both, kInt4 };

PreparePolicy policy_of(Index types, bool packed) {
  PreparePolicy policy{.dtype = types == kFloat32 ? DType::Float32 : DType::BFloat16,
                       .activations = types == kBFloat16Both ? DType::BFloat16 : DType::Float32,
                       .packed = packed};
  if (types == kInt8) policy.quantization = {.bits = 8};
  if (types == kInt8Both) policy.quantization = {.bits = 8, .activation_bits = 8};
  if (types == kInt4) policy.quantization = {.bits = 4, .group_size = 128};
  return policy;
}

// Operations per second of the instructions that the level in use has for these types.
double peak_of(Index types) {
  const std::string level = kernel_level();
  const bool bytes = level == "avx512_vnni" || level == "avx512_bf16";
  switch (types) {
    case kBFloat16:
      if (level == "amx") return peak_tile_flops() / 2;
      break;
    case kBFloat16Both:
      if (level == "amx") return peak_tile_flops();
      if (level == "avx512_bf16") return peak_pair_flops();
      break;
    case kInt8:
    case kInt4:
      if (bytes) return peak_byte_operations() / 2;
      break;
    case kInt8Both:
      if (bytes) return peak_byte_operations();
      break;
    default: break;
  }
  return peak_flops();
}

// More than the caches hold.
std::size_t uncached_bytes() {
  std::size_t bytes = std::size_t{64} << 20;
  for (const auto& cache : benchmark::CPUInfo::Get().caches) {
    bytes = std::max(bytes, static_cast<std::size_t>(cache.size));
  }
  return 2 * bytes;
}

// Arguments: rows, outputs, inputs, types, packed. As in a model, the weight is not in the caches:
// the iterations use many copies of it in turn.
void Matmul(benchmark::State& state) {
  const Index rows = state.range(0), outs = state.range(1), ins = state.range(2);
  const PreparePolicy policy = policy_of(state.range(3), state.range(4) != 0);
  const auto tensor = std::make_shared<Tensor>(filled(outs, ins).to_tensor().to(policy.dtype));
  QuantizedMatrix quantized;
  if (policy.quantization) {
    quantized = quantize(SharedTensor{tensor->view(), tensor}, *policy.quantization);
  }
  std::vector<PreparedMatrix> weights;
  std::size_t bytes = 0;
  do {
    if (policy.quantization) {
      weights.push_back(PreparedMatrix::prepare(std::span(&quantized, 1)));
    } else {
      const auto copy = std::make_shared<Tensor>(*tensor);
      weights.push_back(PreparedMatrix::prepare(SharedTensor{copy->view(), copy}, policy));
    }
    bytes += weights.back().bytes();
  } while (bytes < uncached_bytes());
  const Matrix x = filled(rows, ins);
  Matrix y(rows, outs);
  std::size_t next = 0;
  Cost cost(state);
  for (auto _ : state) {
    matmul(x, weights[next], y);
    next = (next + 1) % weights.size();
  }
  cost.report(2.0 * static_cast<double>(rows * outs * ins),
              static_cast<double>(weights.front().bytes()), peak_of(state.range(3)));
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "outs", "ins", "types", "packed"})
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime();
  for (Index types : {kFloat32, kBFloat16, kBFloat16Both, kInt8, kInt8Both, kInt4}) {
    for (Index packed : {0, 1}) {
      if (types >= kInt8 && packed == 1) continue;
      for (Index rows : {257, 1028}) {
        b->Args({rows, 4224, 1408, types, packed});  // vision: query, key, value
        b->Args({rows, 1408, 6144, types, packed});  // vision: second layer of the MLP
      }
      b->Args({52, 768, 768, types, packed});   // Q-Former: an attention's output
      b->Args({52, 3072, 768, types, packed});  // Q-Former: first layer of the MLP
    }
    for (Index rows : {1, 5, 8, 64, 128}) {
      b->Args({rows, 4096, 4096, types, 0});   // Vicuna-7B: an attention's output
      b->Args({rows, 4096, 11008, types, 0});  // Vicuna-7B: down
    }
  }
}
BENCHMARK(Matmul)->Apply(shapes);

// In tiles, three products of bfloat16 matrices take the place of one with activations in float32.
double attention_peak_of(const AttentionShape& shape) {
  if (shape.dtype != DType::BFloat16 || kernel_level() != "amx") {
    return peak_flops();
  }
  return peak_tile_flops() / (shape.activations == DType::Float32 ? 3 : 1);
}

// Arguments: queries, keys, heads, head_dim, causal, types.
void Attention(benchmark::State& state) {
  const Index queries = state.range(0), keys = state.range(1);
  const PreparePolicy policy = policy_of(state.range(5), false);
  const AttentionShape shape{.num_heads = state.range(2),
                             .num_key_value_heads = state.range(2),
                             .head_dim = state.range(3),
                             .scale = 0.1f,
                             .dtype = policy.dtype,
                             .activations = policy.activations};
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
              static_cast<double>(2 * keys * width) * sizeof(float), attention_peak_of(shape));
}
BENCHMARK(Attention)
    ->ArgNames({"queries", "keys", "heads", "head_dim", "causal", "types"})
    ->ArgsProduct({{257}, {257}, {16}, {88}, {0}, {kFloat32, kBFloat16, kBFloat16Both}})
    ->Args({64, 64, 32, 128, 1, kFloat32})
    ->Args({1, 256, 32, 128, 1, kFloat32})
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
