#include "fuzz/fuzzing.h"
#include "instructblip/image_processing/image_processing_blip.h"
#include "instructblip/processing/processing_instructblip.h"

using namespace instructblip;

namespace {

// Whether the file asks for a size that is refused or quick to compute.
bool is_quick(const std::optional<SizeDict>& size) {
  if (!size) return true;
  for (const auto& side : {size->height, size->width, size->longest_edge, size->shortest_edge,
                           size->max_height, size->max_width}) {
    if (side > 256 && side <= 1 << 20) return false;
  }
  return true;
}

void write_tokenizers() {
  for (const auto& folder : {fuzzing::folder(), fuzzing::folder() / "qformer_tokenizer"}) {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n";
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool written = (write_tokenizers(), true);
  static_cast<void>(written);
  const std::string_view text = fuzzing::as_text(data, size);
  fuzzing::write_files(text, {"tokenizer_config.json", "config.json", "preprocessor_config.json",
                              "processor_config.json"});
  fuzzing::read_config<BlipImageProcessor>(text.substr(text.rfind('\0') + 1));
  fuzzing::run([] {
    const auto processor = InstructBlipProcessor::from_pretrained(fuzzing::folder());
    const BlipImageProcessor& images = processor.image_processor();
    if (!is_quick(images.size) || !is_quick(images.crop_size) || !is_quick(images.pad_size)) return;
    processor({Image(20, 10), Image(30, 10)}, {"a"});
  });
  return 0;
}
