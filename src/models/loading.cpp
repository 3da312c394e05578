#include "instructblip/models/loading.h"

#include "core/text_file.h"
#include "models/quantization_config.h"

namespace instructblip::detail {

void check_quantization(const std::filesystem::path& path, const LoadOptions& options) {
  refuse_second_quantization(path, quantization_of_folder(path), options.quantization);
}

std::shared_ptr<const Checkpoint> open_checkpoint(const std::filesystem::path& path,
                                                  const LoadOptions& options) {
  auto checkpoint = Checkpoint::unwrapped(Checkpoint::open(path, options.memory_map), kQueryTokens);
  if (options.adapter && !options.adapter->empty()) {
    return Checkpoint::with_adapter(std::move(checkpoint), *options.adapter);
  }
  if (options.adapter || !is_file(path / "adapter_config.json")) return checkpoint;
  return Checkpoint::with_adapter(std::move(checkpoint), path);
}

}  // namespace instructblip::detail
