#include <span>

#include "fuzz/fuzzing.h"
#include "instructblip/image_processing/image.h"
#include "instructblip/image_processing/image_processing_blip.h"

using namespace instructblip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzzing::run([&] {
    const Image image = Image::open(std::span(data, size), {.max_pixels = 1 << 20});
    static const BlipImageProcessor processor(
        BlipImageProcessor::from_json(R"({"size": {"height": 8, "width": 8}})"));
    processor.preprocess({{image}});
  });
  return 0;
}
