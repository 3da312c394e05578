#include "fuzz/fuzzing.h"
#include "instructblip/generation/generation_config.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzzing::as_text(data, size);
  fuzzing::read_config<GenerationConfig>(text);
  fuzzing::run([&] { GenerationConfig::from_json(text).validate(); });
  return 0;
}
