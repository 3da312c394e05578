// The files of tokenizers that have no tokenizer.json.
#include "fuzz/fuzzing.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzzing::write_files(fuzzing::as_text(data, size),
                       {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                        "vocab.txt", "merges.txt", "vocab.json"});
  fuzzing::use_tokenizer();
  return 0;
}
