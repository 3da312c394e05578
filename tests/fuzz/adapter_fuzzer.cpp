#include "fuzz/fuzzing.h"
#include "instructblip/checkpoint/checkpoint.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The modules that the seeds change.
  static const auto base = Checkpoint::from_tensors({
      {"lm.embed.weight", Tensor(DType::Float32, {5, 3})},
      {"lm.head.weight", Tensor(DType::BFloat16, {5, 3})},
      {"lm.layers.0.q_proj.weight", Tensor(DType::Float32, {2, 3})},
      {"lm.layers.0.q_proj.bias", Tensor(DType::Float32, {2})},
      {"lm.layers.1.q_proj.weight", Tensor(DType::Float16, {2, 3})},
      {"lm.norm.weight", Tensor(DType::Float32, {3})},
      {"vision.patches.weight", Tensor(DType::Float32, {2, 3, 2, 2})},
  });
  fuzzing::write_files(fuzzing::as_text(data, size),
                       {"adapter_config.json", "adapter_model.safetensors"});
  fuzzing::run([] {
    const auto merged = Checkpoint::with_adapter(base, fuzzing::folder());
    for (const std::string& name : merged->names()) Tensor::copy_of(*merged->find(name));
  });
  return 0;
}
