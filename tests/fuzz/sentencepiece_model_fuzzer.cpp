#include "fuzz/fuzzing.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const char* name : {"LlamaTokenizer", "T5Tokenizer"}) {
    std::ofstream(fuzzing::folder() / "tokenizer_config.json")
        << "{\"tokenizer_class\": \"" << name << "\"}";
    fuzzing::write_files(fuzzing::as_text(data, size), {"tokenizer.model"});
    fuzzing::use_tokenizer();
  }
  return 0;
}
