// The speed of the parts of a model: loading, the vision tower, the Q-Former, a prompt, and a step
// of the language model. `of_memory` compares the weights that a step reads with what all threads
// can read from memory in the same run.
//
//   INSTRUCTBLIP_BENCHMARK_MODEL=FOLDER instructblip_parts_benchmark --benchmark_filter=Step
//
// Without the variable, the demo model of this repository.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "benchmarks/machine_limits.h"
#include "instructblip/instructblip.h"

namespace instructblip {
namespace {

std::filesystem::path folder() {
  const char* const named = std::getenv("INSTRUCTBLIP_BENCHMARK_MODEL");
  return named != nullptr ? named : INSTRUCTBLIP_DEMO_MODEL;
}

// The type of the language model's weights, and whether activations are rounded to it.
enum Types { kFloat32, kBFloat16, kBFloat16Both };

LoadOptions options(Index types) {
  return {.dtype = types == kFloat32 ? DType::Float32 : DType::BFloat16,
          .activations = types == kBFloat16Both ? DType::BFloat16 : DType::Float32};
}

// One model at a time is in memory.
const InstructBlipForConditionalGeneration& model(Index types) {
  static std::unique_ptr<InstructBlipForConditionalGeneration> loaded;
  static Index loaded_types = -1;
  if (loaded_types != types) {
    loaded.reset();
    loaded = std::make_unique<InstructBlipForConditionalGeneration>(
        InstructBlipForConditionalGeneration::from_pretrained(folder(), options(types)));
    loaded_types = types;
  }
  return *loaded;
}

// Parameters that every position of the language model is multiplied with.
double language_parameters() {
  static const double count = [] {
    double parameters = 0;
    for (const FolderPart& part : check_folder(folder()).parts) {
      if (part.name == "language_model") parameters += static_cast<double>(part.total.parameters);
    }
    return parameters;
  }();
  return count;
}

Tensor pixels(const InstructBlipForConditionalGeneration& model, Index images) {
  const Index size = model.config().vision_config.image_size;
  Tensor values(DType::Float32, {images, 3, size, size});
  float* const data = values.data<float>();
  for (Index i = 0; i < values.size(); ++i) data[i] = static_cast<float>(i % 251) / 125.0f - 1.0f;
  return values;
}

std::vector<std::int64_t> some_ids(const LanguageModel& language, Index count) {
  std::vector<std::int64_t> ids;
  for (Index i = 0; i < count; ++i) ids.push_back(3 + i * 7 % (language.traits().vocab_size - 3));
  return ids;
}

// `bytes`: the weights that all iterations have read. Weights that are stored in bfloat16 are read
// as such, whatever the type is.
void report(benchmark::State& state, double rows, std::int64_t bytes) {
  const double rate = static_cast<double>(state.iterations()), read = static_cast<double>(bytes);
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * language_parameters() * rows * rate, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * read, benchmark::Counter::kIsRate);
  state.counters["of_memory"] =
      benchmark::Counter(read / (peak_bandwidth() * num_threads()), benchmark::Counter::kIsRate);
  state.SetLabel(kernel_level());
}

void Load(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        InstructBlipForConditionalGeneration::from_pretrained(folder(), options(state.range(0))));
  }
}
BENCHMARK(Load)
    ->ArgName("types")
    ->Arg(kFloat32)
    ->Arg(kBFloat16)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void Picture(benchmark::State& state) {
  const auto& whole = model(state.range(0));
  const Tensor values = pixels(whole, state.range(1));
  for (auto _ : state) benchmark::DoNotOptimize(whole.encode_image(values));
  state.SetItemsProcessed(state.iterations() * state.range(1));
  state.SetLabel(kernel_level());
}
BENCHMARK(Picture)
    ->ArgNames({"types", "images"})
    ->ArgsProduct({{kFloat32, kBFloat16, kBFloat16Both}, {1, 4}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void QFormer(benchmark::State& state) {
  const auto& whole = model(state.range(0));
  const VisionFeatures features = whole.encode_image(pixels(whole, 1));
  Tensor ids(DType::Int64, {1, 20});
  for (std::int64_t& id : ids.span<std::int64_t>()) id = 5;
  for (auto _ : state) benchmark::DoNotOptimize(whole.get_image_features(features, ids));
  state.SetLabel(kernel_level());
}
BENCHMARK(QFormer)
    ->ArgName("types")
    ->DenseRange(kFloat32, kBFloat16Both)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

// What an encoder-decoder's encoder or a decoder-only model reads.
struct Begun {
  Begun(const LanguageModel& language, Index sequences, Index length) {
    const RowTable rows = RowTable::uniform(sequences, length);
    const Matrix embeddings = language.embed_tokens(some_ids(language, rows.rows()));
    state = language.start(embeddings, rows);
    if (language.traits().is_encoder_decoder) return;
    language.decode(*state, embeddings, rows);
    position = length;
  }

  std::unique_ptr<DecoderState> state;
  Index position = 0;
};

void Prompt(benchmark::State& state) {
  const LanguageModel& language = model(state.range(0)).language_model();
  const std::int64_t before = multiplied_weight_bytes();
  for (auto _ : state) Begun(language, 1, state.range(1));
  report(state, static_cast<double>(state.range(1)), multiplied_weight_bytes() - before);
}
BENCHMARK(Prompt)
    ->ArgNames({"types", "rows"})
    ->ArgsProduct({{kFloat32, kBFloat16, kBFloat16Both}, {64, 128}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

// Arguments: types, sequences, positions in the cache.
void Step(benchmark::State& state) {
  const LanguageModel& language = model(state.range(0)).language_model();
  const Index sequences = state.range(1);
  if (state.range(2) > language.traits().max_position_embeddings.value_or(state.range(2))) {
    state.SkipWithError("more positions than the model has");
    return;
  }
  Begun begun(language, sequences, state.range(2));
  const Matrix embeddings = language.embed_decoder_tokens(some_ids(language, sequences));
  RowTable rows;
  for (Index s = 0; s < sequences; ++s) rows.append(1, begun.position);
  const std::int64_t before = multiplied_weight_bytes();
  for (auto _ : state) {
    language.decode(*begun.state, embeddings, rows);
    for (Index s = 0; s < sequences; ++s) begun.state->truncate(s, begun.position);
  }
  report(state, static_cast<double>(sequences), multiplied_weight_bytes() - before);
}
BENCHMARK(Step)
    ->ArgNames({"types", "sequences", "positions"})
    ->ArgsProduct({{kFloat32, kBFloat16}, {1, 5, 8}, {48}})
    ->ArgsProduct({{kBFloat16}, {1}, {500, 1000, 2000}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace instructblip
