#include "instructblip/models/loading.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <system_error>
#include <vector>

#include "checkpoint/tensor_cache.h"
#include "core/hash.h"
#include "core/text_file.h"
#include "instructblip/kernels/prepared_matrix.h"
#include "models/quantization_config.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

// The folder of the adapter that is merged, or an empty path.
fs::path adapter_folder(const fs::path& path, const LoadOptions& options) {
  if (options.adapter) return *options.adapter;
  return is_file(path / "adapter_config.json") ? path : fs::path();
}

fs::path real_path(const fs::path& path) {
  std::error_code code;
  fs::path result = fs::weakly_canonical(fs::absolute(path, code), code);
  if (code) return path;
  return result.has_filename() ? result : result.parent_path();
}

// The end of a path as people know it: in the hub's cache, folders are named after revisions.
std::string short_name(const fs::path& path) {
  constexpr std::size_t kMost = 100;
  const fs::path parent = path.parent_path();
  std::string name =
      (parent.filename() == "snapshots" ? parent.parent_path() : path).filename().string();
  std::size_t size = std::min(kMost, name.size());
  while (size > 0 && size < name.size() && (name[size] & 0xC0) == 0x80) --size;  // whole UTF-8
  return name.substr(0, size);
}

std::string in_hex(std::uint64_t number) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
  return std::string(digits.data(), end);
}

}  // namespace

fs::path default_cache_folder() {
  if (const char* own = std::getenv("INSTRUCTBLIP_CACHE")) return own;
  const auto below = [](const char* variable, const char* folder) {
    const char* const value = std::getenv(variable);
    const fs::path path = value == nullptr ? "" : value;
    return path.is_absolute() ? path / folder : fs::path();  // others are to be ignored
  };
  const fs::path cache = below("XDG_CACHE_HOME", "instructblip");
  return cache.empty() ? below("HOME", ".cache/instructblip") : cache;
}

fs::path quantization_cache_file(const fs::path& path, const LoadOptions& options) {
  if (options.quantization_cache.empty() || options.quantization == QuantizationRecipe()) return {};
  const fs::path model = real_path(path), adapter = adapter_folder(path, options);
  const std::string recipe = to_string(options.quantization);
  Hash hash;
  hash.add(model.string() + '\n');
  hash.add((adapter.empty() ? adapter : real_path(adapter)).string());
  return options.quantization_cache /
         (short_name(model) + "-" + recipe + "-" + in_hex(hash.value()) + ".safetensors");
}

namespace detail {

StoredQuantization stored_quantization(const std::filesystem::path& path,
                                       const LoadOptions& options) {
  StoredQuantization stored = quantization_of_folder(path);
  refuse_second_quantization(path, stored.method, options.quantization);
  return stored;
}

std::shared_ptr<const Checkpoint> open_checkpoint(const fs::path& path,
                                                  const LoadOptions& options) {
  auto checkpoint = Checkpoint::unwrapped(Checkpoint::open(path, options.memory_map), kQueryTokens);
  const fs::path adapter = adapter_folder(path, options);
  return adapter.empty() ? checkpoint : Checkpoint::with_adapter(std::move(checkpoint), adapter);
}

std::shared_ptr<TensorCache> open_cache(const Checkpoint& checkpoint, const LoadOptions& options) {
  const fs::path file = quantization_cache_file(checkpoint.path(), options);
  if (file.empty() || checkpoint.path().empty()) return nullptr;
  std::vector<fs::path> sources = checkpoint.files();
  if (const AdapterInfo* adapter = checkpoint.adapter()) {
    for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
      sources.push_back(adapter->folder / name);
    }
  }
  return std::make_shared<TensorCache>(
      TensorCache::Options{.file = file,
                           .sources = std::move(sources),
                           .key = {{"quantization", to_string(options.quantization)},
                                   {"version", std::to_string(PreparedTiles::kVersion)}},
                           .memory_map = options.memory_map,
                           .prefetch = options.prefetch});
}

}  // namespace detail

}  // namespace instructblip
