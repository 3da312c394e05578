// Tensors that were computed from those of a checkpoint, kept in a file for the next start.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// One safetensors file of computed tensors. Its metadata says what they were computed from: `key`,
/// and of each source file its size, its time of change, and a hash of its header and of samples.
/// A file of another key or of other sources counts as empty, and is replaced; one that is not a
/// cache or is damaged, too, with a warning. Thread-safe.
class TensorCache {
 public:
  struct Options {
    std::filesystem::path file;
    std::vector<std::filesystem::path> sources;
    std::map<std::string, std::string> key = {};
    bool memory_map = true;  // as SafetensorsFile's
    /// Read the pages of a mapped tensor when it is found.
    bool prefetch = false;
  };

  /// Throws CheckpointError if a source cannot be read.
  explicit TensorCache(Options options);

  const std::filesystem::path& file() const { return options_.file; }
  /// The tensor of this name, or nothing.
  std::optional<SharedTensor> find(const std::string& name) const;
  /// Adds a tensor, or replaces the one of this name, at the next `save`.
  void add(std::string name, SharedTensor tensor);
  /// Whether there is something to save.
  bool has_changed() const;
  /// Writes the file, if tensors were added: these and those that it had. Logs a warning if that
  /// fails.
  void save();
  /// Logs a warning that the file is damaged; from now on, it counts as empty.
  void reject(const std::string& why);

 private:
  void open();
  void write();

  Options options_;
  std::map<std::string, std::string> metadata_;
  mutable std::mutex mutex_;
  std::optional<SafetensorsFile> stored_;
  std::vector<std::pair<std::string, SharedTensor>> added_;
};

}  // namespace instructblip
