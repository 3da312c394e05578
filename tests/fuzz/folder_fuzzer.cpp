// The files of a checkpoint folder together, and a model's memory as they describe it.
#include "fuzz/fuzzing.h"
#include "instructblip/tasks/folder_check.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzzing::write_files(fuzzing::as_text(data, size),
                       {"generation_config.json", "processor_config.json", "tokenizer_config.json",
                        "vocab.txt", "config.json", "model.safetensors"});
  for (const FolderFinding& finding : check_folder(fuzzing::folder()).findings) to_string(finding);
  return 0;
}
