#include "fuzz/fuzzing.h"
#include "instructblip/checkpoint/safetensors.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzzing::write_files(fuzzing::as_text(data, size), {"model.safetensors"});
  for (const bool memory_map : {true, false}) {
    fuzzing::run([&] {
      const SafetensorsFile file(fuzzing::folder() / "model.safetensors", memory_map);
      for (const std::string& name : file.names()) {
        fuzzing::run([&] { Tensor::copy_of(file.find(name).value()); });
      }
    });
  }
  return 0;
}
