#include "checkpoint/tensor_cache.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string_view>
#include <system_error>

#include "checkpoint/mapped_file.h"
#include "checkpoint/write_safetensors.h"
#include "core/disk_space.h"
#include "core/file_kind.h"
#include "core/hash.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "format";
constexpr const char* kOwnFormat = "instructblip cache";

// Of the header of a safetensors file, whose length its first 8 bytes give, or of all of a small
// text; and of samples of the rest, because some tools set the times of all files to the same. They
// are few enough to be read from a disk.
std::uint64_t hash_of_contents(const OpenFile& file) {
  constexpr std::size_t kSamples = 32, kSampleBytes = 256;
  Hash hash;
  std::string bytes;
  const auto add = [&](std::size_t offset, std::size_t count) {
    bytes.resize(std::min(count, file.size() - offset));
    file.read(offset, bytes.size(), bytes.data());
    hash.add(bytes);
  };
  std::uint64_t length = 0;
  if (file.size() >= sizeof(length)) file.read(0, sizeof(length), &length);
  const std::size_t header = std::min<std::uint64_t>(file.size(), sizeof(length));
  add(0, header);
  add(header, std::min<std::uint64_t>(file.size() - header, length));
  for (std::size_t i = 0; i < kSamples; ++i) add(file.size() / kSamples * i, kSampleBytes);
  return hash.value();
}

// One line per file, without its name, which need not be UTF-8.
std::string description_of(const std::vector<fs::path>& files) {
  std::string text;
  for (const fs::path& path : files) {
    const OpenFile file(path);
    std::error_code code;
    const auto time = fs::last_write_time(path, code).time_since_epoch().count();
    if (code) throw CheckpointError(path.string() + ": cannot read its time: " + code.message());
    text += std::to_string(file.size()) + " bytes, time " + std::to_string(time) + ", hash " +
            std::to_string(hash_of_contents(file)) + "\n";
  }
  return text;
}

}  // namespace

TensorCache::TensorCache(Options options) : options_(std::move(options)), metadata_(options_.key) {
  metadata_[kFormat] = kOwnFormat;
  metadata_["sources"] = description_of(options_.sources);
  open();
}

void TensorCache::open() {
  std::error_code ignored;
  if (!fs::exists(options_.file, ignored) && !is_dangling_link(options_.file)) return;
  try {
    SafetensorsFile file(options_.file, options_.memory_map);
    const auto format = file.metadata().find(kFormat);
    if (format == file.metadata().end() || format->second != kOwnFormat) {
      throw CheckpointError(options_.file.string() + ": was not written as a cache");
    }
    if (std::equal(metadata_.begin(), metadata_.end(), file.metadata().begin(),
                   file.metadata().end())) {
      stored_.emplace(std::move(file));
    }
  } catch (const CheckpointError& error) {
    reject(error.what());
  }
}

std::optional<SharedTensor> TensorCache::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  if (!stored_) return std::nullopt;
  std::optional<SharedTensor> tensor = stored_->find(name);
  if (tensor && options_.memory_map && options_.prefetch) {
    prefetch(tensor->data, to_size(tensor->size()) * size_of(tensor->dtype));
  }
  return tensor;
}

void TensorCache::add(std::string name, SharedTensor tensor) {
  const std::lock_guard lock(mutex_);
  const auto same = std::find_if(added_.begin(), added_.end(),
                                 [&](const auto& other) { return other.first == name; });
  if (same != added_.end()) added_.erase(same);
  added_.emplace_back(std::move(name), std::move(tensor));
}

bool TensorCache::has_changed() const {
  const std::lock_guard lock(mutex_);
  return !added_.empty();
}

void TensorCache::reject(const std::string& why) {
  const std::lock_guard lock(mutex_);
  stored_.reset();
  log_warning("a damaged cache is made anew: " + why);
}

void TensorCache::save() {
  const std::lock_guard lock(mutex_);
  if (added_.empty()) return;
  try {
    write();
  } catch (const Error& error) {
    log_warning(std::string("what was computed is not kept for the next start: ") + error.what());
  }
  added_.clear();
}

void TensorCache::write() {
  std::vector<UnwrittenTensor> tensors;
  std::set<std::string_view> names;
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : added_) names.insert(name);
  if (stored_) {
    for (const auto& [name, entry] : stored_->entries()) {
      const std::optional<DType> dtype = dtype_from_safetensors(entry.dtype);
      if (names.contains(name) || !dtype) continue;
      const auto read = [this, &name = name] { return stored_->find(name).value(); };
      tensors.push_back({name, *dtype, entry.shape, read});
    }
  }
  for (const auto& [name, tensor] : added_) {
    tensors.push_back({name, tensor.dtype, tensor.shape, [&tensor = tensor] { return tensor; }});
  }
  for (const UnwrittenTensor& tensor : tensors) bytes += tensor.bytes();

  const fs::path folder = options_.file.parent_path();
  std::error_code code;
  if (fs::create_directories(folder, code)) {
    fs::permissions(folder, fs::perms::owner_all, code);
  }
  require_space<CheckpointError>(folder, bytes, options_.file.string() + ": cannot be written");
  if (description_of(options_.sources) != metadata_["sources"]) {
    throw CheckpointError(options_.sources[0].parent_path().string() +
                          ": its files have changed while they were loaded");
  }
  write_safetensors(options_.file, tensors, metadata_);
}

}  // namespace instructblip
