#include "fuzz/fuzzing.h"
#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/safetensors.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The shards that the seeds name.
  static const bool written = [] {
    const Tensor tensor(std::vector<float>{1, 2}, {2});
    save_safetensors(fuzzing::folder() / "one.safetensors", {{"a.one", tensor}, {"b.one", tensor}});
    save_safetensors(fuzzing::folder() / "two.safetensors", {{"a.two", tensor}, {"b.one", tensor}});
    return true;
  }();
  static_cast<void>(written);
  fuzzing::write_files(fuzzing::as_text(data, size), {"model.safetensors.index.json"});
  fuzzing::run([] {
    const auto checkpoint = Checkpoint::open(fuzzing::folder());
    for (const std::string& name : checkpoint->names()) Tensor::copy_of(*checkpoint->find(name));
  });
  return 0;
}
