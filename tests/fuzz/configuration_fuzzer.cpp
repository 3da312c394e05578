#include "fuzz/fuzzing.h"
#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/configuration/configuration_instructblipvideo.h"
#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/configuration/configuration_t5.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzzing::as_text(data, size);
  fuzzing::read_config<Blip2Config>(text);
  fuzzing::read_config<InstructBlipVideoConfig>(text);
  fuzzing::read_config<InstructBlipConfig>(text);
  fuzzing::read_config<InstructBlipVisionConfig>(text);
  fuzzing::read_config<InstructBlipQFormerConfig>(text);
  fuzzing::read_config<LlamaConfig>(text);
  fuzzing::read_config<OPTConfig>(text);
  fuzzing::read_config<T5Config>(text);
  return 0;
}
