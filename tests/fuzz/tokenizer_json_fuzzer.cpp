#include "fuzz/fuzzing.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzzing::write_files(fuzzing::as_text(data, size), {"tokenizer_config.json", "tokenizer.json"});
  fuzzing::use_tokenizer();
  return 0;
}
